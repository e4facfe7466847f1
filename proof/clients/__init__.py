"""Every way in which a user may call the mesh, behind one class: `client.Client`."""
