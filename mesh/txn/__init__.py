"""Two-phase commit across the databases of the mesh."""
