"""Two-phase commit between the databases of the mesh."""
