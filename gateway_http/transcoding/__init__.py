"""REST to gRPC and back, compiled from the descriptors."""
