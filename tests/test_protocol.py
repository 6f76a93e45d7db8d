"""HTTPProtocol over a socket pair: what it sends, what it takes, and what becomes of it then."""

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from fastreq import protocol
from fastreq.deadline import GRANULARITY, NEVER, Deadlines
from fastreq.errors import (
    IncompleteBody,
    LocalProtocolError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    StreamConsumed,
    TimeoutException,
    TotalTimeout,
    WriteError,
    WriteTimeout,
)
from fastreq.exchange import Exchange
from fastreq.headers import Headers
from fastreq.http1.body import DIRECT, SMALLEST, StreamedBody
from fastreq.http1.request import PIECE, OutgoingBody, encode_head, outgoing
from fastreq.messages import Request
from fastreq.protocol import (
    HIGH_WATER,
    LOOKS,
    LOW_WATER,
    RECEIVE_SIZE,
    STREAM_SIZE,
    Buffers,
    HTTPProtocol,
)
from fastreq.url import parse_url

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
SOON = 0.05  # seconds
T = 1e9


class Owner:
    """The pool, as far as a connection knows it."""

    def __init__(self):
        self.events = []

    def give_back(self, connection, reusable):
        self.events.append("reusable" if reusable else "done")

    def lose(self, connection):
        if self.events[-1:] == ["reusable"]:  # it was idle
            self.events.append("lost")


class Line:
    """A connection, and the other end of it as a plain socket."""

    def __init__(self, deadlines, buffers):
        self.loop = asyncio.get_running_loop()
        self.owner = Owner()
        self.protocol = HTTPProtocol(self.loop, buffers, deadlines, self.owner, set())
        self.ours, self.peer = socket.socketpair()
        self.peer.setblocking(False)

    async def open(self):
        await self.loop.create_unix_connection(lambda: self.protocol, sock=self.ours)
        self.protocol.name = "http://x"
        return self

    async def begin(self, exchange, head=HEAD, body=b""):
        """Have an exchange carried; its head is at the other end by now."""
        carrying = asyncio.ensure_future(self.protocol.carry(exchange, head, body))
        assert head == await self.hear(len(head))
        return carrying

    def next(self, exchange):
        """Have another carried, as soon as the loop comes to it."""
        self.following = asyncio.ensure_future(self.protocol.carry(exchange, HEAD, b""))

    async def say(self, data):
        await self.loop.sock_sendall(self.peer, data)

    async def hear(self, count):
        """So many bytes at the other end."""
        heard = b""
        while len(heard) < count:
            piece = await self.loop.sock_recv(self.peer, count - len(heard))
            assert piece, "closed"
            heard += piece
        return heard

    async def hear_the_end(self):
        """What is still to come from the other end, up to its end."""
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := await self.loop.sock_recv(self.peer, 2**16):
                heard += piece
        return heard


@asynccontextmanager
async def connected(*, deadlines=None, buffers=None) -> AsyncIterator[Line]:
    deadlines = deadlines or Deadlines(asyncio.get_running_loop())
    line = Line(deadlines, buffers or Buffers.make())
    await line.open()
    deadlines.watch(line.protocol)
    try:
        yield line
    finally:
        line.protocol.abort()
        await line.protocol.wait_closed()
        line.peer.close()


def exchange(body=None, method="GET", read=NEVER, write=NEVER, total_due=NEVER):
    return Exchange(method, body, None, read, write, total_due, 0.0)


def put(body):
    """The head and the body of a request that sends it."""
    request = Request("PUT", parse_url("http://x/"), Headers(), body)
    head = encode_head(request)
    return outgoing(request, head)


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


# ---- an exchange


async def test_an_exchange():
    """The request goes out as it is, the response comes in, the lease ends."""
    async with connected() as line:
        one = exchange()
        carrying = await line.begin(one)
        await line.say(HELLO)
        await carrying

        assert 200 == one.head.status
        assert b"hello" == one.take_content()
        assert ["reusable"] == line.owner.events
        assert line.protocol.reused


