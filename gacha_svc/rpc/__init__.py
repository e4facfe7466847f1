"""The service's protos, turned into its domain and back."""
