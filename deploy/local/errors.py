"""Failures of the runner and of operators' commands."""


class LocalRunError(Exception):
    """A request cannot be carried out; the message is one sentence for a person, with the
    remedy."""


class WrongUsage(LocalRunError):
    """The options contradict each other, or one is missing."""
