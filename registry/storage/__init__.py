"""Leases in the memory of one registry. Those in etcd are in `registry.adapters.etcd`."""
