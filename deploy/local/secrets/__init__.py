"""The mesh's own secrets and certificates: made once, kept in files that only the owner reads."""
