"""The operator's view of transactions, and the way to settle one."""
