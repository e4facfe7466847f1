"""Who may call what: identities, keys, certificates."""
