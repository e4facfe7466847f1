"""Locks and audits the versions of third-party packages."""
