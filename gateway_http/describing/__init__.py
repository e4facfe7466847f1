"""Pages about the gateway itself: OpenAPI, /docs, health and status."""
