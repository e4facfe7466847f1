"""What a run prints: tables for people, JSON for tools."""
