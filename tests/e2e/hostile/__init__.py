"""Bad requests and bad tokens; they must not harm anything."""
