"""TLS of a process: its certificate files, their validation and renewal, and the gRPC channels
and ports that use them (mesh.tls.security).
"""
