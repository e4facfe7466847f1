"""Every fault that can be injected, and the means to inject it."""
