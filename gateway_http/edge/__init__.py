"""Between a client and the routes: client addresses, rate limits, headers and CORS."""
