"""Compares the present code with another revision, in pairs of windows."""
