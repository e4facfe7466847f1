"""account.v1 and its part in tx.v1: proto to domain and back."""
