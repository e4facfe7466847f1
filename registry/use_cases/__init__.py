"""Background work of the registry: its own entry, and the list for readers."""
