"""Hooks: what is called as a request advances. One that is not set costs nothing.

    def note(event: fastreq.RequestSent) -> None:
        print(event.request.method, event.request.url)

    client = fastreq.Client(hooks=fastreq.Hooks(request_sent=note))

Hooks are plain functions, called where it happens, in the order in which it happens. They should
be quick. What one raises reaches the caller of the request, as an error of the request would;
`connection_closed` has no caller, so what it raises goes to the event loop's exception handler.
`redirect` may be a coroutine function as well: the redirect is followed once it has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from fastreq.errors import FastreqError
from fastreq.messages import Request, Response
from fastreq.options import is_async


class RequestSent(NamedTuple):
    """A request goes out: it has its connection, and is written next.

    One that goes out once more, as its kept connection was closed meanwhile (the keep-alive race),
    is the same attempt, and told once.
    """

    request: Request
    attempt: int  # from 1


class ResponseHeadReceived(NamedTuple):
    """The head of a response is here; of a buffered response, so is the body."""

    response: Response


class ResponseEnded(NamedTuple):
    """The last byte of a response has come, or has been given up; or there was no response.

    Each attempt that is not cancelled ends with one, also where nothing could be sent; one that
    streams, when it is read to its end or closed, and not when it is only thrown away.
    """

    request: Request
    error: Exception | None  # a FastreqError, or what the body's source, or a hook, has raised


class NameResolved(NamedTuple):
    """A name was looked up, or found in the cache."""

    host: str
    addresses: tuple[str, ...]
    seconds: float


class ConnectionOpened(NamedTuple):
    """A connection is ready for its first request."""

    origin: str
    remote_address: Any
    dns: float  # seconds
    connect: float
    tls: float


class ConnectionReused(NamedTuple):
    """A request goes out on a connection that carried another before."""

    origin: str
    remote_address: Any


class ConnectionClosed(NamedTuple):
    """A connection is gone."""

    origin: str
    remote_address: Any


class RetryScheduled(NamedTuple):
    """A request is tried again, after so many seconds."""

    request: Request
    attempt: int  # the one that failed, from 1
    delay: float
    response: Response | None
    error: FastreqError | None


class RedirectFollowed(NamedTuple):
    """A response leads elsewhere, and is about to be followed."""

    response: Response
    request: Request  # the one that follows


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Functions that are called with one event each.

    Raises:
        TypeError: one is no function, or one that would have to be awaited, and is not `redirect`.
    """

    request_sent: Callable[[RequestSent], None] | None = None
    response_head: Callable[[ResponseHeadReceived], None] | None = None
    response_end: Callable[[ResponseEnded], None] | None = None
    dns: Callable[[NameResolved], None] | None = None
    connection_opened: Callable[[ConnectionOpened], None] | None = None
    connection_reused: Callable[[ConnectionReused], None] | None = None
    connection_closed: Callable[[ConnectionClosed], None] | None = None
    retry: Callable[[RetryScheduled], None] | None = None
    redirect: Callable[[RedirectFollowed], Awaitable[None] | None] | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            hook = getattr(self, name)
            if hook is None:
                continue
            if not callable(hook):
                raise TypeError(f"Hooks({name}={hook!r}): expected a function of one event")
            if name != "redirect" and is_async(hook):
                raise TypeError(
                    f"Hooks({name}={hook!r}): hooks are plain functions; this one is async, and "
                    "nobody would await it"
                )
