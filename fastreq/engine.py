"""What a client has on one event loop: its pool, its resolver, its deadlines, its connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import weakref
from collections.abc import AsyncGenerator, Callable
from time import monotonic
from typing import Any

from fastreq.ceiling import Ceiling
from fastreq.connect import Connector, Progress, Route
from fastreq.content.sources import replayable
from fastreq.deadline import NEVER, Deadlines, blocked
from fastreq.errors import (
    ClientClosed,
    ConnectTimeout,
    FastreqError,
    NetworkError,
    TimeoutException,
    TotalTimeout,
)
from fastreq.exchange import Exchange
from fastreq.http1.body import StreamedBody
from fastreq.http1.request import OutgoingBody, encode_head, outgoing
from fastreq.messages import Request
from fastreq.options import Limits, Timeout
from fastreq.policies.proxies import Proxy
from fastreq.policies.retries import IDEMPOTENT
from fastreq.pool import Pool
from fastreq.protocol import RECEIVE_SIZE, Buffers, HTTPProtocol
from fastreq.resolve import Resolver
from fastreq.trace import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionReused,
    Hooks,
    NameResolved,
    RequestSent,
)
from fastreq.turnstile import Turnstile

_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Buffers] = (
    weakref.WeakKeyDictionary()
)


def receive_buffers(loop: asyncio.AbstractEventLoop) -> Buffers:
    """Those of a loop; Windows' proactor reads in the background, so there each has its own."""
    if sys.platform == "win32":
        return Buffers.make(RECEIVE_SIZE // 4)
    buffers = _buffers.get(loop)
    if buffers is None:
        buffers = _buffers[loop] = Buffers.make()
    return buffers


class Engine:
    """Sends one request at a time over a leased connection, and reads its response."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        *,
        hooks: Hooks | None = None,
        allowed: Callable[[str], bool] | None = None,
        max_connections: Callable[[str], int | None] | None = None,
        max_in_flight: int | None = None,
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.deadlines = Deadlines(loop)
        self.pool: Pool[HTTPProtocol] = Pool(loop, limits, self.deadlines, self._most_to)
        self._max_connections = max_connections  # to an origin, where that is less than limits say
        self.is_closed = False
        self._process = os.getpid()
        self._hooks = hooks
        self._ceiling = Ceiling(max_in_flight) if max_in_flight is not None else None
        # Where bodies are under a ceiling, they are decoded one after the other.
        self.decoding = asyncio.Lock() if self._ceiling is not None else contextlib.nullcontext()
        self._connector = Connector(Resolver(), self._make_protocol, allowed)
        self._turnstile = Turnstile(loop)
        self._connections: set[HTTPProtocol] = set()
        self._connecting: set[asyncio.Timeout] = set()
        self._until_loop_ends = self._close_with_loop()
        self._start_hook()

    def __repr__(self) -> str:
        return f"<Engine {self.pool!r} {'closed' if self.is_closed else 'open'}>"

    async def exchange(
        self,
        request: Request,
        route: Route,
        timeout: Timeout,
        body: StreamedBody | None,
        limit: int | None,
        total_due: float,
        started: float,
        attempt: int = 1,
    ) -> Exchange:
        """Send a request once, and read its response: up to its body, which then comes into
        `body`, or, without one, all of it, with at most `limit` bytes of body.

        Raises:
            TransportError: it did not come.
        """
        proxy = route.proxy
        head = encode_head(request) if proxy is None else self._head_to(proxy, request)
        exchange = Exchange(
            request.method,
            body,
            limit,
            timeout.read or NEVER,
            timeout.write or NEVER,
            total_due,
            started,
        )
        if self._ceiling is not None:
            exchange.set_aside = RECEIVE_SIZE
        first: bytes = head
        rest: bytes | OutgoingBody = b""
        if request.body != b"" or not request.fields.is_plain:
            first, rest = outgoing(request, head)
            _note_wishes(exchange, request, bool(rest))
        elif exchange.streams:
            exchange.switches = request.method == "CONNECT"
        connection = self.pool.take(route)
        if connection is None:
            connection = await self._lease(route, timeout, exchange)
        if self._hooks is not None:
            reused = exchange.opened is None
            self._tell_sent(self._hooks, connection, str(route) if reused else "", request, attempt)
        try:
            if rest or exchange.streams:
                await connection.carry(exchange, first, rest)
            else:  # the same, without a coroutine (benchmark: 5,000 at once)
                connection.send(exchange, first)
                while not exchange.ended:
                    await connection.arrival(exchange)
        except BaseException as exc:
            connection.abandon(exchange)
            if isinstance(exc, FastreqError):
                exc.queued = exchange.queued
            if not (isinstance(exc, NetworkError) and _may_repeat(exchange, request)):
                raise
        else:
            return exchange
        again = exchange.renewed()
        if request.sign_again is not None:
            request = request.sign_again(request)
            head = encode_head(request) if proxy is None else self._head_to(proxy, request)
        connection = await self._lease(route, timeout, again, fresh=True)
        try:
            await connection.carry(again, *outgoing(request, head))
        except FastreqError as exc:
            exc.queued = again.queued
            raise
        return again

    def _head_to(self, proxy: Proxy, request: Request) -> bytes:
        """The head of a request that a proxy sends on (RFC 9112, section 3.2.2).

        Who we are to the proxy is said here, and is no part of the request that others see.
        """
        url = request.url
        self._connector.refuse_unseen(url.host, proxy)
        who = proxy.authorization
        # RFC 9110, section 9.3.8: whoever answers a TRACE sends back what it was sent.
        if who and request.method != "TRACE" and "proxy-authorization" not in request.fields.names:
            request = request.with_field("Proxy-Authorization", who)
        return encode_head(request, b"http://" + url.host_field + url.target)

    async def _lease(
        self, route: Route, timeout: Timeout, exchange: Exchange, fresh: bool = False
    ) -> HTTPProtocol:
        """Lease a connection where none was idle; the wait in line is not counted in `total`."""
        began = monotonic()
        progress = Progress(self._tell_resolved)

        async def connect() -> HTTPProtocol:
            await self._turnstile.turn()
            progress.since = now = monotonic()
            total_due = exchange.total_due + now - began
            return await self._connect(route, timeout, total_due, progress)

        try:
            connection = await self.pool.lease(route, connect, timeout=timeout.pool, fresh=fresh)
        except FastreqError as exc:
            exc.queued = exchange.queued + (progress.since or monotonic()) - began
            raise
        queued = (progress.since or monotonic()) - began
        exchange.queued += queued
        exchange.total_due += queued
        if progress.since:
            exchange.opened = connection.opened
        return connection

    async def _connect(
        self, route: Route, timeout: Timeout, total_due: float, progress: Progress
    ) -> HTTPProtocol:
        """Open a connection, within the time there is."""
        self._refuse_if_closed()
        now = progress.since
        connect_due = NEVER if timeout.connect is None else now + timeout.connect
        due = min(connect_due, total_due)
        limit = asyncio.timeout(None if due == NEVER else due - now)
        try:
            async with limit:
                self._connecting.add(limit)
                connection = await self._connector.connect(route, progress)
        except FastreqError as exc:
            exc.phase = exc.phase or progress.phase
            raise
        except TimeoutError as exc:
            if not limit.expired():
                raise  # it is a hook's
            self._refuse_if_closed()  # it was aclose() that ended it
            total = total_due < connect_due
            raise _connect_timeout(route, progress, due, total).at(progress.phase) from exc
        finally:
            self._connecting.discard(limit)
        self._refuse_if_closed(connection)
        connection.name = route.in_full
        connection.ceiling = self._ceiling
        connection.forwards = route.proxy is not None
        connection.opened = (progress.dns, progress.connect + progress.proxy, progress.tls)
        connection.remote_address = progress.remote_address
        connection.keepalive_expiry = (
            NEVER if self.limits.keepalive_expiry is None else self.limits.keepalive_expiry
        )
        if not connection.is_lost:
            self._connections.add(connection)
            self.deadlines.watch(connection)
        if self._hooks is not None:
            self._tell_opened(self._hooks, connection, str(route))
        return connection

    def _tell_resolved(self, host: str, addresses: list[str], seconds: float) -> None:
        if self._hooks is not None and self._hooks.dns is not None:
            self._hooks.dns(NameResolved(host, tuple(addresses), seconds))

    def _tell_opened(self, hooks: Hooks, connection: HTTPProtocol, name: str) -> None:
        address = connection.remote_address
        try:
            if hooks.connection_opened is not None:
                hooks.connection_opened(ConnectionOpened(name, address, *connection.opened))
        except BaseException:
            connection.abort()
            raise
        if (closed := hooks.connection_closed) is not None:
            connection.when_lost(lambda _: closed(ConnectionClosed(name, address)))

    def _tell_sent(
        self, hooks: Hooks, connection: HTTPProtocol, reused: str, request: Request, attempt: int
    ) -> None:
        """Tell that a request goes out, and before, whose connection is `reused`, if it is."""
        try:
            if reused and hooks.connection_reused is not None:
                hooks.connection_reused(ConnectionReused(reused, connection.remote_address))
            if hooks.request_sent is not None:
                hooks.request_sent(RequestSent(request, attempt))
        except BaseException:
            connection.abort()
            self.pool.give_back(connection, False)
            raise

    def _most_to(self, route: Any) -> int | None:
        """How many connections a route may have; those to a proxy are of no one origin."""
        if self._max_connections is None or route.proxy is not None:
            return None
        return self._max_connections(str(route))

    def _refuse_if_closed(self, connection: HTTPProtocol | None = None) -> None:
        if self.is_closed:
            if connection is not None:
                connection.abort()
            raise ClientClosed("the client was closed while a connection was being opened")

    def _make_protocol(self) -> HTTPProtocol:
        buffers = receive_buffers(self.loop)
        return HTTPProtocol(self.loop, buffers, self.deadlines, self.pool, self._connections)

    # ---- the end

    @property
    def has_open_connections(self) -> bool:
        """Whether there is something that somebody has to close."""
        return bool(self._connections) and not self.is_closed and not self.loop.is_closed()

    async def aclose(self) -> None:
        """Close every connection, and wait until each is gone; what is under way fails."""
        await self._until_loop_ends.aclose()

    async def _close(self) -> None:
        self.is_closed = True
        for limit in self._connecting:
            if not limit.expired():
                limit.reschedule(self.loop.time())
        lost = [connection.close_for(ClientClosed) for connection in tuple(self._connections)]
        self.pool.close()
        if lost:
            await asyncio.wait(lost)
        self.deadlines.close()

    def drop(self) -> None:
        """Let go of everything without waiting: the loop is gone, or is another's."""
        self.is_closed = True
        if os.getpid() != self._process:  # forked: the parent goes on with them
            self._connections.clear()
            return
        self.deadlines.close()
        for connection in tuple(self._connections):
            connection.drop()

    def _start_hook(self) -> None:
        with contextlib.suppress(StopIteration):
            self._until_loop_ends.__anext__().send(None)

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        """Wait for the end of the loop: `shutdown_asyncgens()` closes what still yields.

        So a client that nobody closed leaves no open socket behind a finished `asyncio.run()`.
        """
        try:
            yield
        finally:
            await self._close()


def _note_wishes(exchange: Exchange, request: Request, has_rest: bool) -> None:
    """Note what the request's fields say of its connection, and of when its body is sent."""
    names = request.fields.names
    if "connection" in names:
        exchange.is_last = "close" in request.fields["connection"].lower()
    if has_rest:
        exchange.expects = "expect" in names
    elif exchange.streams and not request.body:
        exchange.switches = "upgrade" in names or request.method == "CONNECT"


def _may_repeat(exchange: Exchange, request: Request) -> bool:
    """The keep-alive race (RFC 9112, section 9.3.1): the server closed as our request was sent.

    Once, and only where the connection had carried another request, no byte of an answer came,
    the body can be sent again, and the request cannot have been acted upon, or may be twice.
    """
    if exchange.opened is not None or exchange.begun or not replayable(request.body):
        return False
    return (
        not exchange.written
        or request.method in IDEMPOTENT
        or "idempotency-key" in request.fields.names
    )


def _connect_timeout(route: Route, progress: Progress, due: float, total: bool) -> TimeoutException:
    option, error = ("total", TotalTimeout) if total else ("connect", ConnectTimeout)
    now = monotonic()
    text = (
        f"no connection to {route.in_full} after {now - progress.since:.1f} s, in "
        f"{_DOING[progress.phase]}; "
        f"Timeout({option}=...) moves it"
    )
    return error(text + blocked(now - due))


_DOING = {
    "dns": "DNS",
    "connect": "the TCP handshake",
    "proxy": "the handshake with the proxy",
    "tls": "the TLS handshake",
}
