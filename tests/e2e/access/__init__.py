"""Access control: identities, keys, certificates."""
