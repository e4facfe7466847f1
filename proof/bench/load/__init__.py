"""What makes load: connections that ask in a closed or an open loop."""
