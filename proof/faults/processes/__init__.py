"""The processes of a mesh under fault, and broken versions of them."""
