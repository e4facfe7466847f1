"""The operations of the gacha service; each owns its transactions."""
