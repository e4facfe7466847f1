"""What the registry keeps up by itself: its own entry, and the list for readers."""
