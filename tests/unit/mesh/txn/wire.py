"""Messages in flight, and everything that may happen to one."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mesh.errors import MeshError, Unavailable
from mesh.txn.decisions import LogPosition
from mesh.txn.model import Branch, No, Yes

MAX_LATE = 24
"""Copies that are remembered to arrive once more."""


class Sender(Protocol):
    """A process that may have been killed."""

    name: str
    is_alive: bool


@dataclass(eq=False)
class Message:
    """A request; `act` is the receiver's handler, and returns the reply."""

    sender: Sender
    receiver: str
    text: str
    act: Callable[[], object]
    reply: "asyncio.Future[Any]"


@dataclass
class Wire:
    """Delivers messages on demand. Calls `note` with a line for each event."""

    note: Callable[[str], None] = lambda line: None
    in_flight: list[Message] = field(default_factory=list)
    late: deque[Message] = field(default_factory=lambda: deque(maxlen=MAX_LATE))
    is_closed: bool = False

    async def carry(
        self, sender: Sender, receiver: str, text: str, act: Callable[[], object]
    ) -> Any:
        """Sends a request and waits for its result; in a dead process it never returns."""
        if self.is_closed:
            raise asyncio.CancelledError
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if sender.is_alive:
            self.in_flight.append(Message(sender, receiver, text, act, reply))
        return await reply

    def deliver(self, message: Message, *, is_answered: bool = True) -> None:
        """Delivers a request. Its reply is delivered too, or lost."""
        self.in_flight.remove(message)
        self.late.append(message)
        try:
            answer, error = message.act(), None
        except MeshError as raised:
            answer, error = None, raised
        shown = error.reason if error is not None else _shown(answer)
        self.note(f"{message.sender.name} -> {message.receiver}: {message.text} -> {shown}")
        if not is_answered:
            self.note("  the reply is lost")
            error = Unavailable("the reply was lost")
        _answer(message, answer, error)

    def lose(self, message: Message) -> None:
        """Loses a request, and tells its sender."""
        self.in_flight.remove(message)
        self.note(f"{message.sender.name} -> {message.receiver}: {message.text}, which is lost")
        _answer(message, None, Unavailable("the request was lost"))

    def give_up(self, message: Message) -> None:
        """The sender times out; the request is still in flight."""
        self.in_flight.remove(message)
        self.late.append(message)
        self.note(f"{message.sender.name} -> {message.receiver}: {message.text}, given up, late")
        _answer(message, None, Unavailable("no reply in time"))

    def drop_copies(self, receiver: str, beginning: str) -> None:
        """Drops the copies of these requests, so that none arrives again."""
        kept = [
            each
            for each in self.late
            if each.receiver != receiver or not each.text.startswith(beginning)
        ]
        self.late.clear()
        self.late.extend(kept)

    def repeat(self, message: Message) -> None:
        """Delivers a late copy of a request; no sender waits for its reply."""
        try:
            shown = _shown(message.act())
        except MeshError as error:
            shown = error.reason
        self.note(f"late: {message.sender.name} -> {message.receiver}: {message.text} -> {shown}")


def _answer(message: Message, answer: object, error: MeshError | None) -> None:
    if message.reply.done() or not message.sender.is_alive:
        return
    if error is not None:
        message.reply.set_exception(error)
    else:
        message.reply.set_result(answer)


def _shown(answer: object) -> str:
    if isinstance(answer, list):
        return ", ".join(_shown(each) for each in answer) or "nothing"
    if isinstance(answer, (Branch, LogPosition)):
        return answer.gid
    if isinstance(answer, bytes):
        return answer.decode()
    if isinstance(answer, Yes):
        return f"YES {answer.result or ''}".strip()
    if isinstance(answer, No):
        return f"NO {answer.reason}"
    return "OK" if answer is None else str(answer)
