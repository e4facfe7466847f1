"""Meters of a run: CPU, PostgreSQL's counters, batch sizes, the machine's speed."""
