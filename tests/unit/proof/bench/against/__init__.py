"""The comparison with another revision, without meshes."""
