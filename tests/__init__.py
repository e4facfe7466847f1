"""Units, single processes, storage on real servers, whole meshes, and the code itself."""
