"""What must hold over all data after a fault."""
