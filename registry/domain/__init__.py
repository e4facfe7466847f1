"""Leases and what a watcher has seen; pure."""
