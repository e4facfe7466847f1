"""The operations of players, with every client."""
