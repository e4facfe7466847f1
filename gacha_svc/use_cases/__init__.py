"""What the gacha service does, one function an operation; owns the transactions."""
