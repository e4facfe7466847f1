"""registry.v1 and xDS: proto to domain and back."""
