"""Every fault that can be injected, and how it is injected."""
