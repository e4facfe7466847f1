"""The keys that sign tokens: their folder, their schedule, and their rotation."""
