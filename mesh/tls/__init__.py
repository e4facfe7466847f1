"""Certificates of a process: where they lie, what is taken for good, and their renewal.

Nothing here speaks to anybody; mesh.tls.security does, with what is held here.
"""
