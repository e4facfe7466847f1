"""Pages about the gateway itself: OpenAPI, /docs and health."""
