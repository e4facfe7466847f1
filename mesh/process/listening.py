"""The error of a server that cannot listen on its address, for gRPC and HTTP."""


class ListenFailed(Exception):
    """The address cannot be listened on; the message names the setting to change."""
