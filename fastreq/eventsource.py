"""Server-sent events that go on: a stream that ends is opened again where it ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from time import monotonic
from typing import Self

from fastreq.content.events import EventParser, ServerSentEvent
from fastreq.errors import (
    MAX_QUOTED,
    DecodingError,
    FastreqError,
    IncompleteBody,
    LocalProtocolError,
    NetworkError,
    ProxyError,
    RemoteProtocolError,
    StreamConsumed,
    TimeoutException,
    printable,
)
from fastreq.messages import Request, Response
from fastreq.policies.retries import Retry, is_lasting, is_passing

DEFAULT_RETRY = 3.0  # seconds before a reconnection, where the server does not say
MAX_RETRY = 3600.0  # ... whatever it says
MAX_BACKOFF = 60.0  # ... after failures, unless the server asks for more

LEAST = 0.1
"""Seconds before a reconnection after a failure, or after a stream without an event."""


class Events:
    """The events of `follow_events()`, which end only when the server says so: whoever asks again
    after a read that failed, or was cancelled, is told that they were broken off."""

    def __init__(self, events: AsyncGenerator[ServerSentEvent]) -> None:
        self._events = events
        self._is_broken = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerSentEvent:
        if self._is_broken:
            raise StreamConsumed(
                "these events were broken off by an error, or by a read that was cancelled; "
                "client.events() begins anew"
            )
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            raise
        except BaseException:
            self._is_broken = True
            raise

    async def aclose(self) -> None:
        """Close the connection, and end."""
        await self._events.aclose()


async def follow_events(
    build: Callable[[], Request],
    send: Callable[[Request], Awaitable[Response]],
    until_closed: Callable[[], AbstractAsyncContextManager[None]],
) -> AsyncGenerator[ServerSentEvent]:
    """The events of what `build` requests and `send` opens (WHATWG HTML, section 9.2.3).

    A connection that ends or breaks is opened again after the time that the server asked for
    (twice as long after each failure in a row, with jitter), with the id of the last event. An
    event ends such a row, and so does a stream that lasted for that time. A 204 ends the events,
    and any other answer than a stream of them is an error. A wait within `until_closed()` ends with
    the client.
    """
    parser, failures, pause = EventParser(), 0, DEFAULT_RETRY
    while True:
        request = _event_request(build(), parser.last_event_id)
        came, opened = False, None
        try:
            response = await send(request)
            try:
                if response.status == 204:
                    return
                _check(response)
                opened = monotonic()
                async for event in response.iter_events(parser):
                    came, failures = True, 0
                    yield event
            finally:
                await response.aclose()
        except FastreqError as exc:
            if not _may_pass(exc):
                raise
            if opened is not None and monotonic() - opened > max(pause, LEAST):
                failures = 0
            failures += 1
        if parser.retry is not None:  # it holds until the server says another
            pause = parser.retry / 1000
        async with until_closed():
            await asyncio.sleep(_seconds(pause, failures, came))
        parser = EventParser(parser.last_event_id)


def _event_request(request: Request, last_event_id: str) -> Request:
    if request.headers.get("Accept", "*/*") == "*/*":  # what the client says of every request
        request.headers["Accept"] = "text/event-stream"
    request.headers["Cache-Control"] = "no-store"
    if last_event_id:
        # In UTF-8, as the specification has it, whatever the characters are.
        utf8 = last_event_id.encode().decode("latin-1")
        with suppress(LocalProtocolError):  # an id that no field can carry is not sent
            request.headers["Last-Event-ID"] = utf8
    return request


def _may_pass(error: FastreqError) -> bool:
    """Whether another connection may do better."""
    if isinstance(error, ProxyError):
        return is_passing(error, Retry().statuses)
    if isinstance(error, DecodingError):
        return error.is_cut
    passing = isinstance(error, (NetworkError, IncompleteBody, TimeoutException))
    return passing and not is_lasting(error)


def _seconds(pause: float, failures: int, came: bool) -> float:
    """How long to wait, after so many failures in a row; `came`: the stream brought an event."""
    pause = min(MAX_RETRY, pause)
    if not failures:
        return pause if came else max(pause, LEAST)
    backoff = min(MAX_BACKOFF, max(pause, LEAST) * 2.0 ** min(failures, 16))
    return max(pause, backoff * random.uniform(0.5, 1))


def _check(response: Response) -> None:
    response.raise_for_status()
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if response.status != 200 or kind != "text/event-stream":
        error = RemoteProtocolError(
            f"{response.url.redacted} answered {response!r} with "
            f"{printable(kind[:MAX_QUOTED]) or 'no Content-Type'}; "
            "expected 200 and text/event-stream"
        )
        error.phase = "head"
        error.belongs_to(response.request, response.attempts, response.elapsed)
        raise error
