"""`gachactl tx`: which transactions are under way, and settling one by the protocol."""
