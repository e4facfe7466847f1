"""Pages for people, as HTML that the gateway renders: no script, nothing from other hosts."""
