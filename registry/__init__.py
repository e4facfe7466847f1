"""The service registry: which instances are live, and where."""
