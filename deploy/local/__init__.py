"""Runs a whole mesh on one machine; `gachactl up` starts it."""
