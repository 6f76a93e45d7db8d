"""StreamClient, as the seed has it, and what streaming promises: nothing kept, nothing short."""

import asyncio
import gc
import gzip

import pytest
from servers.scripted import Connection, reply, scripted, serving

import fastreq
from fastreq import ByteStream, Client, StreamClient, StreamConsumed

BODY = bytes(range(256)) * 4096  # 1 MiB
CHUNKED = b"".join(
    b"%x\r\n%b\r\n" % (len(piece), piece)
    for piece in (*(BODY[n : n + 70_000] for n in range(0, len(BODY), 70_000)), b"")
)
FRAMINGS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY,
}


async def endless(conn: Connection) -> None:
    """Begin a body that never ends, and wait until the client is gone."""
    await conn.read_request()
    await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nbegun")
    conn.server.ended = await conn.wait_closed()


async def ended(server) -> None:
    """The client has closed its connection."""
    while not hasattr(server, "ended"):
        await asyncio.sleep(0)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_body_comes_whole(certs, framing, tls):
    async with serving(FRAMINGS[framing], tls=certs.good if tls else None) as server:
        async with StreamClient(verify=certs.ca_file) as client:
            for _ in range(2):
                pieces = [piece async for piece in client.get(server.url())]
                assert BODY == b"".join(pieces)
                assert all(type(piece) is bytes and piece for piece in pieces)

        assert (2 if framing == "close" else 1) == server.connections


async def test_decoded():
    packed = gzip.compress(BODY)
    async with serving(reply(packed, "Content-Encoding: gzip")) as server, StreamClient() as client:
        pieces = [piece async for piece in client.get(server.url())]

    assert BODY == b"".join(pieces)
    assert max(map(len, pieces)) <= 64 * 1024


async def test_entered():
    """For those who want the head, too."""
    async with serving(reply(b"hello", "A: b")) as server, StreamClient() as client:
        async with client.get(server.url()) as response:
            assert (200, "b") == (response.status, response.headers["a"])
            assert b"hello" == b"".join([piece async for piece in response.iter_bytes()])
        assert 1 == client.stats().total.idle


async def test_nothing_is_sent_before_it_is_asked_for():
    async with serving(reply(b"hello")) as server, StreamClient() as client:
        stream = client.get(server.url())
        assert isinstance(stream, ByteStream)
        assert f"<ByteStream of <Request GET {server.url()}>>" == repr(stream)
        assert [] == server.requests
        assert [b"hello"] == [piece async for piece in stream]
        assert 1 == len(server.requests)


@pytest.mark.parametrize("first", ["read", "enter", "fail", "cancel"])
@pytest.mark.parametrize("second", ["read", "enter"])
async def test_it_is_one_response_to_one_request(first, second):
    """Whoever asks again is told so, whatever came of the first time."""

    async def handler(conn):
        await conn.read_request()
        if first == "cancel":
            await conn.wait_closed()
        elif first != "fail":
            await conn.send(reply(b"hello"))

    async def ask(how):
        if how == "enter":
            async with stream as response:
                await response.aread()
        else:
            async for _ in stream:
                pass

    async with scripted(handler) as server, StreamClient() as client:
        stream = client.get(server.url())
        asking = asyncio.create_task(ask(first))
        if first == "cancel":
            while not server.requests:
                await asyncio.sleep(0)
            asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled() or (first == "fail") == (asking.exception() is not None)
        with pytest.raises(StreamConsumed, match="asked for already") as caught:
            await ask(second)

        assert server.url() == str(caught.value.request.url)
        assert 1 == len(server.requests)


def test_wrong_input_is_refused_at_once():
    with pytest.raises(fastreq.InvalidURL):
        StreamClient().get("http://a b/")
    with pytest.raises(TypeError, match="fastreq spells it follow_redirects="):
        StreamClient().get("http://x/", allow_redirects=True)


async def test_the_other_methods_are_a_clients():
    async with serving(reply(b"hello")) as server, StreamClient() as client:
        assert b"hello" == (await client.post(server.url(), content=b"x")).body


# ---- leaving early


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_loop_that_is_left(certs, tls):
    """The connection is closed at once: nothing waits for a garbage collection."""
    async with (
        scripted(endless, tls=certs.good if tls else None) as server,
        StreamClient(verify=certs.ca_file) as client,
    ):
        gc.disable()
        try:
            async for piece in client.get(server.url()):
                assert b"begun" == piece
                break
            await ended(server)
        finally:
            gc.enable()
        assert {} == client.stats()


async def test_a_block_that_is_left():
    """Its end is the end of the connection."""
    async with scripted(endless) as server, StreamClient() as client:
        async with client.get(server.url()):
            assert 1 == client.stats().total.leased
        assert {} == client.stats()
        await ended(server)


