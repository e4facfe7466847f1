"""Gifts and inventories on a real PostgreSQL."""
