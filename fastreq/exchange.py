"""One request and its response: what is read of it, how long it may take, and what it took."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol, cast

from fastreq.deadline import blocked
from fastreq.errors import (
    FastreqError,
    ReadTimeout,
    RemoteProtocolError,
    StreamConsumed,
    TimeoutException,
    TotalTimeout,
    WriteTimeout,
)
from fastreq.http1.body import StreamedBody
from fastreq.http1.response import ResponseReader
from fastreq.messages import ResponseHead, Timings

BREATH_SECONDS = 0.01
"""How long a body may be read, or decoded, before other tasks have their turn."""


class Carrier(Protocol):
    """The connection that an exchange is under way on."""

    def abandon(self, exchange: Exchange) -> None: ...
    def body_taken(self, body: StreamedBody) -> None: ...
    def call(self, what: Callable[[], None]) -> None: ...
    async def wait_for_body(self, exchange: Exchange) -> None: ...
    async def wait_closed(self) -> None: ...


class Exchange(ResponseReader):
    """One request and its response.

    A `Response` keeps it for its numbers; where the response streams, it is the stream.
    """

    __slots__ = (
        "breath_due",
        "connection",
        "ended_at",
        "error",
        "expects",
        "first_byte_at",
        "is_last",
        "opened",
        "queued",
        "read_timeout",
        "received",
        "remote_address",
        "sent",
        "sent_at",
        "started",
        "streams",
        "total_due",
        "transport",
        "write_timeout",
        "writing",
        "written",
    )

    def __init__(
        self,
        method: str,
        body: StreamedBody | None,
        limit: int | None,
        read_timeout: float,
        write_timeout: float,
        total_due: float,
        started: float,
    ) -> None:  # none of them by its name, which would cost a call as much again
        ResponseReader.__init__(self, method, body, limit)
        self.connection: Carrier | None = None  # while the exchange is under way
        self.error: BaseException | None = None  # a FastreqError, or of the body that was sent
        self.written = False  # some of the request may have left
        self.writing = False  # there is more of it, and the peer is to take it
        self.sent = False  # all of it has left
        self.expects = False  # the body waits for 100 (Continue)
        self.is_last = False  # the request says that its connection closes (RFC 9112, 9.6)
        self.transport: asyncio.Transport | None = None  # of a connection that was switched
        self.received = b""  # on it, behind the head
        self.streams = body is not None
        # Seconds of silence that are borne, and the moment when it must all be over.
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.total_due = total_due
        # The course of it, as monotonic() had it.
        self.started = started
        self.breath_due = 0.0  # when others are to have their turn again
        self.queued = 0.0  # seconds
        self.opened: tuple[float, float, float] | None = None  # DNS, TCP, TLS; None: reused
        self.sent_at = 0.0
        self.first_byte_at = 0.0
        self.ended_at = 0.0
        self.remote_address: Any = ""

    @property
    def final_head(self) -> ResponseHead:
        """The head of the response, which is here once `carry()` has returned."""
        if self.head is None:
            raise RemoteProtocolError("the exchange ended without a response")
        return self.head

    @property
    def phase(self) -> str:
        """Where it is: "write", "head" or "body"."""
        if self.writing or not self.written:
            return "write"
        return "head" if self.head is None else "body"

    @property
    def is_plain(self) -> bool:
        """Whether the body is given on as it comes: not in chunks, and without a coding."""
        head = self.head
        return head is not None and not (head.transfer_encoding or head.content_encoding)

    @property
    def answered_early(self) -> bool:
        """The answer is here before all of the request is sent, and wants no more of it (RFC 9110,
        section 7.5)."""
        head = self.head
        return head is not None and (head.status >= 300 or (self.ended and not head.persistent))

    def renewed(self) -> Exchange:
        """The same, for another attempt; nothing has been read into the body yet."""
        again = Exchange(
            self.method,
            cast(StreamedBody, self.body) if self.streams else None,
            self._limit,
            self.read_timeout,
            self.write_timeout,
            self.total_due,
            self.started,
        )
        again.switches, again.expects, again.queued = self.switches, self.expects, self.queued
        again.is_last = self.is_last
        return again

    def timings(self) -> Timings:
        """How long each phase took."""
        dns, connect, tls = self.opened or (0.0, 0.0, 0.0)
        ended = self.ended_at or monotonic()
        heard = self.first_byte_at or ended
        ttfb, body, total = heard - self.sent_at, ended - heard, ended - self.started
        return Timings(self.queued, dns, connect, tls, ttfb, body, total)

    # ---- the stream

    async def read(self) -> bytes:
        """The next piece of a body that streams; b"" at its end.

        Cancelling a read loses nothing.

        Raises:
            ReadError, ReadTimeout, TotalTimeout, RemoteProtocolError: the rest does not come.
        """
        body = cast(StreamedBody, self.body)
        if monotonic() >= self.breath_due:
            await self.breathe()
        while not body.pieces:
            if isinstance(self.error, FastreqError):
                raise self.error.with_traceback(None)  # which would grow with each that asks
            if self.error is not None:  # of the body that was sent: it says where
                raise self.error
            if self.connection is None:
                return b""
            await self.connection.wait_for_body(self)
        piece = body.take()
        if self.connection is not None:
            self.connection.body_taken(body)
        return piece

    async def breathe(self) -> None:
        """Let others have their turn: somebody may read, or decode, for long without a wait.

        Raises:
            TotalTimeout: that took too long. Until the last byte has come the sweep sees to it.
        """
        await asyncio.sleep(0)
        self.breath_due = now = monotonic() + BREATH_SECONDS
        if self.connection is None and now >= self.total_due:
            seconds = now - self.started - self.queued
            raise TotalTimeout(
                f"not done after {seconds:.1f} s while decoding the response body; "
                "Timeout(total=...) moves it"
            ).at("body")

    def take_transport(self) -> tuple[asyncio.Transport | None, bytes]:
        """The transport of a connection that was switched, and what has come on it."""
        transport, self.transport = self.transport, None
        return transport, self.received

    def drop(self) -> None:
        """Want no more, from whichever thread, for it may be the garbage collector who says so."""
        if self.connection is not None:
            self.connection.call(self._abandon)

    async def aclose(self) -> None:
        """Want no more; what was not read is gone, and its connection with it."""
        if self.transport is not None:  # switched, and nobody took it
            self.transport.abort()
        connection = self.connection
        cast(StreamedBody, self.body).drop()
        self._abandon()
        if connection is not None:
            await connection.wait_closed()

    def _abandon(self) -> None:
        if self.connection is not None:
            self.error = StreamConsumed("the body of this response was dropped before its end")
            self.connection.abandon(self)

    # ---- deadlines

    def due(self, silent_since: float) -> float:
        """When the peer is late, if nothing more has been heard of it since."""
        patience = self.write_timeout if self.writing else self.read_timeout
        return min(silent_since + patience, self.total_due)

    def timeout(self, now: float, silent_since: float, where: str, late: float) -> TimeoutException:
        """Say what was waited for, where, how long, and what to do about it."""
        error: type[TimeoutException]
        if now >= self.total_due:
            error, option = TotalTimeout, "total"
            what = f"not done after {now - self.started - self.queued:.1f} s"
        elif self.phase == "write":
            error, option = WriteTimeout, "write"
            what = f"no byte taken for {now - silent_since:.1f} s"
        else:
            error, option = ReadTimeout, "read"
            what = f"no byte for {now - silent_since:.1f} s"
        text = f"{what} {_DOING[self.phase]} {where}; Timeout({option}=...) moves it"
        return error(text + blocked(late))


_DOING = {
    "write": "while sending the request to",
    "head": "while waiting for the response head from",
    "body": "while reading the response body from",
}
