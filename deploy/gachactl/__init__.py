"""The operators' program: `gachactl`, or `python -m deploy.gachactl`."""
