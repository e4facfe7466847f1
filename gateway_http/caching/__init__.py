"""Answers of public methods: remembered for a moment, and revalidated by clients."""
