"""Random input at every endpoint, and a look at what it did: `make fuzz`."""
