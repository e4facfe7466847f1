"""Bad requests, bad tokens, and what they must never harm."""
