"""The client's address, headers, CORS and rate limits, before a request reaches its route."""
