"""The players of a run: their tokens, and their gifts to one another."""
