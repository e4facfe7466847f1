"""Sends random input to every endpoint, and checks its effects: `make fuzz`."""
