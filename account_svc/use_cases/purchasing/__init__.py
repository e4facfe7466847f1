"""Purchases of gems: they begin, are paid, and are credited."""
