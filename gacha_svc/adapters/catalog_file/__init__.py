"""Reads and checks the catalog's YAML file."""
