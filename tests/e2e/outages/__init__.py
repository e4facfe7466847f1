"""Processes that are killed, frozen or absent while callers continue."""
