"""Players who pull, buy, give and stay logged in all the time."""
