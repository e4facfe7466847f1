"""Membership: the list of live instances, and this instance's registration."""
