"""The only place with SQL of the account service."""
