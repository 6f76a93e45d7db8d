"""Server-sent events that go on: a stream that ends is opened again where it ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

from fastreq.content.events import EventParser, ServerSentEvent
from fastreq.errors import IncompleteBody, NetworkError, RemoteProtocolError, TimeoutException
from fastreq.messages import Request, Response
from fastreq.policies.retries import is_lasting

DEFAULT_RETRY = 3.0  # seconds before a reconnection, where the server does not say
MAX_RETRY = 60.0


async def follow_events(
    build: Callable[[], Request], send: Callable[[Request], Awaitable[Response]]
) -> AsyncIterator[ServerSentEvent]:
    """The events of what `build` requests and `send` opens (WHATWG HTML, section 9.2.3).

    A connection that ends or breaks is opened again after the time that the server asked for
    (twice as long after each further failure, with jitter), with the id of the last event. A 204
    ends it, and any other answer than a stream of events is an error.
    """
    parser, failures, pause = EventParser(), 0, DEFAULT_RETRY
    while True:
        request = build()
        if request.headers.get("Accept", "*/*") == "*/*":  # what the client says of every request
            request.headers["Accept"] = "text/event-stream"
        request.headers["Cache-Control"] = "no-store"
        if parser.last_event_id:
            # In UTF-8, as the specification has it, whatever the characters are.
            utf8 = parser.last_event_id.encode().decode("latin-1")
            request.headers["Last-Event-ID"] = utf8
        try:
            response = await send(request)
            try:
                if response.status == 204:
                    return
                _check(response)
                async for event in response.iter_events(parser):
                    failures = 0
                    yield event
            finally:
                await response.aclose()
        except (NetworkError, IncompleteBody, TimeoutException) as exc:
            if is_lasting(exc):
                raise
            failures += 1
        if parser.retry is not None:  # it holds until the server says another
            pause = parser.retry / 1000
        seconds = min(MAX_RETRY, pause * 2.0 ** min(failures, 16))
        await asyncio.sleep(seconds * random.uniform(0.5, 1) if failures else seconds)
        parser = EventParser(parser.last_event_id)


def _check(response: Response) -> None:
    response.raise_for_status()
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if response.status != 200 or kind != "text/event-stream":
        raise RemoteProtocolError(
            f"{response.url.redacted} answered {response!r} with {kind or 'no Content-Type'}; "
            "expected 200 and text/event-stream"
        )
