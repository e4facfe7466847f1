"""One program for operators: `gachactl`."""
