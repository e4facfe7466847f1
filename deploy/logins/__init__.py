"""The operator's view of failed attempts to log in: who waits, and letting an account in again."""
