"""Money on a whole mesh: purchases, the payment provider, and money that goes back there."""
