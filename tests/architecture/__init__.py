"""The code and the pages about it."""
