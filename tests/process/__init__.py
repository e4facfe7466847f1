"""One part of ours in a process of its own, started by the test; no mesh."""
