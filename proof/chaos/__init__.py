"""Kills, freezes and ends processes under load; callers must see no error: `make chaos`."""
