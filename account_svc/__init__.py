"""Players, their identity, their wallets."""
