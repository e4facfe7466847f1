"""The list of live instances in etcd, shared by all registries that know it."""
