"""What players do, through every client."""
