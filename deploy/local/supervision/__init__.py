"""Processes of one machine: started, restarted, rolled, stopped."""
