"""Who may call a method, as its proto declares it (protos/mesh/v1/options.proto). Pure.

Access is denied by default: a method that declares no access admits no caller, and a
method for services admits only the services that it names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.descriptor_pb2 import MethodOptions

from protos.mesh.v1 import options_pb2

ADMIN = "admin"
"""The name under which operators' commands call services."""
REGISTRY = "registry"
"""The name of the registries' own service."""
ANY_SERVICE = "*"
"""As one of a rule's callers: every service whose key is known. Operators are not included."""


class Access(IntEnum):
    """The kinds of callers: mesh.v1.Access."""

    NOBODY = options_pb2.ACCESS_UNSPECIFIED
    PUBLIC = options_pb2.ACCESS_PUBLIC
    PLAYER = options_pb2.ACCESS_PLAYER
    SERVICE = options_pb2.ACCESS_SERVICE


class BadRule(AssertionError):
    """A method declares no rule, or a contradictory one. This is our bug; no server starts."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call one method. `callers` are service names, for Access.SERVICE.
    `may_be_opened` allows a server to make the method public. `takes_ended_sessions` admits a
    player whose session has ended."""

    access: Access
    callers: frozenset[str] = frozenset()
    may_be_opened: bool = False
    takes_ended_sessions: bool = False

    def admits(self, service: str) -> bool:
        """Whether the service of that name may call."""
        if self.access is not Access.SERVICE:
            return False
        return service in self.callers or (ANY_SERVICE in self.callers and service != ADMIN)

    @property
    def needs_token(self) -> bool:
        """Whether every server refuses a call without a token."""
        return self.access is not Access.PUBLIC and not self.may_be_opened

    def opened(self) -> "Rule":
        """The rule of the method when it is made public. Raises BadRule if that is not allowed."""
        if not self.may_be_opened:
            raise BadRule("a method is opened, but its proto does not declare may_be_opened")
        return OPEN

    def check(self, method: str) -> None:
        """Raises BadRule, naming the method, unless a server may start with this rule."""
        if self.access is Access.NOBODY:
            raise BadRule(f"{method} declares no (mesh.v1.access), so no caller could use it")
        if self.access is not Access.SERVICE and (self.callers or self.may_be_opened):
            raise BadRule(f"{method}: callers and may_be_opened need ACCESS_SERVICE")
        if self.access is not Access.PLAYER and self.takes_ended_sessions:
            raise BadRule(f"{method}: takes_ended_sessions needs ACCESS_PLAYER")


OPEN = Rule(Access.PUBLIC)
OF_PLAYERS = Rule(Access.PLAYER)


def of_services(callers: Iterable[str]) -> Rule:
    """Admits only the services with these names."""
    return Rule(Access.SERVICE, frozenset(callers))


def rule_of(options: MethodOptions) -> Rule:
    """The rule in a method's options."""
    return Rule(
        Access(options.Extensions[options_pb2.access]),
        frozenset(options.Extensions[options_pb2.callers]),
        options.Extensions[options_pb2.may_be_opened],
        options.Extensions[options_pb2.takes_ended_sessions],
    )
