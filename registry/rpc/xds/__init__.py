"""The registry's xDS interface, by which any gRPC client finds the mesh as `xds:///gacha`.

`targets` has the names, `resources` converts the list of instances into xDS resources, `session`
is the protocol of one stream, `stream` and `service` serve it. Only the last two do I/O.
"""
