"""Money that goes back at the payment provider, on a whole mesh."""
