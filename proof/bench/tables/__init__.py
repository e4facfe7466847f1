"""The output of a run: tables for people, JSON for tools."""
