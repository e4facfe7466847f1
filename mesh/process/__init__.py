"""The life of a process: configuration, server, membership, background work, shutdown."""
