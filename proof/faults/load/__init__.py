"""Players who continuously pull, buy, give, and refresh their sessions."""
