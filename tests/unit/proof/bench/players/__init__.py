"""The players of the bench and their gifts."""
