"""`gachactl tx`: lists unfinished transactions, and settles one by the protocol."""
