"""Commands that the service which owns the data runs."""
