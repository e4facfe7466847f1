"""Who is calling: tokens and keys of players and services."""
