"""Programs that measure the mesh and harm it: bench, faults, chaos, fuzz, and what they share."""
