"""What a player asks for: each scenario is one request that is sent again and again."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """`body` is JSON, empty for none; `is_keyed` sends an Idempotency-Key, new each time."""

    name: str
    method: str
    path: str
    body: str = ""
    is_keyed: bool = False


SINGLE_PULL = Scenario(
    "single pulls", "POST", "/gacha/pull/standard", body='{"count":1}', is_keyed=True
)


def request_head(scenario: Scenario, host: str, token: str) -> str:
    """The request of one player up to its last header's end, to be closed by `request_of`."""
    lines = [
        f"{scenario.method} {scenario.path} HTTP/1.1",
        f"host: {host}",
        f"authorization: Bearer {token}",
    ]
    if scenario.body:
        lines += ["content-type: application/json", f"content-length: {len(scenario.body)}"]
    return "".join(f"{line}\r\n" for line in lines)


def request_of(head: bytes, key: str, body: bytes) -> bytes:
    """The whole request; an empty `key` sends none."""
    if not key:
        return b"%s\r\n%s" % (head, body)
    return b"%sidempotency-key: %s\r\n\r\n%s" % (head, key.encode(), body)
