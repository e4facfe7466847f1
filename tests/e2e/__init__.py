"""A whole mesh, started by the real runner."""
