"""Programs that measure and harm the mesh: bench, faults, chaos and fuzz, with shared modules."""
