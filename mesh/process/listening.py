"""The error of a process that cannot have its address, whatever it speaks there."""


class ListenFailed(Exception):
    """The address cannot be listened on; the message names the setting to change."""
