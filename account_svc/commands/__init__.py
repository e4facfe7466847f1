"""Operators' commands of `python -m account_svc`; results are JSON, progress goes to stderr."""
