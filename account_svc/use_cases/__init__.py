"""What the account service does; each operation owns its transactions."""
