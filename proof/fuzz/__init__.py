"""Random input at every door, and a look at what it did: `make fuzz`."""
