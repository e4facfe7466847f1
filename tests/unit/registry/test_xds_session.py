"""One stream's protocol, against "xDS REST and gRPC protocol" of the Envoy documentation
(https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol), whose sections are named."""

from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from mesh.errors import InvalidArgument
from registry.rpc.xds.resources import CLUSTER, ENDPOINTS, LISTENER, Resources
from registry.rpc.xds.session import MAX_MESSAGE_LENGTH, MAX_NAMES, Session


def resources(**of_types: str) -> Resources:
    """Resources by type; each is a word like `a1`: its name, then its content."""
    urls = {"lds": LISTENER, "cds": CLUSTER, "eds": ENDPOINTS}
    return {
        urls[kind]: {
            word[0]: AnyMessage(type_url=urls[kind], value=word.encode()) for word in words.split()
        }
        for kind, words in of_types.items()
    }


class Client:
    """A session as a gRPC client uses it."""

    def __init__(self) -> None:
        self.session = Session()
        self.last: dict[str, DiscoveryResponse] = {}

    def ask(self, type_url: str, *names: str, nonce: str | None = None, error: str = "") -> Any:
        held = self.last.get(type_url)
        request = DiscoveryRequest(type_url=type_url, resource_names=names)
        request.response_nonce = (held.nonce if held else "") if nonce is None else nonce
        if error:
            request.error_detail.message = error
        elif held:
            request.version_info = held.version_info
        return self.session.receive(request)

    def hear(self, resources: Resources) -> list[tuple[str, list[str]]]:
        """The next response: the last word of the type's name, and the contents."""
        heard = []
        for response in self.session.responses(resources):
            self.last[response.type_url] = response
            contents = sorted(each.value.decode() for each in response.resources)
            heard.append((response.type_url.rpartition(".")[2], contents))
        return heard


@pytest.fixture
def client() -> Client:
    return Client()


def test_a_subscription_is_answered_and_an_ack_is_not(client: Client) -> None:
    client.ask(LISTENER, "a")
    assert client.hear(resources(lds="a1 b1")) == [("Listener", ["a1"])]
    assert client.ask(LISTENER, "a") is None
    assert client.hear(resources(lds="a1 b1")) == []


def test_a_change_is_sent_to_subscribers_alone(client: Client) -> None:
    client.ask(ENDPOINTS, "a")
    client.hear(resources(eds="a1 b1"))
    client.ask(ENDPOINTS, "a")
    assert client.hear(resources(eds="a1 b2")) == []
    assert client.hear(resources(eds="a2 b2")) == [("ClusterLoadAssignment", ["a2"])]


def test_versions_and_nonces_differ_with_each_change(client: Client) -> None:
    seen = set()
    for content in ("a1", "a2", "a3"):
        client.ask(ENDPOINTS, "a")
        client.hear(resources(eds=content))
        seen.add((client.last[ENDPOINTS].version_info, client.last[ENDPOINTS].nonce))
    assert len({version for version, _ in seen}) == len({nonce for _, nonce in seen}) == 3


def test_the_version_names_the_content_at_every_registry() -> None:
    versions = set()
    for changes in (("a1",), ("a2", "a1")):
        client = Client()
        for content in changes:
            client.ask(ENDPOINTS, "a")
            client.hear(resources(eds=content))
        versions.add(client.last[ENDPOINTS].version_info)
    assert len(versions) == 1


def test_a_refused_response_is_reported_and_not_sent_again_until_there_is_another(
    client: Client,
) -> None:
    """ACK/NACK and resource type instance version."""
    client.ask(CLUSTER, "a")
    client.hear(resources(cds="a1"))
    refusal = client.ask(CLUSTER, "a", error="no such thing")
    assert (refusal.type_url, refusal.message) == (CLUSTER, "no such thing")
    assert refusal.version == client.last[CLUSTER].version_info
    assert client.hear(resources(cds="a1")) == []
    assert client.hear(resources(cds="a2")) == [("Cluster", ["a2"])]


def test_changes_before_an_answer_are_sent_together_after_it(client: Client) -> None:
    client.ask(ENDPOINTS, "a")
    client.hear(resources(eds="a1"))
    assert client.hear(resources(eds="a2")) == []
    assert client.hear(resources(eds="a3")) == []
    client.ask(ENDPOINTS, "a")
    assert client.hear(resources(eds="a3")) == [("ClusterLoadAssignment", ["a3"])]


