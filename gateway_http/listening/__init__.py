"""HTTP as the server speaks it: sockets, requests, bodies, certificates."""