async def test_one_after_the_other():
    """State of one exchange does not reach the next (1c: state left from the last request)."""
    async with connected() as line:
        for status in (b"200", b"404"):
            one = exchange()
            carrying = await line.begin(one)
            await line.say(b"HTTP/1.1 %b X\r\nContent-Length: 3\r\n\r\n%b" % (status, status))
            await carrying
            assert status == one.take_content()


@pytest.mark.parametrize("step", [1, 7])
async def test_byte_by_byte(step):
    async with connected() as line:
        one = exchange()
        carrying = await line.begin(one)
        chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"
        for start in range(0, len(chunked), step):
            await line.say(chunked[start : start + step])
            await asyncio.sleep(0)
        await carrying

        assert b"hello" == one.take_content()
        assert b"A: b\r\n" == one.trailers
        assert ["reusable"] == line.owner.events


async def test_one_buffer_serves_many():
    """Whatever is in it is taken before the next connection is read."""
    buffers = Buffers.make()
    async with contextlib.AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(connected(buffers=buffers)) for _ in range(5)]
        exchanges = [exchange() for _ in lines]
        carrying = [await line.begin(one) for line, one in zip(lines, exchanges, strict=True)]
        bodies = [bytes([65 + n]) * 3000 for n in range(5)]
        for part in (0, 1, 2):
            for line, body in zip(lines, bodies, strict=True):
                whole = OK + b"Content-Length: 3000\r\n\r\n" + body
                await line.say(whole[part * 1200 : (part + 1) * 1200])
        await asyncio.gather(*carrying)

        assert bodies == [one.take_content() for one in exchanges]


