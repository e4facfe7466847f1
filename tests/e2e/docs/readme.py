"""Runs the examples of a Markdown file like its readers.

An example is a ```sh block with a comment on the line before it:

    <!-- run: rest -->                                  needs curl alone
    <!-- run: grpc expect: "SERVING", pulled_items -->  needs grpcurl too
    <!-- run: ghz expect: [OK] -->                      needs grpcurl and ghz too
    <!-- run: gachactl -->                              needs the package to be installed

`expect` names what the block prints, in no order.
"""

import re
from dataclasses import dataclass

_MARKED = re.compile(
    r"^<!-- run: (rest|grpc|ghz|gachactl)(?: expect: (.*?))? -->\s*?\n+```sh\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"\b(?:call|curl|grpcurl|ghz|gachactl)\b")


@dataclass(frozen=True, slots=True)
class Example:
    """One block. `kind` is rest, grpc, ghz or gachactl; `expected` are parts of its output."""

    kind: str
    expected: tuple[str, ...]
    script: str


def examples(markdown: str) -> list[Example]:
    """The marked examples, in order."""
    return [
        Example(kind, _parts(expected), script)
        for kind, expected, script in _MARKED.findall(markdown)
    ]


def unmarked_calls(markdown: str) -> list[str]:
    """Blocks with calls that are not marked as examples, and so would not be tested."""
    marked = {example.script for example in examples(markdown)}
    return [
        script
        for script in _BLOCK.findall(markdown)
        if _CALL.search(script) and script not in marked
    ]


def _parts(expected: str) -> tuple[str, ...]:
    parts = (part.strip() for part in expected.split(","))
    return tuple(part.strip('"') for part in parts if part)
