"""Between a client and the routes: who the client is, what it may send, what browsers are told."""
