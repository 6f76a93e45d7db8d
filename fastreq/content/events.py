"""Server-sent events: lines of text → events (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import json as json_codec
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fastreq.content.charset import TextDecoder
from fastreq.content.reading import TextLines
from fastreq.errors import DecodingError

MAX_EVENT = 2**20
"""Characters of one event."""

_MAX_DIGITS = 15  # of a time in milliseconds: 30,000 years


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    Attributes:
        event: its type.
        data: its lines of data, joined by newlines.
        id: the last id that the stream gave, in this event or before it.
        retry: milliseconds to wait before a reconnection, where this event says so.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None

    def json(self) -> Any:
        """The data, read as JSON.

        Raises:
            ValueError: it is no JSON.
        """
        return json_codec.loads(self.data)


class EventParser:
    """Takes lines, without their ends, and gives the event that each of them completes.

    A stream is always UTF-8, whatever its Content-Type says. An event that is not complete when
    the stream ends is no event: drop the parser, and it is gone.

    Attributes:
        last_event_id: to be sent as Last-Event-ID at a reconnection, unless it is empty; give it
            to the next parser.
        retry: milliseconds to wait before a reconnection, or None where the server does not say.
    """

    def __init__(self, last_event_id: str = "", max_event: int = MAX_EVENT) -> None:
        self.last_event_id = last_event_id
        self.retry: int | None = None
        self._max_event = max_event
        self._at_start = True  # where a byte order mark may stand
        self._id = last_event_id  # of the event that is being read, as of those before it
        self._clear()

    def _clear(self) -> None:
        self._event = ""
        self._data: list[str] = []
        self._own_retry: int | None = None
        self._size = 0  # characters since the last event

    def __repr__(self) -> str:
        return f"<EventParser last_event_id={self.last_event_id!r} retry={self.retry}>"

    def receive(self, line: str) -> ServerSentEvent | None:
        """Take the next line.

        Raises:
            DecodingError: the event is larger than `max_event`.
        """
        if self._at_start:
            self._at_start = False
            line = line.removeprefix("\ufeff")
        if not line:
            return self._dispatch()
        if line[0] != ":":  # else a comment, as servers send to keep a connection open
            self._size += len(line)
            if self._size > self._max_event:
                raise DecodingError(f"a server-sent event is over {self._max_event} characters")
            name, _, value = line.partition(":")
            self._take(name, value.removeprefix(" "))
        return None

    def _take(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
            self.retry = self._own_retry = int(value)

    def _dispatch(self) -> ServerSentEvent | None:
        self.last_event_id = self._id
        event = None
        if self._data:
            data = "\n".join(self._data)
            event = ServerSentEvent(self._event or "message", data, self._id, self._own_retry)
        self._clear()
        return event


class EventReader:
    """The events of a stream, wherever it is cut; the parser knows what to reconnect with."""

    def __init__(self, parser: EventParser) -> None:
        self._parser = parser
        self._lines = TextLines(TextDecoder("utf-8", marks=False), MAX_EVENT)

    def feed(self, piece: bytes) -> Iterator[ServerSentEvent]:
        """The events that are complete.

        Raises:
            DecodingError: an event is larger than the parser allows.
        """
        return self._parse(self._lines.feed(piece))

    def end(self) -> Iterator[ServerSentEvent]:
        """What the last lines complete: nothing, unless the last one is empty."""
        return self._parse(self._lines.end())

    def _parse(self, lines: Iterable[str]) -> Iterator[ServerSentEvent]:
        for line in lines:
            event = self._parser.receive(line)
            if event is not None:
                yield event
