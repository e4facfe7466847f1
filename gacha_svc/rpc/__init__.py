"""The service's protos, turned into its domain and back: one module for each proto service."""
