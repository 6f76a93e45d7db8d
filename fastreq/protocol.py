"""One connection: an asyncio transport on one side, HTTP/1.1 on the other."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import select
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, Protocol, cast

from fastreq.ceiling import Ceiling
from fastreq.deadline import NEVER, Deadlines
from fastreq.errors import (
    ClientClosed,
    FastreqError,
    ReadError,
    WriteError,
)
from fastreq.exchange import BREATH_SECONDS, Exchange
from fastreq.http1.body import StreamedBody
from fastreq.http1.request import PIECE, OutgoingBody
from fastreq.messages import ResponseHead
from fastreq.tls import explain, take_rest
from fastreq.upload import Upload

RECEIVE_SIZE = 256 * 1024
"""Bytes that one read may bring."""

STREAM_SIZE = 1024 * 1024
"""... of a body that streams as it is, for after each read the kernel has to tell the other side
(benchmark: stream). What has to be taken apart, chunks or a coding, would hold up the loop."""

OFFSET = 64
"""Bytes of a page that are left out before them: a large `bytes` begins near the beginning of a
page, and to copy to it from the same place of another takes a fifth more (benchmark: chunked)."""

HIGH_WATER = 512 * 1024  # bytes of a stream that nobody has read: reading pauses
LOW_WATER = 64 * 1024  # ... until so few are left

EXPECT_SECONDS = 1.0
"""Seconds that a body waits for 100 (Continue), and is sent all the same."""

LOOKS = 8
"""How often, within the time that a peer may take no byte, it is looked whether it takes any."""


class Buffers(NamedTuple):
    """Where reads go, if not into the place of a body; the connections of a loop share them."""

    usual: memoryview
    large: memoryview  # for bodies that stream

    @classmethod
    def make(cls, size: int = STREAM_SIZE) -> Buffers:
        """Two views on the same memory, which is taken as it is used, and by no child of a fork."""
        if hasattr(mmap, "MAP_PRIVATE"):
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            large = memoryview(mmap.mmap(-1, size + OFFSET, flags=flags))[OFFSET:]
        else:  # Windows
            large = memoryview(bytearray(size))
        return cls(large[:RECEIVE_SIZE], large)


class Owner(Protocol):
    """Whose connections they are: the pool."""

    def give_back(self, connection: HTTPProtocol, reusable: bool) -> None:
        """The lease has ended."""
        ...

    def lose(self, connection: HTTPProtocol) -> None:
        """An idle connection cannot be used any more."""
        ...


class HTTPProtocol(asyncio.BufferedProtocol):
    """A connection that carries one exchange at a time.

    Idle, leased or closed: `_exchange` is what it carries, and while there is none, any byte or
    the end of the stream closes it. The pool is told when a lease ends, and when an idle
    connection is lost.
    """

    __slots__ = (
        "_aborted",
        "_buffer",
        "_connections",
        "_deadlines",
        "_exchange",
        "_large_buffer",
        "_loop",
        "_lost",
        "_owner",
        "_poll",
        "_read_paused",
        "_silent_since",
        "_tls",
        "_unsent",
        "_upload",
        "_waiter",
        "_window",
        "ceiling",
        "due",
        "forwards",
        "host",
        "idle_until",
        "is_closed",
        "is_lost",
        "keepalive_expiry",
        "name",
        "opened",
        "remote_address",
        "retire_at",
        "reused",
        "transport",
        "write_paused",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffers: Buffers,
        deadlines: Deadlines,
        owner: Owner,
        connections: set[HTTPProtocol],
    ) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.host: Any = None  # the pool's; see pool.py
        self.due = NEVER
        # To a proxy that sends on each request to another origin: it has to say that it is done
        # with one, for some (tinyproxy 1.11) hand all that follows to the origin of the first.
        self.forwards = False
        self.is_closed = False
        self.is_lost = False  # the socket is gone
        self._aborted = False
        self.reused = False
        self.name = ""  # of the origin, in error texts
        self.opened: tuple[float, float, float] = (0.0, 0.0, 0.0)  # seconds of DNS, TCP, TLS
        self.remote_address: Any = ""
        self.idle_until = NEVER
        self.retire_at = NEVER
        self.keepalive_expiry = NEVER
        self.ceiling: Ceiling | None = None  # over what is being buffered
        self._loop = loop
        # Shared: whatever is in one must be taken before we return.
        self._buffer, self._large_buffer = buffers
        self._window = self._buffer  # where the next bytes go: a buffer, or the place of a body
        self._deadlines = deadlines
        self._owner = owner
        # All that are up: the engine adds this one, and `_note_loss()` takes it out.
        self._connections = connections
        self._exchange: Exchange | None = None
        self._waiter: asyncio.Future[None] | None = None  # the task that waits for the exchange
        self._silent_since = NEVER  # since when the peer owes us something
        self.write_paused = False
        self._upload: Upload | None = None  # of the exchange, while it goes on
        self._unsent = 0  # bytes in the transport's buffer, when we last looked
        self._read_paused = False
        self._tls: ssl.SSLObject | None = None
        self._poll: Callable[[int], Any] | None = None  # asks the socket whether it is readable
        self._lost: asyncio.Future[None] | None = None  # made for those who wait for it

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "leased" if self._exchange else "idle"
        return f"<HTTPProtocol {state} {self.remote_address}>"

    # ---- what the client does with it

    async def carry(self, exchange: Exchange, first: bytes, rest: bytes | OutgoingBody) -> None:
        """Send a request, and read its response: all of it, or the head of one that streams.

        `first` is written at once, `rest` behind it; see `http1.request.outgoing()`.

        Cancelling, as any error, closes the connection. The lease ends with the last byte of the
        response, or with the connection.

        Raises:
            ReadError, WriteError, ReadTimeout, WriteTimeout, TotalTimeout: it did not come.
            RemoteProtocolError: what came is not HTTP.
            LocalProtocolError: the body is not as long as it was said to be.
        """
        try:
            if not rest:
                self.send(exchange, first)
            else:
                self._begin(exchange)
                await self._send(exchange, first, rest)
            while not exchange.ended and (exchange.head is None or not exchange.streams):
                await self.arrival(exchange)
            if exchange.ended and exchange.error is not None:  # of a request that was not all taken
                raise exchange.error
        except BaseException:
            self.abandon(exchange)
            raise
        exchange.breath_due = monotonic() + BREATH_SECONDS
        if self._exchange is exchange:  # a stream; its peer owes us nothing until somebody reads
            self._silent_since = NEVER

    def send(self, exchange: Exchange, request: bytes) -> None:
        """Send a request that is all in one piece; then await `arrival()` until it has ended, and
        `abandon()` it on any error.

        Raises:
            WriteError: the connection is gone.
        """
        self._begin(exchange)
        exchange.written = exchange.sent = True
        self.transport.write(request)

    def arrival(self, exchange: Exchange) -> asyncio.Future[None]:
        """Done when more of the response has come, or an error.

        Raises:
            FastreqError: it has come.
        """
        if exchange.error is not None:
            raise exchange.error
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _begin(self, exchange: Exchange) -> None:
        self._exchange = exchange
        exchange.connection = self
        exchange.remote_address = self.remote_address
        exchange.sent_at = self._silent_since = now = monotonic()
        due = now + exchange.read_timeout
        if due > exchange.total_due:  # min() would be a call
            due = exchange.total_due
        self.due = due
        if due < self._deadlines.next:
            self._deadlines.moved_up(due)
        if self.is_closed or (not self.reused and self._spoke_first()):
            text = f"{self._where()} closed, or spoke, before the request was sent"
            raise WriteError(text).at("write")

    def abandon(self, exchange: Exchange) -> None:
        """Close the connection, if the exchange is still under way on it, or has just switched."""
        if self._exchange is not exchange:
            if exchange.transport is not None:  # nobody will take it
                exchange.transport.abort()
        elif self._loop.is_closed():  # and it is the garbage collector who ends what was under way
            self.drop()
        else:
            self._end(exchange)
            self._wake()

    def call(self, what: Callable[[], None]) -> None:
        """Call something in a turn of the loop, unless that is gone.

        Never at once: it may be the garbage collector who asks, in the midst of anything.
        """
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)

    async def wait_for_body(self, exchange: Exchange) -> None:
        """Wait until there is more of a body that streams, or its end, or an error."""
        if self._waiter is not None:
            raise RuntimeError("the body of this response is being read by another task")
        if asyncio.get_running_loop() is not self._loop:
            raise ClientClosed("this response belongs to another event loop, which has to read it")
        await self._wait_for_peer(exchange, exchange.read_timeout)

    def body_taken(self, body: StreamedBody) -> None:
        """A reader has taken a piece of the body."""
        if self._read_paused and body.size <= LOW_WATER:
            self._read_paused = False
            self.transport.resume_reading()

    def hold(self) -> None:
        """Read no more for now, as too much is being buffered; the peer is not to blame."""
        self._read_paused = True
        self._silent_since = NEVER
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        self._read_paused = False
        self._silent_since = monotonic()
        self._deadlines.moved_up(self._silent_since)
        self.due = self._silent_since
        self.transport.resume_reading()

    def is_usable(self, now: float) -> bool:
        """Whether an idle connection can carry another exchange."""
        if self.is_closed or now >= self.idle_until or now >= self.retire_at:
            return False
        return not (self.transport.is_closing() or self.is_readable())

    def close(self) -> None:
        """Close an idle connection, with TLS's closure alert where it has one."""
        if not self.is_closed:
            self.is_closed = True
            self.transport.close()

    def abort(self) -> None:
        """Close the connection at once, and read no more of it."""
        self.is_closed = True
        if not self._aborted:  # asyncio's TLS transport takes one abort, not two (3.11.2)
            self._aborted = True
            self.transport.abort()

    def drop(self) -> None:
        """Let go of it: its loop is closed, or is not the one that runs."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.connection = None
            exchange.error = ClientClosed("the event loop of this request runs no more")
        self._connections.discard(self)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.abort()

    def close_for(self, reason: type[FastreqError]) -> asyncio.Future[None]:
        """Close, because the client is closed; the future is done when the socket is gone."""
        if self._exchange is not None:
            self._fail(self._exchange, reason("the client was closed during the request"))
        self.close()
        return self._loss()

    def when_lost(self, call: Callable[[HTTPProtocol], None]) -> None:
        """Have `call` called once the socket is gone."""
        self._loss().add_done_callback(lambda _: call(self))

    async def wait_closed(self) -> None:
        """Wait until the transport has let go of its socket."""
        await asyncio.wait([self._loss()])

    def _loss(self) -> asyncio.Future[None]:
        """Done when the socket is gone."""
        if self._lost is None:
            self._lost = self._loop.create_future()
            if self.is_lost:
                self._lost.set_result(None)
        return self._lost

    # ---- sending

    async def _send(self, exchange: Exchange, head: bytes, body: bytes | OutgoingBody) -> None:
        """Send a request of more than one piece, as long as the peer wants it.

        What is left of the body when a stream's head is here is sent while that is read.
        """
        exchange.written = exchange.writing = True
        if isinstance(body, bytes) and not exchange.expects:
            self.transport.writelines([head, body])
            await self._drain(exchange)
            exchange.sent = not self._is_given_up(exchange)
        else:
            self.transport.write(head)
            if exchange.expects:
                await self._await_continue(exchange)
            # A final answer to the expectation wants no body, whatever it says (10.1.1).
            if not self._is_given_up(exchange) and not (exchange.expects and exchange.head):
                await self._send_body(exchange, body)
        if self._upload is None:
            self._end_sending(exchange)

    async def _send_body(self, exchange: Exchange, body: bytes | OutgoingBody) -> None:
        body = OutgoingBody.of(body) if isinstance(body, bytes) else body
        self.flows(exchange)
        upload = self._upload = Upload(self._loop, self, exchange, body, self._note_upload_end)
        try:
            while not (upload.done or self._is_given_up(exchange)):
                if exchange.streams and exchange.head is not None:
                    upload.is_awaited = False
                    return
                await self._wait()
        finally:
            if upload.is_awaited:
                upload.cancel()
                await upload.wait_done()
                self._upload = None
        if upload.error is not None and not self._is_given_up(exchange):
            raise upload.error
        if not exchange.sent and not self._is_given_up(exchange):
            await self.wait_closed()  # it is on its way: the transport takes nothing any more

    def _is_given_up(self, exchange: Exchange) -> bool:
        """Whether no more of the request is to be sent (RFC 9112, section 9.5)."""
        return self._exchange is not exchange or exchange.answered_early

    def _note_upload_end(self, upload: Upload) -> None:
        if not upload.is_awaited and self._upload is upload:
            self._upload = None
            self._end_sending(upload.exchange, upload.error)
        self._wake()

    def _end_sending(self, exchange: Exchange, error: BaseException | None = None) -> None:
        """All of the request is sent, or no more of it will be."""
        exchange.writing = False
        if self._exchange is not exchange:
            return
        if error is not None:  # of the body's source, while its answer is read
            exchange.error = error
            self._end(exchange)
        elif exchange.ended:  # it was answered before
            self._end(exchange, self._kept_seconds(exchange))
        elif exchange.streams and exchange.head is not None and self._waiter is None:
            self._silent_since = NEVER  # nobody reads
        else:
            self._expect(exchange, exchange.read_timeout)

    def stalls(self, exchange: Exchange) -> None:
        """The peer has to take something before more can be written."""
        if self._exchange is exchange:
            self._expect(exchange, exchange.write_timeout)

    def flows(self, exchange: Exchange) -> None:
        """It is we who owe the peer something."""
        if self._exchange is exchange:
            self._silent_since = NEVER

    async def _await_continue(self, exchange: Exchange) -> None:
        """Wait for 100 (Continue), but not for ever (RFC 9110, section 10.1.1)."""
        is_over = False  # the timer says so, and no clock, which may be behind it (uvloop)

        def end() -> None:
            nonlocal is_over
            is_over = True
            self._wake()

        timer = self._loop.call_later(EXPECT_SECONDS, end)
        try:
            while not (is_over or exchange.continued or exchange.head or exchange.error):
                await self._wait_for_peer(exchange, NEVER)
        finally:
            timer.cancel()

    async def _drain(self, exchange: Exchange) -> None:
        """Wait until the transport's buffer has room, the peer has answered, or failed."""
        while self.write_paused and not self._is_given_up(exchange):
            await self._wait_for_peer(exchange, exchange.write_timeout)

    async def _wait_for_peer(self, exchange: Exchange, patience: float) -> None:
        """Wait for whatever the peer does next, and no longer than so many seconds."""
        self._expect(exchange, patience)
        try:
            await self._wait()
        finally:
            if self._exchange is exchange:  # or the connection carries another's by now
                self._silent_since = NEVER

    async def _wait(self) -> None:
        """Wait for whatever happens next."""
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:  # cancelled
                self._waiter = None

    def _expect(self, exchange: Exchange, patience: float) -> None:
        """From now on, the peer may be silent for so many seconds."""
        now = monotonic()
        self._silent_since = now if patience < NEVER else NEVER
        if exchange.writing:
            self._unsent = self._unsent_bytes()
            patience /= LOOKS
        self.due = due = min(now + patience, exchange.total_due)
        self._deadlines.moved_up(due)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ---- the end of an exchange

    def _end(self, exchange: Exchange, kept: float = 0.0) -> None:
        """End the lease: the connection goes back to be used again within so many seconds, or is
        closed."""
        self._exchange = exchange.connection = None
        self._silent_since = NEVER
        if self._upload is not None:
            self._upload.cancel()
        if self.ceiling is not None:
            self.ceiling.ended(self)
        if kept > 0:
            self.reused = True
            if self._read_paused:
                self._read_paused = False
                self.transport.resume_reading()
            self._window = self._buffer
            self.idle_until = self.due = due = exchange.ended_at + kept
            if due < self._deadlines.next:
                self._deadlines.moved_up(due)
        else:
            self._close_after(exchange)
        self._owner.give_back(self, kept > 0)

    def _close_after(self, exchange: Exchange) -> None:
        """Close a connection that is not used again."""
        self._window = self._buffer
        if not exchange.ended and exchange.body is not None:
            exchange.body.give_up()
        # A close would wait until the peer has taken all of the request, and it need not.
        if exchange.ended and not self._read_paused and not self._unsent_bytes():
            self.close()
        else:
            self.abort()

    def _kept_seconds(self, exchange: Exchange) -> float:
        """How long to stay idle; 0.0: close, for one of both said so, or is not done.

        The server closes at its hint, so be gone before.
        """
        if (
            not exchange.sent
            or exchange.is_last
            or self.is_closed
            or not exchange.persistent
            or self.transport.get_write_buffer_size()
        ):
            return 0.0
        head = cast(ResponseHead, exchange.head)
        if self.forwards and not head.says_keep_alive:
            return 0.0
        hint = head.keep_alive_seconds
        return self.keepalive_expiry if hint is None else min(self.keepalive_expiry, hint - 2)

    def _fail(self, exchange: Exchange, error: FastreqError) -> None:
        """End the exchange with an error, which its caller meets when it looks."""
        exchange.error = error
        exchange.ended_at = monotonic()
        error.phase = error.phase or exchange.phase
        if self.name not in error.args[0]:
            error.args = (f"{self._where()}: {error.args[0]}",)
        self._end(exchange)
        self._wake()

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Plain TCP, or a Unix socket, is connected."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=PIECE)

    def secured(self, transport: asyncio.Transport) -> None:
        """The TLS transport that stands before the plain one from now on."""
        self.connection_made(transport)
        self._tls = transport.get_extra_info("ssl_object")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport puts the next bytes."""
        return self._window

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have been put there."""
        window = self._window
        if window is self._buffer or window is self._large_buffer:
            self.data_received(window[:nbytes])
        elif self._exchange is not None:  # the window is the place of its body
            self._silent_since = monotonic()
            self._exchange.filled(nbytes)
            self._window = self._exchange.window() or self._buffer
            if self.ceiling is not None:
                self._obey(self.ceiling, self._exchange)

    def data_received(self, view: memoryview) -> None:
        """Take what has come, all of it: the buffer is another connection's next."""
        exchange = self._exchange
        if exchange is None:
            # Nobody has asked for it, so it is nobody's answer (RFC 9112, section 9.2). It may come
            # in the middle of `close()`, from asyncio's TLS, and is dropped then.
            if not self.is_closed:
                self._owner.lose(self)
                self.abort()
            return
        now = monotonic()
        if not exchange.first_byte_at:
            exchange.first_byte_at = now
        if exchange.writing:
            if exchange.ended:  # and what is this, then?
                self._end(exchange)
                self._wake()
                return
        elif self._waiter is not None:
            self._silent_since = now
        try:
            used = exchange.receive(view)
        except FastreqError as exc:
            self._fail(exchange, exc)
            return
        if exchange.ended:
            exchange.ended_at = now
            if exchange.switches and exchange.switched:
                self._hand_over(exchange, bytes(view[used:]))
            elif used < len(view) or not exchange.writing or exchange.answered_early:
                self._end(exchange, self._kept_seconds(exchange) if used == len(view) else 0.0)
            self._wake()
        else:
            self._go_on(exchange)

    def _hand_over(self, exchange: Exchange, received: bytes) -> None:
        """Leave the transport to whoever speaks what follows, with what has come of it."""
        self.transport.pause_reading()
        exchange.transport, exchange.received = self.transport, received
        self._exchange = exchange.connection = None
        self.is_closed = True  # to the pool, and to the client
        self._owner.give_back(self, False)
        self._note_loss()

    def _go_on(self, exchange: Exchange) -> None:
        """There is more to come: choose where it goes, and when."""
        if not exchange.streams:
            self._window = exchange.window() or self._buffer
            if self.ceiling is not None:
                self._obey(self.ceiling, exchange)
            if not exchange.writing:
                return
        else:
            if exchange.is_plain:
                self._window = self._large_buffer
            if cast(StreamedBody, exchange.body).size > HIGH_WATER and not self._read_paused:
                self._read_paused = True
                self.transport.pause_reading()
        self._wake()

    def _obey(self, ceiling: Ceiling, exchange: Exchange) -> None:
        """Tell how much has come, and let the next read bring no more than any other does."""
        if len(self._window) > RECEIVE_SIZE:
            self._window = self._window[:RECEIVE_SIZE]
        if exchange.size:  # who has nothing of a body yet may wait long for it, and holds up nobody
            ceiling.grew(self, exchange.size)

    def eof_received(self) -> None:
        """The peer has closed its side; the transport closes itself when we return."""
        if self._exchange is None:
            self._lose()
        elif self._tls is None:  # with TLS it is connection_lost() that knows how it ended
            self._receive_eof(self._exchange, clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._tls is not None and isinstance(exc, TimeoutError) and exc.errno is None:
            exc = None  # "SSL shutdown timed out": the peer owed us a goodbye, and nothing else
        clean = exc is None and self._end_tls()
        exchange = self._exchange
        if exchange is None:
            self._lose()
        elif exc is None:
            self._receive_eof(exchange, clean)
        else:
            kind = WriteError if exchange.phase == "write" else ReadError
            error = kind(f"{self._where()} broke the connection: {_why(exc)}")
            error.__cause__ = exc
            self._fail(exchange, error)
        self._note_loss()

    def _note_loss(self) -> None:
        """The socket is gone, or in other hands."""
        self.is_lost = True
        self._connections.discard(self)
        self._deadlines.forget(self)
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def _end_tls(self) -> bool:
        """Take what TLS has kept back, and see whether it ended with its closure alert."""
        if self._tls is None or self._exchange is None:
            return False
        rest, clean = take_rest(self._tls)
        if rest:
            self.data_received(memoryview(rest))
        return clean

    def _lose(self) -> None:
        self.is_closed = True
        self._owner.lose(self)

    def _receive_eof(self, exchange: Exchange, clean: bool) -> None:
        if exchange.ended:  # it was answered, and we are still sending: no more of that
            self._end(exchange)
            self._wake()
            return
        if not exchange.begun:
            self._fail(exchange, ReadError(f"{self._where()} closed the connection unanswered"))
            return
        try:
            exchange.receive_eof(clean)
        except FastreqError as exc:
            self._fail(exchange, exc)
            return
        exchange.ended_at = monotonic()
        self._end(exchange)
        self._wake()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self.write_paused = False
        if self._upload is not None:
            self._upload.resume()
        self._wake()

    # ---- deadlines

    def check(self, now: float, late: float) -> float:
        """See whether anything is late; `due` is never later than what is found here."""
        exchange = self._exchange
        if exchange is None:
            if now < self.idle_until:
                return self.idle_until
            self._owner.lose(self)
            self.close()
            return NEVER
        if exchange.writing:
            self._note_progress(now)
        due = exchange.due(self._silent_since)
        if now < due:
            return min(due, now + exchange.write_timeout / LOOKS) if exchange.writing else due
        self._fail(exchange, exchange.timeout(now, self._silent_since, self._where(), late))
        return NEVER

    def _note_progress(self, now: float) -> None:
        """A peer that takes our bytes, however slowly, is not silent."""
        unsent = self._unsent_bytes()
        if unsent != self._unsent:
            self._unsent = unsent
            self._silent_since = now if unsent else NEVER  # then it is we who owe it something

    def _where(self) -> str:
        kind = "a reused connection" if self.reused else "a new connection"
        address = self.remote_address
        if isinstance(address, tuple):
            address = f"{address[0]} port {address[1]}"
        return f"{self.name} ({address}, {kind})"

    # ---- the socket

    def _unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def _spoke_first(self) -> bool:
        """Whether a new connection has said something before it was asked (RFC 9112, 9.2).

        Under TLS there are things to say that are no answers, and answers have been seen by now.
        """
        return self._tls is None and self.is_readable()

    def is_readable(self) -> bool:
        """Ask the socket whether something has come that nobody has read.

        An idle connection has nothing to say, so whatever it says is bad.
        """
        if self._poll is None:
            self._poll = _poll_of(self.transport)
        return bool(self._poll(0))


def _poll_of(transport: asyncio.Transport) -> Callable[[int], Any]:
    """A function that is true where the socket of a transport is readable, or gone."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return lambda _: True
    if not hasattr(select, "poll"):  # Windows
        return lambda _: select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


def _why(exc: Exception) -> str:
    """TLS may fail late: a server that misses a client certificate says so after the handshake."""
    return explain(exc, "TLS", 0).args[0] if isinstance(exc, ssl.SSLError) else str(exc)
