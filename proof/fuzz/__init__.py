"""Random input at every endpoint, and checks of its effects: `make fuzz`."""
