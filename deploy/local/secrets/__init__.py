"""The mesh's own secrets and certificates: made once, kept in files of their owner."""
