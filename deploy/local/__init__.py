"""Runs the whole mesh on one machine: `python -m deploy.local up|down|status|clean`."""
