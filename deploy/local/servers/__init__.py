"""Third-party servers that the mesh needs: PostgreSQL, Valkey, etcd; and their ports."""
