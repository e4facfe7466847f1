"""The reader of catalog files: accepted files, and the faults of others."""
