"""What speaks SQL, on real PostgreSQL servers."""
