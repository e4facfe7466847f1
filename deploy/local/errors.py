"""What stops the runner, said in sentences that name the remedy."""


class LocalRunError(Exception):
    """Nothing can go on as asked; the message is for a person and says what to do."""