async def test_a_block_that_raises():
    async with scripted(endless) as server, Client() as client:
        with pytest.raises(KeyError):
            async with client.stream("GET", server.url()):
                raise KeyError
        assert {} == client.stats()


async def test_a_response_that_is_forgotten():
    """Dropping it drops its connection."""
    async with scripted(endless) as server, Client() as client:
        response = await client.send(client.build_request("GET", server.url()), stream=True)
        assert 1 == client.stats().total.leased
        del response
        await ended(server)
        assert {} == client.stats()


async def test_a_task_that_is_cancelled():
    async with scripted(endless) as server, StreamClient() as client:
        begun = asyncio.Event()

        async def reading() -> None:
            async for _ in client.get(server.url()):
                begun.set()

        task = asyncio.create_task(reading())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await ended(server)
        assert {} == client.stats()


# ---- never short


async def test_a_cancelled_read_may_be_repeated():
    """A timeout around one piece loses nothing of the body."""
    go_on = asyncio.Event()

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await go_on.wait()
        await conn.send(b"def")

    async with (
        scripted(handler) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        pieces = response.pieces()
        assert b"abc" == await anext(pieces)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(pieces)
        go_on.set()
        assert [b"def"] == [piece async for piece in pieces]


async def test_what_the_source_of_an_upload_raises_says_where():
    """Also where it is met by who reads the answer."""
    go_on = asyncio.Event()

    async def handler(conn: Connection) -> None:
        await conn.read_head()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await conn.wait_closed()

    async def source():
        yield b"some of it"
        await go_on.wait()
        raise KeyError("mine")

    async with (
        scripted(handler) as server,
        Client() as client,
        client.stream("POST", server.url(), content=source()) as response,
    ):
        pieces = response.pieces()
        assert b"half" == await anext(pieces)
        go_on.set()
        with pytest.raises(KeyError, match="mine") as caught:
            await anext(pieces)
        assert "source" in [entry.name for entry in caught.traceback]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"Content-Length: 9\r\n\r\nhalf", fastreq.IncompleteBody),
        (b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", fastreq.IncompleteBody),
        (b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nx\r\n", fastreq.RemoteProtocolError),
    ],
)
async def test_an_error_stays(sent, error):
    """Whoever asks again gets it again, and no end that looks like one."""

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\n" + sent)

    async with (
        scripted(handler) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        pieces = response.pieces()
        with pytest.raises(error):
            while True:
                await anext(pieces)
        for _ in range(50):
            with pytest.raises(error) as caught:
                await anext(pieces)
        assert len(caught.traceback) < 10, "it does not grow with each that asks"
        with pytest.raises(error):
            async for _ in response.iter_bytes():
                pass


async def test_what_cannot_be_decoded_stays_so():
    """And its connection goes at once: nobody will want the rest."""

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n")
        await conn.send(b"Content-Length: 99999\r\n\r\nno gzip at all")
        conn.server.ended = await conn.wait_closed()

    async with (
        scripted(handler) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        pieces = response.pieces()
        for _ in range(2):
            with pytest.raises(fastreq.DecodingError):
                await anext(pieces)
        await ended(server)
        assert {} == client.stats()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_body_that_was_closed_has_no_end(begun):
    """Neither before its first piece nor in the middle."""
    async with (
        serving(FRAMINGS["length"]) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        pieces = response.pieces()
        if begun:
            await anext(pieces)
        await response.aclose()
        with pytest.raises(StreamConsumed, match="dropped before its end"):
            await anext(pieces)
        with pytest.raises(StreamConsumed):
            await response.aread()


async def test_closing_what_was_read_changes_nothing():
    async with serving(reply(b"hello")) as server, Client() as client:
        async with client.stream("GET", server.url()) as response:
            pieces = response.pieces()
            assert [b"hello"] == [piece async for piece in pieces]
            await response.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(pieces)
        assert 1 == client.stats().total.idle


async def test_decoded_and_as_sent_do_not_mix():
    async with (
        serving(reply(b"hello")) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        assert [b"hello"] == [piece async for piece in response.iter_raw()]
        with pytest.raises(StreamConsumed):
            await anext(response.pieces())


# ---- bounded


async def test_a_reader_that_is_behind_holds_up_the_server():
    """Backpressure, end to end: what is held is bounded while nobody reads."""
    sent = 0

    async def flooding(conn: Connection) -> None:
        nonlocal sent
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * len(BODY)))
        for _ in range(64):
            await conn.send(BODY)
            sent += 1

    async with (
        scripted(flooding) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        before = -1
        while sent != before:  # until the server is stuck
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert sent < 32

        size = 0
        async for piece in response.iter_bytes():
            size += len(piece)
    assert 64 * len(BODY) == size
