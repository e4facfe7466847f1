"""The options that protos declare on methods, and the rules that all services share."""
