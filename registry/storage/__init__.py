"""Where leases are kept: in memory, or in an etcd that several registries share."""
