"""Observes processes from outside: whether they are ready, healthy, and seen by others."""
