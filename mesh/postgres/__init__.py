"""A service's PostgreSQL: connections, transactions on the event loop, migrations."""