def test_an_answer_to_an_older_response_is_left_aside(client: Client) -> None:
    """ACK and NACK semantics: the server should ignore requests with a stale nonce."""
    client.ask(LISTENER, "a")
    client.hear(resources(lds="a1"))
    old = client.last[LISTENER].nonce
    client.ask(LISTENER, "a")
    client.hear(resources(lds="a2 b1"))
    assert client.ask(LISTENER, "a", "b", nonce=old, error="late") is None
    assert client.hear(resources(lds="a2 b1")) == []
    client.ask(LISTENER, "a", "b")
    assert client.hear(resources(lds="a2 b1")) == [("Listener", ["a2", "b1"])]


def test_a_new_name_is_answered_with_all_that_is_wanted(client: Client) -> None:
    """How the client specifies what resources to return."""
    client.ask(LISTENER, "a")
    client.hear(resources(lds="a1 b1"))
    client.ask(LISTENER, "a", "b")
    assert client.hear(resources(lds="a1 b1")) == [("Listener", ["a1", "b1"])]


def test_an_unknown_name_is_answered_without_it(client: Client) -> None:
    """Knowing when a requested resource does not exist."""
    client.ask(LISTENER, "a")
    client.hear(resources(lds="a1"))
    client.ask(LISTENER, "a", "nobody")
    assert client.hear(resources(lds="a1")) == [("Listener", ["a1"])]


def test_a_removed_resource_is_left_out_of_the_next_response(client: Client) -> None:
    client.ask(LISTENER, "a", "b")
    client.hear(resources(lds="a1 b1"))
    client.ask(LISTENER, "a", "b")
    assert client.hear(resources(lds="b1")) == [("Listener", ["b1"])]


def test_a_name_that_is_given_up_and_wanted_again_is_answered_again(client: Client) -> None:
    """Unsubscribing from resources."""
    client.ask(ENDPOINTS, "a", "b")
    client.hear(resources(eds="a1 b1"))
    client.ask(ENDPOINTS, "a")
    assert client.hear(resources(eds="a1 b1")) == []
    assert client.hear(resources(eds="a1 b2")) == []
    client.ask(ENDPOINTS, "a", "b")
    assert client.hear(resources(eds="a1 b2")) == [("ClusterLoadAssignment", ["a1", "b2"])]


@pytest.mark.parametrize("names", [(), ("*",)])
def test_a_wildcard_is_sent_all_listeners(client: Client, names: tuple[str, ...]) -> None:
    client.ask(LISTENER, *names)
    assert client.hear(resources(lds="a1 b1")) == [("Listener", ["a1", "b1"])]
    client.ask(LISTENER, *names)
    assert client.hear(resources(lds="a1 b1")) == []
    assert client.hear(resources(lds="a1 b1 c1")) == [("Listener", ["a1", "b1", "c1"])]


@pytest.mark.parametrize("names", [("a",), ("*",)])
def test_no_names_mean_none_once_there_were_some(client: Client, names: tuple[str, ...]) -> None:
    client.ask(CLUSTER, *names)
    client.hear(resources(cds="a1"))
    client.ask(CLUSTER)
    assert client.hear(resources(cds="a2")) == []


@pytest.mark.parametrize("names", [(), ("*",)])
def test_endpoints_have_no_wildcard(client: Client, names: tuple[str, ...]) -> None:
    client.ask(ENDPOINTS, *names)
    assert [contents for _, contents in client.hear(resources(eds="a1"))] in ([], [[]])


def test_types_are_sent_in_the_order_that_breaks_nothing(client: Client) -> None:
    """Eventual consistency considerations."""
    for type_url in (LISTENER, ENDPOINTS, CLUSTER):
        client.ask(type_url, "a")
    sent = client.hear(resources(lds="a1", cds="a1", eds="a1"))
    assert [kind for kind, _ in sent] == ["Cluster", "ClusterLoadAssignment", "Listener"]


def test_a_type_that_is_not_known_yet_is_sent_once_it_is(client: Client) -> None:
    client.ask(ENDPOINTS, "a")
    assert client.hear(resources(lds="a1")) == []
    assert client.hear(resources(eds="a1")) == [("ClusterLoadAssignment", ["a1"])]


def test_a_type_that_is_not_served_is_left_aside(client: Client) -> None:
    client.ask("type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "a")
    assert client.hear(resources(lds="a1", cds="a1", eds="a1")) == []


def test_a_refusal_is_reported_once_for_each_response_and_in_short(client: Client) -> None:
    client.ask(CLUSTER, "a")
    client.hear(resources(cds="a1"))
    refusal = client.ask(CLUSTER, "a", error="x" * 1_000_000)
    assert len(refusal.message) == MAX_MESSAGE_LENGTH
    assert client.ask(CLUSTER, "a", error="x") is None


@pytest.mark.parametrize("names", [["a"] * (MAX_NAMES + 1), ["a" * 201]])
def test_more_names_than_anybody_needs_are_refused(client: Client, names: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="resource_names"):
        client.ask(LISTENER, *names)
