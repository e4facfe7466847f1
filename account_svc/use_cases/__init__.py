"""The operations of the account service; each owns its transactions."""
