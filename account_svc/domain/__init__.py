"""Players, their wallets and what moves them; pure."""
