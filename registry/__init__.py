"""Who is alive, and where."""
