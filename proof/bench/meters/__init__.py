"""What is read beside the load: CPU, PostgreSQL's counters, batch sizes, the machine's speed."""
