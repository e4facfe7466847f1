"""What each command of the runner does."""
