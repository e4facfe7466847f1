"""Adapters of the registry: etcd."""
