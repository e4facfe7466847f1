"""The webhooks of the payment provider: an event wakes the purchase that it is about."""
