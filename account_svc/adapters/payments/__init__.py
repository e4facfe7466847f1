"""Outside payment providers, behind one interface: `provider`."""
