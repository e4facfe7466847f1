"""The service registry: the live instances and their addresses."""
