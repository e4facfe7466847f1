"""The shared runtime of the mesh; it knows no service."""
