"""One stream of aggregated discovery, state of the world (ADS, xDS v3). Pure.

Invariants, for each type of resource on the stream:
- every response holds all resources that the client wants and that there are: what it
  wants and does not get is, of listeners and clusters, known not to exist;
- a response is sent when the client wants a name that it did not before, or when what it
  wants differs from what it was sent last; so a response that it refused (NACK) is not
  sent again until there is something else to say;
- after a response nothing is sent until the client has answered it; changes meanwhile are
  sent together afterwards. A client that reads slowly costs no memory;
- a request that answers an older response than the last is left aside, for the answer to
  the last one, with all that is wanted then, is still to come.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from mesh.errors import InvalidArgument
from registry.rpc.xds.resources import CLUSTER, ENDPOINTS, LISTENER, Resources

ORDER = (CLUSTER, ENDPOINTS, LISTENER)
"""What is pointed at goes before what points at it."""
TYPES_WITH_WILDCARD = (CLUSTER, LISTENER)
WILDCARD = "*"
MAX_NAMES = 1_000
MAX_NAME_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK: the client could not use that version, and goes on with what it had."""

    type_url: str
    version: str
    message: str


@dataclass(slots=True)
class _Subscription:
    names: frozenset[str] = frozenset()
    is_wildcard: bool = False
    has_named: bool = False
    nonce: str = ""
    version: str = ""
    is_unanswered: bool = False
    owes_response: bool = False
    sent: dict[str, AnyMessage] = field(default_factory=dict)

    def chosen(self, resources: Mapping[str, AnyMessage]) -> dict[str, AnyMessage]:
        if self.is_wildcard:
            return dict(resources)
        return {name: resources[name] for name in sorted(self.names) if name in resources}

    def want(self, names: frozenset[str], *, is_wildcard: bool) -> None:
        if names - self.names or (is_wildcard and not self.is_wildcard):
            self.owes_response = True
        self.names, self.is_wildcard = names, is_wildcard
        self.sent = self.chosen(self.sent)


class Session:
    """What one client subscribes to, and what it was sent."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonce = 0

    def receive(self, request: DiscoveryRequest) -> Refusal | None:
        """Takes a request: a subscription, a change of one, an answer. Types that are not
        served are left aside. Returns what the client refused.

        Raises InvalidArgument when it asks for more names than anybody needs.
        """
        if request.type_url not in ORDER:
            return None
        _check_names(request)
        held = self._subscriptions.get(request.type_url)
        if held is not None and request.response_nonce != held.nonce:
            return None
        subscription = held or self._subscriptions.setdefault(request.type_url, _Subscription())
        subscription.is_unanswered = False
        names = frozenset(request.resource_names)
        subscription.has_named |= bool(names)
        # The old way to want all is a stream on which no name of the type was ever given.
        wants_all = WILDCARD in names or not subscription.has_named
        subscription.want(
            names - {WILDCARD}, is_wildcard=wants_all and request.type_url in TYPES_WITH_WILDCARD
        )
        if held is not None and request.HasField("error_detail"):
            return Refusal(request.type_url, held.version, request.error_detail.message)
        return None

    def responses(self, resources: Resources) -> Iterator[DiscoveryResponse]:
        """What is to be sent now, in order; each counts as sent once it was yielded."""
        for type_url in ORDER:
            subscription = self._subscriptions.get(type_url)
            if subscription is None or subscription.is_unanswered or type_url not in resources:
                continue
            chosen = subscription.chosen(resources[type_url])
            if subscription.owes_response or chosen != subscription.sent:
                yield self._response(type_url, subscription, chosen)

    def _response(
        self, type_url: str, subscription: _Subscription, chosen: dict[str, AnyMessage]
    ) -> DiscoveryResponse:
        self._nonce += 1
        subscription.nonce = str(self._nonce)
        subscription.version = _version_of(chosen)
        subscription.sent = chosen
        subscription.is_unanswered, subscription.owes_response = True, False
        return DiscoveryResponse(
            version_info=subscription.version,
            resources=chosen.values(),
            type_url=type_url,
            nonce=subscription.nonce,
        )


def _version_of(chosen: Mapping[str, AnyMessage]) -> str:
    """Names what is sent by its content, so that every registry, and one that was started
    again, gives the same version to the same."""
    content = hashlib.sha256()
    for name in sorted(chosen):
        content.update(hashlib.sha256(chosen[name].value).digest())
    return content.hexdigest()[:16]


def _check_names(request: DiscoveryRequest) -> None:
    names = request.resource_names
    if len(names) > MAX_NAMES or any(len(name) > MAX_NAME_LENGTH for name in names):
        raise InvalidArgument.of_field(
            "resource_names", f"must be at most {MAX_NAMES} names of {MAX_NAME_LENGTH} characters"
        )
