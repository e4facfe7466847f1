"""Calls to other processes: choice of instance, connections and retries."""
