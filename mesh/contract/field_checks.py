"""Checks of a request's fields, so that one refusal names every wrong field."""

from collections.abc import Callable
from typing import Any

from mesh.errors import InvalidArgument


def check_each(*checks: Callable[[], object]) -> tuple[Any, ...]:
    """Runs every check, also after one has refused its field. Returns what they returned.

    Raises the InvalidArgument of the only check that refused, or one InvalidArgument for the
    fields of all that did, in the order of the checks. An error that names no field is raised at
    once.

        check_each(lambda: check_username(username), lambda: check_password(password))
    """
    results: list[object] = []
    refusals: list[InvalidArgument] = []
    for check in checks:
        try:
            results.append(check())
        except InvalidArgument as refusal:
            if not refusal.fields:
                raise
            refusals.append(refusal)
    if len(refusals) == 1:
        raise refusals[0]
    if refusals:
        raise InvalidArgument.of_fields(*(field for each in refusals for field in each.fields))
    return tuple(results)
