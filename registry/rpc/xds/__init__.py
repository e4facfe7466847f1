"""The registry in the words of xDS, so that any gRPC client finds the mesh by `xds:///gacha`.

`targets` says which names there are, `resources` puts the list of instances into xDS's
resources, `session` is one stream's protocol, and `service` serves it. All but the last
do no I/O.
"""
