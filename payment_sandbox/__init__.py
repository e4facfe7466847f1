"""A payment provider for development and tests; to the mesh it is an external company."""
