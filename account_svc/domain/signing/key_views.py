"""The signing keys known to each running instance of account_svc. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from account_svc.domain.signing.signing_keys import ListedKey, State


class MissingView(Exception):
    """An instance does not answer or is missing; the message has its name and the remedy."""


@dataclass(frozen=True, slots=True)
class View:
    """The keys of one instance, the oldest first, and a sentence for each file it skipped."""

    keys: tuple[ListedKey, ...]
    faults: tuple[str, ...] = ()

    def find(self, kid: str) -> ListedKey | None:
        return next((key for key in self.keys if key.kid == kid), None)


Views = Mapping[str, View]
"""Views by instance id."""


def states_of(kid: str, views: Views) -> set[State]:
    """The states of a key at the instances that know it."""
    seen = [view.find(kid) for view in views.values()]
    return {key.state for key in seen if key is not None}
