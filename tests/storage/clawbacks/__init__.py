"""Gems that follow the money, on real PostgreSQL servers."""
