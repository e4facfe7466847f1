"""Who may call a method, as its proto declares it (protos/mesh/v1/options.proto). Pure.

What is not declared is denied: a method without access is closed to everybody, and one
of services to every service that it does not name.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.descriptor_pb2 import MethodOptions

from protos.mesh.v1 import options_pb2

ADMIN = "admin"
"""Whom an operator's commands call as."""
ANY_SERVICE = "*"
"""Among a rule's callers: every service whose key is known. Operators are no service."""


class Access(IntEnum):
    """The kinds of callers: mesh.v1.Access."""

    NOBODY = options_pb2.ACCESS_UNSPECIFIED
    PUBLIC = options_pb2.ACCESS_PUBLIC
    PLAYER = options_pb2.ACCESS_PLAYER
    SERVICE = options_pb2.ACCESS_SERVICE


class BadRule(AssertionError):
    """A method declares nothing, or what contradicts itself: our bug, and no server starts."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may call one method. `callers` are names of services, for Access.SERVICE;
    `may_be_opened` says that a server may open the method to everybody."""

    access: Access
    callers: frozenset[str] = frozenset()
    may_be_opened: bool = False

    def admits(self, service: str) -> bool:
        """Whether the service of that name may call."""
        if self.access is not Access.SERVICE:
            return False
        return service in self.callers or (ANY_SERVICE in self.callers and service != ADMIN)

    @property
    def needs_token(self) -> bool:
        """Whether a call without a token is refused wherever the method is served."""
        return self.access is not Access.PUBLIC and not self.may_be_opened

    def opened(self) -> "Rule":
        """The rule once the method was opened. Raises BadRule where it may not be."""
        if not self.may_be_opened:
            raise BadRule("a method was opened whose proto does not say may_be_opened")
        return OPEN

    def check(self, method: str) -> None:
        """Raises BadRule, naming the method, unless the rule is one that a server may have."""
        if self.access is Access.NOBODY:
            raise BadRule(f"{method} declares no (mesh.v1.access), so nobody could call it")
        if self.access is not Access.SERVICE and (self.callers or self.may_be_opened):
            raise BadRule(f"{method}: only ACCESS_SERVICE goes with callers and may_be_opened")


OPEN = Rule(Access.PUBLIC)
OF_PLAYERS = Rule(Access.PLAYER)


def of_services(callers: Iterable[str]) -> Rule:
    """Open to the services of these names alone."""
    return Rule(Access.SERVICE, frozenset(callers))


def rule_of(options: MethodOptions) -> Rule:
    """The rule that a method's options declare."""
    return Rule(
        Access(options.Extensions[options_pb2.access]),
        frozenset(options.Extensions[options_pb2.callers]),
        options.Extensions[options_pb2.may_be_opened],
    )