@pytest.mark.parametrize("size", [DIRECT - 1, DIRECT, DIRECT + 1, 3 * 2**20 + 17])
async def test_a_long_body_is_received_in_place(size, monkeypatch):
    """All of it but the end, past our buffer; and what follows it is seen, and closes."""
    in_place = []
    filled = Exchange.filled
    monkeypatch.setattr(Exchange, "filled", lambda o, n: (in_place.append(n), filled(o, n))[1])
    body = bytes(range(256)) * (size // 256 + 1)
    async with connected() as line:
        one = exchange()
        carrying = await line.begin(one)
        await line.say(OK + b"Content-Length: %d\r\n\r\n" % size)
        await line.say(body[:size] + b"HTTP/1.1 200 OK\r\n")
        await carrying
        if line.owner.events == ["reusable"]:  # what is too much came in a read of its own
            await line.protocol.wait_closed()

        assert body[:size] == one.take_content()
        assert type(one.take_content()) is bytes
        assert line.owner.events in (["done"], ["reusable", "lost"])
        assert max(0, size - DIRECT) - RECEIVE_SIZE <= sum(in_place) <= max(0, size - DIRECT)


async def test_head_and_body_of_a_stream():
    """`carry()` returns with the head; the lease lasts to the last byte."""
    async with connected() as line:
        one = exchange(StreamedBody())
        carrying = await line.begin(one)
        await line.say(OK + b"Content-Length: 6\r\n\r\n")
        await carrying
        assert [] == line.owner.events
        await line.say(b"abc")
        assert b"abc" == await one.read()
        await line.say(b"def")
        assert b"def" == await one.read()

        assert b"" == await one.read()
        assert ["reusable"] == line.owner.events


# ---- reuse (the reuse rule of TRUST, section 4)


@pytest.mark.parametrize(
    "response",
    [
        OK + b"Content-Length: 0\r\n\r\nx",
        OK + b"Content-Length: 0\r\n\r\n" + HELLO,
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n",
        OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + b"Keep-Alive: timeout=2\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_not_to_be_used_again(response):
    """Bytes behind the end, a close, HTTP/1.0, a server that closes in a moment."""
    async with connected() as line:
        carrying = await line.begin(exchange())
        await line.say(response)
        await carrying

        assert ["done"] == line.owner.events
        assert b"" == await line.hear_the_end()


async def test_a_request_that_says_close_is_the_last():
    """RFC 9112, section 9.6 (row 41)."""
    async with connected() as line:
        one = exchange()
        one.is_last = True
        carrying = await line.begin(one)
        await line.say(HELLO)
        await carrying

        assert ["done"] == line.owner.events


async def test_http_1_0_that_says_keep_alive():
    async with connected() as line:
        carrying = await line.begin(exchange())
        await line.say(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n")
        await carrying

        assert ["reusable"] == line.owner.events


@pytest.mark.parametrize("what", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\0", None])
async def test_idle_bytes_close(what):
    """RFC 9112, section 9.2 (rows 34 and 39): any byte, and the end."""
    async with connected() as line:
        carrying = await line.begin(exchange())
        await line.say(HELLO)
        await carrying
        if what is None:
            line.peer.shutdown(socket.SHUT_WR)
        else:
            await line.say(what)
        await line.protocol.wait_closed()

        assert line.protocol.is_closed
        assert "reusable" == line.owner.events[0]
        assert {"lost"} == set(line.owner.events[1:])


async def after(line, seconds):
    """An idle connection, and a moment: so long after it became idle."""
    carrying = await line.begin(one := exchange())
    await line.say(HELLO)
    await carrying
    return one.ended_at + seconds


async def test_the_socket_is_asked_before_a_lease():
    """What has come and was not read yet is seen, however short a while the connection was idle."""
    async with connected() as line:
        line.protocol.keepalive_expiry = 100.0
        at_once = await after(line, 0.0)

        assert line.protocol.is_usable(at_once)
        assert line.protocol.is_usable(at_once + 1)
        line.peer.send(b"x")
        assert not line.protocol.is_usable(at_once)


@pytest.mark.parametrize("size", [RECEIVE_SIZE, DIRECT + SMALLEST, 10**6, 3 * 2**20 + 17])
async def test_the_read_that_ends_a_body_in_place_has_room_for_more(size):
    """So that what follows it is seen, and its connection not used again."""
    buffers = Buffers.make()
    async with connected(buffers=buffers) as line:
        carrying = await line.begin(exchange())
        head = OK + b"Content-Length: %d\r\n\r\n" % size
        line.protocol.data_received(memoryview(head))
        places = []
        while size:
            view = line.protocol.get_buffer(-1)
            places.append("shared" if view is buffers.usual else "own")
            count = min(size, len(view))
            assert "own" == places[-1] or count < len(view)
            size -= count
            line.protocol.buffer_updated(count)
        await carrying

        assert "shared" == places[-1]
        assert "own" in places


async def test_the_socket_is_asked_where_there_is_no_poll(monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(select, "poll")
    async with connected() as line:
        later = await after(line, 1.0)

        assert line.protocol.is_usable(later)
        line.peer.send(b"x")
        assert not line.protocol.is_usable(later)


@pytest.mark.parametrize("gone", ["closing", "closed", "none"])
async def test_a_socket_that_is_gone_is_not_asked(gone, monkeypatch):
    """The transport has let go of it and has not told us yet: asyncio TLS takes a turn for it."""
    async with connected() as line:
        later = await after(line, 1.0)
        assert line.protocol.is_usable(later)
        told = Told(line.protocol.transport, gone)
        with monkeypatch.context() as patched:
            patched.setattr(line.protocol, "transport", told)
            if gone != "closing":  # it was not asked yet
                patched.setattr(line.protocol, "_poll", None)
            assert not line.protocol.is_usable(later)


class Told:
    """A transport whose socket is gone."""

    def __init__(self, transport, gone):
        closed = socket.socket()
        closed.close()
        self._found = {"closed": closed, "none": None}.get(gone, transport)
        self._is_closing = gone == "closing"

    def get_extra_info(self, name):
        return {"socket": self._found}[name]

    def is_closing(self):
        return self._is_closing


async def test_idle_for_so_long():
    """Idle until the client's limit, or two seconds before the server's."""
    async with connected() as line:
        line.protocol.keepalive_expiry = 15.0
        later = await after(line, 14.9)
        assert line.protocol.is_usable(later)
        assert not line.protocol.is_usable(later + 0.1)

        carrying = await line.begin(one := exchange())
        await line.say(OK + b"Keep-Alive: timeout=5, max=9\r\nContent-Length: 0\r\n\r\n")
        await carrying
        assert pytest.approx(3.0) == line.protocol.idle_until - one.ended_at


async def test_too_old():
    async with connected() as line:
        later = await after(line, 1.0)
        line.protocol.retire_at = later

        assert not line.protocol.is_usable(later)
        assert line.protocol.is_usable(later - 0.5)


# ---- what the peer does


async def test_a_peer_that_speaks_first(monkeypatch):
    """Row 34, "bytes before the request was written": no answer, though it looks like one."""
    async with connected() as line:
        line.peer.send(HELLO)  # in the socket, and the loop has not looked yet
        with pytest.raises(WriteError, match=r"http://x .*a new connection.* spoke"):
            await line.protocol.carry(exchange(), HEAD, b"")

        assert ["done"] == line.owner.events
        assert b"" == await line.hear_the_end()


async def test_a_peer_that_spoke_first():
    """The same, where the loop has looked."""
    async with connected() as line:
        line.peer.send(HELLO)
        await line.protocol.wait_closed()
        one = exchange()
        with pytest.raises(WriteError, match="before the request was sent"):
            await line.protocol.carry(one, HEAD, b"")

        assert not one.written


async def test_closed_unanswered():
    async with connected() as line:
        one = exchange()
        carrying = await line.begin(one)
        line.peer.shutdown(socket.SHUT_WR)
        with pytest.raises(ReadError, match=r"http://x .*closed the connection unanswered") as e:
            await carrying

        assert "head" == e.value.phase
        assert not one.begun
        assert ["done"] == line.owner.events


@pytest.mark.parametrize(
    ("sent", "error", "phase"),
    [
        (b"HTTP/1.1 2", RemoteProtocolError, "head"),
        (HELLO[:-1], IncompleteBody, "body"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", IncompleteBody, "body"),
    ],
)
async def test_closed_in_the_middle(sent, error, phase):
    """Rows 24, 31, 32: never a short body that looks whole."""
    async with connected() as line:
        carrying = await line.begin(exchange())
        await line.say(sent)
        line.peer.shutdown(socket.SHUT_WR)
        with pytest.raises(error) as caught:
            await carrying

        assert error is type(caught.value)
        assert phase == caught.value.phase
        assert ["done"] == line.owner.events


async def test_a_body_until_the_end():
    async with connected() as line:
        one = exchange()
        carrying = await line.begin(one)
        await line.say(OK + b"\r\nhel")
        await line.say(b"lo")
        line.peer.shutdown(socket.SHUT_WR)
        await carrying

        assert b"hello" == one.take_content()
        assert ["done"] == line.owner.events


async def test_no_http():
    async with connected() as line:
        carrying = await line.begin(exchange())
        await line.say(b"SSH-2.0-OpenSSH_9.9\r\n")
        with pytest.raises(RemoteProtocolError, match="SSH-2"):
            await carrying

        assert ["done"] == line.owner.events
        assert b"" == await line.hear_the_end()


# ---- giving up


async def test_cancelled():
    """The connection goes with the exchange: its answer may still come."""
    async with connected() as line:
        carrying = await line.begin(exchange())
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying

        assert ["done"] == line.owner.events
        assert b"" == await line.hear_the_end()


async def test_closed_by_the_client():
    async with connected() as line:
        carrying = await line.begin(exchange())
        await line.protocol.close_for(ReadError)
        with pytest.raises(ReadError, match="client was closed during the request"):
            await carrying

        assert ["done"] == line.owner.events


async def streaming(line, rest=b"", **limits):
    """A stream whose head has come, and some of its body."""
    one = exchange(StreamedBody(), **limits)
    carrying = await line.begin(one)
    await line.say(OK + b"Content-Length: 1000000000\r\n\r\n" + rest)
    await carrying
    return one


async def test_a_cancelled_read_loses_nothing():
    async with connected() as line:
        one = await streaming(line)
        reading = asyncio.ensure_future(one.read())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await line.say(b"abc")

        assert b"abc" == await one.read()


async def test_two_readers_of_one_body():
    """The second is told at once; neither waits for ever."""
    async with connected() as line:
        one = await streaming(line)
        reading = asyncio.ensure_future(one.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await one.read()
        await line.say(b"abc")

        assert b"abc" == await reading


async def test_closed_under_a_reader():
    """It is told so; a body that was dropped has no end."""
    async with connected() as line:
        one = await streaming(line)
        reading = asyncio.ensure_future(one.read())
        await asyncio.sleep(0)
        await one.aclose()

        for read in (reading, one.read()):
            with pytest.raises(StreamConsumed, match="dropped before its end"):
                await read
        assert ["done"] == line.owner.events


async def test_dropped_from_another_thread():
    """As by the garbage collector."""
    async with connected() as line:
        one = await streaming(line)
        await asyncio.to_thread(one.drop)
        await line.protocol.wait_closed()

        assert ["done"] == line.owner.events


# ---- flow control


async def test_reading_pauses_while_the_reader_is_behind():
    """What is held is bounded, whatever the peer sends; all of it comes in the end."""
    size = 8 * HIGH_WATER
    body = bytes(range(256)) * (size // 256)
    async with connected() as line:
        one = exchange(StreamedBody())
        carrying = await line.begin(one)
        saying = asyncio.ensure_future(line.say(OK + b"Content-Length: %d\r\n\r\n" % size + body))
        await carrying
        await until(lambda: line.protocol._read_paused)
        most = one.body.size
        assert not saying.done()

        pieces = []
        while piece := await one.read():
            pieces.append(piece)
            most = max(most, one.body.size)
        await saying
        assert body == b"".join(pieces)
        assert HIGH_WATER < most <= HIGH_WATER + STREAM_SIZE
        assert ["reusable"] == line.owner.events


async def test_reading_goes_on_at_the_low_water_mark():
    async with connected() as line:
        one = await streaming(line)
        while not line.protocol._read_paused:
            line.protocol.data_received(memoryview(bytes(LOW_WATER // 4)))
        assert HIGH_WATER < one.body.size <= HIGH_WATER + LOW_WATER // 4

        while one.body.size > LOW_WATER:
            assert line.protocol._read_paused
            await one.read()
        assert not line.protocol._read_paused
        await line.say(b"abc")
        while await one.read() != b"abc":
            pass


async def test_a_stream_is_read_in_large_pieces():
    """And what follows it on its connection is not."""
    async with connected() as line:
        assert RECEIVE_SIZE == len(line.protocol.get_buffer(-1))
        one = exchange(StreamedBody())
        carrying = await line.begin(one)
        await line.say(OK + b"Content-Length: 5\r\n\r\n")
        await carrying
        assert STREAM_SIZE == len(line.protocol.get_buffer(-1))

        await line.say(b"hello")
        assert b"hello" == await one.read()
        assert RECEIVE_SIZE == len(line.protocol.get_buffer(-1))


async def test_a_stream_that_ends_while_reading_is_paused():
    """As TLS does it, which has more in its hands; the next exchange is read again."""
    async with connected() as line:
        one = exchange(StreamedBody())
        carrying = await line.begin(one)
        size = HIGH_WATER + 1
        await line.say(OK + b"Content-Length: %d\r\n\r\n" % (size + 1))
        await carrying
        line.protocol.data_received(memoryview(bytes(size)))
        assert line.protocol._read_paused
        line.protocol.data_received(memoryview(b"x"))
        assert ["reusable"] == line.owner.events

        carrying = await line.begin(two := exchange())
        await line.say(HELLO)
        await carrying
        assert b"hello" == two.take_content()


async def test_writes_wait_for_a_slow_peer():
    """The source is asked for no more than the peer takes, and a little."""
    given = 0

    async def source():
        nonlocal given
        for _ in range(1024):
            given += PIECE
            yield b"x" * PIECE

    async with connected() as line:
        carrying = await line.begin(exchange(), *put(source()))
        await until(lambda: line.protocol.write_paused)
        for _ in range(50):
            await asyncio.sleep(0)
        assert given < 16 * PIECE

        heard = 0
        while not carrying.done() and given < 1024 * PIECE:
            heard += len(await line.loop.sock_recv(line.peer, 2**20))
            assert given - heard < 24 * PIECE
        answering = asyncio.ensure_future(line.hear_the_end())
        await line.say(HELLO)
        await carrying
        line.protocol.abort()
        await answering


# ---- sending


def chunk(piece):
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@pytest.mark.parametrize("size", [1, PIECE, PIECE + 1, 5 * PIECE])
@pytest.mark.parametrize("kind", ["bytes", "list", "async"])
async def test_bodies_of_all_kinds(size, kind):
    """Bytes go out as they are, small ones with their head, and what has no length in chunks of
    at most 64 KiB."""
    body = (bytes(range(256)) * (size // 256 + 1))[:size]

    async def halves():
        yield body[: size // 2]
        yield body[size // 2 :]

    source, halved = {
        "bytes": (body, []),
        "list": ([body], [body]),
        "async": (halves(), [body[: size // 2], body[size // 2 :]]),
    }[kind]
    cut = [half[start : start + PIECE] for half in halved for start in range(0, len(half), PIECE)]
    framed = b"".join(map(chunk, [*cut, b""])) if halved else body
    async with connected() as line:
        first, rest = put(source)
        carrying = await line.begin(exchange(), first, rest)
        head, _, with_it = first.partition(b"\r\n\r\n")
        assert head.startswith(b"PUT / HTTP/1.1")
        assert framed == with_it + await line.hear(len(framed) - len(with_it))
        await line.say(HELLO)
        await carrying

        assert ["reusable"] == line.owner.events


async def test_a_body_that_breaks_its_promise():
    """Half a request is on the wire, so the connection goes (1a: false length from a source)."""
    async with connected() as line:
        head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
        request = Request("PUT", parse_url("http://x/"), Headers(), iter([b"abc"]))
        with pytest.raises(LocalProtocolError, match="2 bytes short"):
            await line.protocol.carry(exchange(), head, OutgoingBody(request, head))

        assert ["done"] == line.owner.events


async def test_a_source_that_fails():
    """Its error comes out as it is; the connection goes."""

    async def source():
        yield b"abc"
        raise KeyError("mine")

    async with connected() as line:
        with pytest.raises(KeyError, match="mine"):
            await line.protocol.carry(exchange(), *put(source()))

        assert ["done"] == line.owner.events
        await line.hear_the_end()


async def test_an_early_answer_stops_the_body():
    """Row 40: an error while the body is being sent ends it, and the connection with it."""
    closed = asyncio.Event()

    async def source():
        try:
            while True:
                yield bytes(PIECE)
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with connected() as line:
        one = exchange()
        carrying = await line.begin(one, *put(source()))
        await line.hear(1000)
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
        await carrying
        await line.hear_the_end()

        assert 413 == one.head.status
        assert b"large" == one.take_content()
        assert closed.is_set()
        assert ["done"] == line.owner.events


@pytest.mark.parametrize("kind", ["bytes", "stream"])
async def test_an_early_answer_of_a_peer_that_takes_nothing(kind):
    """What it has not taken is not waited for: the socket is gone at once."""
    body = bytes(64 * PIECE)
    async with connected() as line:
        one = exchange()
        source = body if kind == "bytes" else iter([body])
        carrying = await line.begin(one, *put(source))
        await until(lambda: line.protocol.write_paused)
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await carrying
        await line.protocol.wait_closed()

        assert 413 == one.head.status
        assert ["done"] == line.owner.events


async def test_an_early_answer_whose_body_takes_its_time():
    """The head is enough to stop sending."""
    stopped = asyncio.Event()

    async def source():
        try:
            while True:
                yield bytes(PIECE)
        finally:
            stopped.set()

    async with connected() as line:
        one = exchange()
        carrying = await line.begin(one, *put(source()))
        await until(lambda: line.protocol.write_paused)
        await line.say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\n")
        await stopped.wait()
        await line.say(b"large")
        await carrying

        assert b"large" == one.take_content()


async def test_a_small_body_that_was_not_taken():
    """A request that is still in our buffers when its answer ends is not followed by another."""
    body = bytes(PIECE)
    async with connected() as line:
        line.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one = exchange()
        carrying = await line.begin(one, *put(body))
        for _ in range(5):
            await asyncio.sleep(0)
        assert 0 < line.protocol.transport.get_write_buffer_size()
        await line.say(HELLO)
        await carrying
        await line.protocol.wait_closed()

        assert ["done"] == line.owner.events


async def test_what_is_called_is_called_in_a_turn_of_its_own():
    """It may be the garbage collector who asks, in the midst of what moves connections about."""
    called = []
    async with connected() as line:
        line.protocol.call(lambda: called.append(1))
        assert [] == called
        await until(lambda: called)
        assert [1] == called


# ---- time


async def late(line, one, head=HEAD, body=b""):
    """The error of an exchange that takes too long; no timer is left."""
    with pytest.raises(TimeoutException) as caught:
        await line.protocol.carry(one, head, body)
    assert ["done"] == line.owner.events
    await line.hear_the_end()
    assert NEVER == line.protocol._deadlines.next
    return caught.value


async def test_late_after_a_slow_body():
    """`read` counts from the end of the request, also where sending took longer than it."""

    async def source():
        yield b"a"
        await asyncio.sleep(4 * GRANULARITY)
        yield b"b"

    async with connected() as line:
        error = await late(line, exchange(read=2 * GRANULARITY), *put(source()))

    assert ReadTimeout is type(error)
    assert "head" == error.phase


async def test_late_after_a_body_that_took_its_time_to_drain():
    """`write` is over then, and `read` begins."""
    size = 32 * PIECE
    async with connected() as line:
        one = exchange(read=SOON, write=100.0)
        carrying = await line.begin(one, *put(bytes(size)))
        await until(lambda: line.protocol.write_paused)
        await line.hear(size)
        with pytest.raises(ReadTimeout):
            await carrying


@pytest.fixture
def clock(monkeypatch):
    """The time, as the protocol sees it, far ahead of ours; `check()` is called by hand."""
    clock = [T]
    monkeypatch.setattr(protocol, "monotonic", lambda: clock[0])
    return clock


async def test_a_peer_that_takes_nothing_is_late_when_write_says_so(clock):
    """And no later: what is in our buffers when we begin to wait is no progress."""
    async with connected() as line:
        line.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        carrying = await line.begin(exchange(write=10.0), *put(bytes(32 * PIECE)))
        await until(lambda: line.protocol.write_paused)
        looks = [T + look * 10 / LOOKS for look in range(1, LOOKS + 2)]
        dues = [line.protocol.check(look, 0.0) for look in looks]
        assert NEVER not in dues[: LOOKS - 1]
        assert NEVER in dues, "late after one look more at the most: the first may find progress"
        with pytest.raises(WriteTimeout, match=r"no byte taken for 10\.0 s"):
            await carrying


@pytest.mark.parametrize("size", [100, 3 * DIRECT])
async def test_each_byte_moves_the_deadline(clock, size):
    """`read` is the longest silence, however the body is received."""
    async with connected() as line:
        carrying = await line.begin(one := exchange(read=10.0))
        assert T + 10 == line.protocol.due
        await line.say(OK + b"Content-Length: %d\r\n\r\n" % size)
        await until(lambda: one.head is not None)
        clock[0] += 9.0
        await line.say(bytes(size // 2))
        await until(lambda: one.size == size // 2)

        assert T + 19 == line.protocol.check(T + 18, 0.0)
        assert NEVER == line.protocol.check(T + 19, 0.0)
        with pytest.raises(ReadTimeout, match=r"no byte for 10\.0 s"):
            await carrying


async def test_bytes_that_nobody_waits_for_start_no_clock(clock):
    async with connected() as line:
        one = await streaming(line, read=10.0)
        await line.say(b"abc")
        await until(lambda: one.size)

        assert NEVER == line.protocol.check(T + 1000, 0.0)
        assert one.error is None


async def test_a_peer_that_takes_some(clock):
    """Progress, however slow, is not late; nor is a peer that has taken all that we gave it."""
    more = asyncio.Event()

    async def source():
        yield bytes(PIECE // 2)
        await more.wait()

    async with connected() as line:
        line.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        head, body = put(source())
        carrying = await line.begin(exchange(write=10.0), head, body)
        unsent = line.protocol.transport.get_write_buffer_size
        await until(unsent)
        before = unsent()
        assert T + 10 / LOOKS == line.protocol.check(T, 0.0)
        heard = 0
        while unsent() == before:
            heard += len(await line.loop.sock_recv(line.peer, 1024))
            await asyncio.sleep(0)
        assert T + 9 + 10 / LOOKS == line.protocol.check(T + 9, 0.0)
        assert T + 19 == line.protocol.check(T + 18.9, 0.0)
        await line.hear(len(chunk(bytes(PIECE // 2))) - heard)
        await until(lambda: not unsent())

        assert T + 18.9 + 10 / LOOKS == line.protocol.check(T + 18.9, 0.0)
        assert T + 1000 + 10 / LOOKS == line.protocol.check(T + 1000, 0.0)
        more.set()  # for it is still under way
        await line.say(HELLO)
        await carrying


@pytest.mark.parametrize("streams", [False, True])
async def test_silent(streams):
    async with connected() as line:
        error = await late(line, exchange(StreamedBody() if streams else None, read=SOON))

    assert ReadTimeout is type(error)
    assert "head" == error.phase
    assert "waiting for the response head from http://x (, a new connection)" in str(error)


async def test_silent_in_a_body_that_is_received_in_place():
    async with connected() as line:
        one = exchange(read=SOON)
        carrying = await line.begin(one)
        await line.say(OK + b"Content-Length: 1000000\r\n\r\n")
        await line.say(bytes(500_000))
        with pytest.raises(ReadTimeout) as caught:
            await carrying

        assert "body" == caught.value.phase


async def test_a_peer_that_takes_nothing():
    async with connected() as line:
        one = exchange(write=SOON, read=100.0)
        error = await late(line, one, *put(bytes(32 * PIECE)))

    assert WriteTimeout is type(error)
    assert "write" == error.phase


async def test_total_is_of_everything():
    async with connected() as line:
        error = await late(line, exchange(total_due=monotonic() + SOON))
    assert TotalTimeout is type(error)

    async def endless():
        while True:
            yield b"x"
            await asyncio.sleep(GRANULARITY / 2)

    async with connected() as line:
        error = await late(line, exchange(total_due=monotonic() + SOON), *put(endless()))
    assert TotalTimeout is type(error)
    assert "write" == error.phase


async def test_a_reader_that_takes_its_time():
    """A stream that nobody reads is not silent, be it at its start or in the middle."""
    async with connected() as line:
        one = await streaming(line, read=SOON)
        await asyncio.sleep(2 * SOON)
        await line.say(b"abc")
        assert b"abc" == await one.read()
        await asyncio.sleep(2 * SOON)
        await line.say(b"def")
        assert b"def" == await one.read()
        reading = asyncio.ensure_future(one.read())
        with pytest.raises(ReadTimeout, match="while reading the response body"):
            await reading


async def test_a_reader_that_was_cancelled():
    """What comes while nobody waits starts no clock."""
    async with connected() as line:
        one = await streaming(line, read=SOON)
        reading = asyncio.ensure_future(one.read())
        await asyncio.sleep(0)
        reading.cancel()
        await line.say(b"abc")
        await asyncio.sleep(2 * SOON)

        assert b"abc" == await one.read()


async def test_the_next_exchange_has_its_own_clock():
    """The reader of a stream wakes up when its connection carries another's request already."""
    async with connected() as line:
        one, two = exchange(StreamedBody(), read=100.0), exchange(read=SOON)
        carrying = await line.begin(one)
        await line.say(OK + b"Content-Length: 3\r\n\r\n")
        await carrying
        line.owner.give_back = lambda *_: line.next(two)  # as to a request that stands in line
        reading = asyncio.ensure_future(one.read())
        await asyncio.sleep(0)
        await line.say(b"abc")
        assert b"abc" == await reading

        line.owner.give_back = Owner().give_back
        with pytest.raises(ReadTimeout):
            await line.following


async def test_a_source_that_takes_its_time():
    """It is we who are slow: neither `read` nor `write` has to do with it."""

    async def source():
        yield b"a"
        await asyncio.sleep(4 * GRANULARITY)
        yield b"b"

    async with connected() as line:
        one = exchange(read=1.0, write=GRANULARITY)
        carrying = await line.begin(one, *put(source()))
        await line.hear(len(chunk(b"a") + chunk(b"b") + chunk(b"")))
        await line.say(HELLO)
        await carrying

        assert b"hello" == one.take_content()
