"""PostgreSQL of a service: connections, transactions on the event loop, migrations, grants."""
