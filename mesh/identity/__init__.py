"""Identity: tokens and keys of players and services."""
