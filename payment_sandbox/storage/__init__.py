"""The book of the sandbox, in one SQLite file."""
