"""Runs and operates a mesh."""
