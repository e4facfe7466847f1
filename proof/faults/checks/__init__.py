"""Checks over all data after a fault."""
