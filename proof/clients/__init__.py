"""Clients for every way to call the mesh, with one interface: `client.Client`."""
