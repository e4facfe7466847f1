"""Processes of one machine: started, watched, restarted, rolled, stopped."""
