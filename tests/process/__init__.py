"""One process at a time, started by its test; no mesh."""
