"""Gems follow money that goes back at the payment provider."""
