"""The only place with SQL of the gacha service."""
