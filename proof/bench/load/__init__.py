"""Load generators: connections in a closed or an open loop."""
