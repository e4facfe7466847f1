"""Servers of others that the mesh needs: PostgreSQL, Valkey, etcd, and where they listen."""
