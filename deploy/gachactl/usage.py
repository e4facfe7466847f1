"""Wrong usage in one sentence: an unknown command or option, a missing or wrong value."""

from typer._click.exceptions import NoArgsIsHelpError, UsageError

_PREFIX = "Value error, "
_INVALID = "Invalid value for "


def usage_sentence(error: UsageError) -> str:
    """What is wrong and where the right usage is shown. A command that needs a subcommand and was
    given none gets its help."""
    if isinstance(error, NoArgsIsHelpError):
        return error.format_message()
    said = error.format_message().replace(_PREFIX, "")
    said = said.removeprefix(_INVALID).replace("Input should be", "must be")
    command = error.ctx.command_path if error.ctx is not None else "gachactl"
    return f"{said.rstrip('.')}: see `{command} --help`."
