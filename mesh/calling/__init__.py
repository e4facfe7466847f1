"""Calls to other processes: which instance, over which connection, and when to try again."""
