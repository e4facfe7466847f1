"""Adapters to everything outside the database: payment providers, key files, password hashing."""
