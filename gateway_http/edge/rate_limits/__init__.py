"""How many requests a player and a client's address may send."""
