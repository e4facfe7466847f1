"""Players, their sessions and their wallets; pure."""
