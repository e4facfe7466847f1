"""Leases, and the positions of watchers; pure."""
