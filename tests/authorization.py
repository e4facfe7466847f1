"""The access rules of methods, from docs/authorization.md and from the protos.

The document is written by hand and compared with the protos, so that a mistake in one place
cannot loosen a rule.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import Default

from deploy.local.layout import REPOSITORY
from gateway_http.transcoding.contracts import import_generated
from mesh.contract.access import ADMIN, ANY_SERVICE, Access, Rule, rule_of
from protos import DESCRIPTORS

DOCUMENT = REPOSITORY / "docs" / "authorization.md"
EVERYBODY, PLAYERS, EVERY_SERVICE = "everybody", "players", "every service"
OPENED = "; everybody where it is opened"
_ROW = re.compile(r"\| `(?P<path>[\w.]+/\w+)` \| (?P<rest>[^|]*) \| (?P<who>[^|]+) \|")


@dataclass(frozen=True, slots=True)
class Line:
    """A method: "<service>/<method>", its routes, and its allowed callers in words."""

    path: str
    routes: str
    who: str

    def __str__(self) -> str:
        return f"| `{self.path}` | {self.routes} | {self.who} |"

    @property
    def services(self) -> set[str]:
        """The names of the services that may call it."""
        return set(self.who.removesuffix(OPENED).split(", "))

    def admits(self, caller: str, *, is_opened: bool) -> bool:
        """Whether it admits "player", a service's name, "admin", or "" (without a token)."""
        if self.who == EVERYBODY or (is_opened and self.who.endswith(OPENED)):
            return True
        if self.who == PLAYERS:
            return caller == "player"
        is_service = caller not in ("", "player", ADMIN)
        return caller in self.services or (is_service and EVERY_SERVICE in self.services)


def documented() -> list[Line]:
    """The lines of the document's tables, in order."""
    return [Line(*found.groups()) for found in _ROW.finditer(DOCUMENT.read_text())]


def declared() -> list[Line]:
    """The rules of the protos, in the order of the methods' names."""
    return [
        Line(path, _routes_of(method), _who(rule_of(method.GetOptions())))
        for path, method in methods()
    ]


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every method of every proto, with its "<service>/<method>"."""
    serialized = DESCRIPTORS.read_bytes()
    import_generated(serialized)
    for file in FileDescriptorSet.FromString(serialized).file:
        for service in file.service:
            found = Default().FindServiceByName(f"{file.package}.{service.name}")
            for method in found.methods:
                yield f"{found.full_name}/{method.name}", method


def routes_of(method: MethodDescriptor) -> list[tuple[str, str]]:
    """The verbs and templates of a method's routes."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    rules = [each for each in (rule, *rule.additional_bindings) if each.WhichOneof("pattern")]
    return [
        (verb.upper(), getattr(each, verb))
        for each in rules
        if (verb := each.WhichOneof("pattern")) is not None
    ]


def _routes_of(method: MethodDescriptor) -> str:
    return ", ".join(f"{verb} {template}" for verb, template in routes_of(method)) or "-"


def _who(rule: Rule) -> str:
    if rule.access is Access.PUBLIC:
        return EVERYBODY
    if rule.access is Access.PLAYER:
        return PLAYERS
    names = sorted(rule.callers - {ANY_SERVICE}, key=lambda name: (name == ADMIN, name))
    if ANY_SERVICE in rule.callers:
        names.insert(0, EVERY_SERVICE)
    return (", ".join(names) or "nobody") + (OPENED if rule.may_be_opened else "")
