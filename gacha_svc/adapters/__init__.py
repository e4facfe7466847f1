"""Adapters to everything outside the database: the account service and the catalog file."""
