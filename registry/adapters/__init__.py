"""What the registry reaches outside itself: etcd."""
