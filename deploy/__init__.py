"""How the mesh is run."""
