"""The HTTP/1.1 server: sockets, requests, bodies, certificates."""
