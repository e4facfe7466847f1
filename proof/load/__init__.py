"""Load and connections that more than one program of the proof uses."""
