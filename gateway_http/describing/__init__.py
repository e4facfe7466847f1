"""What the gateway tells about itself: OpenAPI, /docs, health and status."""
