"""One stream of aggregated discovery, state of the world (ADS, xDS v3). Pure.

Invariants, for each type of resource on the stream:
- Every response has all existing resources that the client subscribes to. A subscribed listener
  or cluster that is missing from it does not exist.
- A response is sent when the client subscribes to a new name, or when its resources differ from
  the last response. So a refused response (NACK) is not sent again until something changes.
- After a response nothing is sent until the client answers it; changes in that time are sent
  together afterwards. So a slow client uses no memory for a backlog.
- A request that answers an older response is ignored, because the answer to the last response,
  with the full subscription, is still to come.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from mesh.errors import InvalidArgument
from registry.rpc.xds.resources import CLUSTER, ENDPOINTS, LISTENER, Resources

ORDER = (CLUSTER, ENDPOINTS, LISTENER)
"""The order of sending: a resource is sent before those that refer to it."""
TYPES_WITH_WILDCARD = (CLUSTER, LISTENER)
WILDCARD = "*"
MAX_NAMES = 1_000
MAX_NAME_LENGTH = 200
MAX_MESSAGE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Refusal:
    """A NACK: the client could not use that version, and keeps its earlier one. `message` is the
    beginning of what the client says."""

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
    """The subscriptions of one client, and the versions sent to it."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, _Subscription] = {}
        self._nonce = 0

    def receive(self, request: DiscoveryRequest) -> Refusal | None:
        """Handles a request: a subscription, a changed one, or an answer. Ignores types that
        are not served. Returns the client's refusal of a response, once for each response.

        Raises InvalidArgument when the request has too many names.
        """
        if request.type_url not in ORDER:
            return None
        _check_names(request)
        held = self._subscriptions.get(request.type_url)
        if held is not None and request.response_nonce != held.nonce:
            return None
        subscription = held or self._subscriptions.setdefault(request.type_url, _Subscription())
        answers, subscription.is_unanswered = subscription.is_unanswered, False
        names = frozenset(request.resource_names)
        subscription.has_named |= bool(names)
        # The legacy wildcard: a stream that never had a name of the type subscribes to all.
        wants_all = WILDCARD in names or not subscription.has_named
        subscription.want(
            names - {WILDCARD}, is_wildcard=wants_all and request.type_url in TYPES_WITH_WILDCARD
        )
        if answers and request.HasField("error_detail"):
            message = request.error_detail.message[:MAX_MESSAGE_LENGTH]
            return Refusal(request.type_url, subscription.version, message)
        return None

    def responses(self, resources: Resources) -> Iterator[DiscoveryResponse]:
        """The responses to send now, in order; each counts as sent once it is yielded."""
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
    """The version as a hash of the content, so that all registries, also after a restart, give
    the same content the same version."""
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
