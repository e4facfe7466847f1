"""The database as a service needs it: migrations, grants, requirements, and their checks."""
