"""Each timeout: its class, its phase, and a text that says where, how long and what moves it."""

import asyncio
import pickle
import re
import socket
import time

import pytest
from servers.scripted import Connection, reply, scripted, serving

import fastreq
from fastreq import Client, Limits, Timeout

SOON = 0.05  # seconds


async def silent(conn: Connection) -> None:
    """Take the request, and say nothing."""
    await conn.read_request()
    await conn.wait_closed()


async def fails(kind: type[fastreq.FastreqError], awaitable) -> fastreq.FastreqError:
    """The error of an awaitable, which must be of just this kind, and survive a pickle."""
    with pytest.raises(kind) as caught:
        await awaitable
    error = caught.value
    twin = pickle.loads(pickle.dumps(error))

    assert kind is type(error) is type(twin)
    assert str(error) == str(twin)
    assert repr(error.request) == repr(twin.request)
    assert isinstance(error, TimeoutError)
    assert 1 == error.attempts
    assert error.elapsed > 0
    return error


@pytest.mark.parametrize("tls", [False, True])
async def test_read_before_the_head(certs, tls):
    """No byte of an answer: the phase is "head"."""
    async with scripted(silent, tls=certs.good if tls else None) as server:
        async with Client(timeout=Timeout(read=SOON), verify=certs.ca_file) as client:
            error = await fails(fastreq.ReadTimeout, client.get(server.url()))

    assert "head" == error.phase
    assert re.search(
        rf"no byte for 0\.\d s while waiting for the response head from https?://127.0.0.1:"
        rf"{server.port} .*a new connection.*Timeout\(read=\.\.\.\)",
        str(error),
    )


async def test_read_within_the_body():
    """A body that stalls: the phase is "body", and a reused connection is called so."""

    async def stalling(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(reply(b"one"))
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        await conn.wait_closed()

    async with scripted(stalling) as server:
        async with Client(timeout=Timeout(read=SOON)) as client:
            await client.get(server.url())
            error = await fails(fastreq.ReadTimeout, client.get(server.url()))

    assert "body" == error.phase
    assert "a reused connection" in str(error)


async def test_a_byte_now_and_then_is_no_silence():
    """`read` is the longest silence, not the time for all of it."""

    async def dripping(conn: Connection) -> None:
        await conn.read_request()
        for byte in reply(b"hello"):
            await conn.send(bytes([byte]))
            await asyncio.sleep(0.01)

    async with scripted(dripping) as server:
        async with Client(timeout=Timeout(read=0.3)) as client:
            assert b"hello" == (await client.get(server.url())).body


async def test_total_ends_a_drip():
    """`total` is the time for all of it, whatever comes meanwhile."""

    async def endless(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            await conn.send(b"x")
            await asyncio.sleep(0.01)

    async with scripted(endless) as server:
        async with Client(timeout=Timeout(total=0.2)) as client:
            error = await fails(fastreq.TotalTimeout, client.get(server.url()))

    assert "body" == error.phase
    assert re.search(r"not done after 0\.\d s.*Timeout\(total=\.\.\.\)", str(error))


async def test_total_covers_redirects():
    """The hops share one deadline."""

    async def circling(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            await asyncio.sleep(0.03)
            hop = int(request.split()[1][1:]) + 1
            await conn.send(reply(b"", f"Location: /{hop}", status="302 Found"))

    async with scripted(circling) as server:
        async with Client(timeout=0.2, max_redirects=1000) as client:
            await fails(fastreq.TotalTimeout, client.get(server.url("/0")))


async def test_write():
    """A peer that takes no byte: the phase is "write"."""

    async def deaf(conn: Connection) -> None:
        conn.writer.transport.pause_reading()
        await release.wait()

    release = asyncio.Event()
    async with scripted(deaf) as server:
        async with Client(timeout=Timeout(write=SOON)) as client:
            body = bytes(64 * 2**20)
            error = await fails(fastreq.WriteTimeout, client.put(server.url(), content=body))
        release.set()

    assert "write" == error.phase
    assert "Timeout(write=...)" in str(error)


async def test_connect():
    """A peer that answers no SYN: the phase is "connect"."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = []
        for _ in range(4):  # its queue is full after these
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        try:
            async with Client(timeout=Timeout(connect=SOON)) as client:
                url = f"http://127.0.0.1:{port}/"
                error = await fails(fastreq.ConnectTimeout, client.get(url))
        finally:
            for filler in fillers:
                filler.close()

    assert "connect" == error.phase
    assert f"no connection to http://127.0.0.1:{port}" in str(error)
    assert "Timeout(connect=...)" in str(error)


async def test_connect_covers_tls():
    """A peer that accepts and never shakes hands: the phase is "tls"."""

    async def mute(conn: Connection) -> None:
        await conn.wait_closed()

    async with scripted(mute) as server:
        async with Client(timeout=Timeout(connect=0.2)) as client:
            url = server.url().replace("http:", "https:")
            error = await fails(fastreq.ConnectTimeout, client.get(url))

    assert "tls" == error.phase


async def test_pool():
    """Waiting in line is an error only where it was limited."""
    release = asyncio.Event()

    async def slow(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await release.wait()
            await conn.send(reply(b"done"))

    limits = Limits(max_per_host=1)
    async with scripted(slow) as server, Client(limits=limits) as client:
        first = asyncio.create_task(client.get(server.url()))
        while not server.requests:
            await asyncio.sleep(0)
        impatient = client.get(server.url(), timeout=Timeout(pool=SOON))
        error = await fails(fastreq.PoolTimeout, impatient)
        patient = asyncio.create_task(client.get(server.url()))
        release.set()

        assert [b"done", b"done"] == [r.body for r in await asyncio.gather(first, patient)]
    assert "pool" == error.phase
    assert "Timeout(pool=...)" in str(error)


async def test_the_wait_in_line_is_not_in_total():
    """A request that waits longer than its `total` still has all of it."""
    release = asyncio.Event()

    async def slow(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await release.wait()
            await conn.send(reply(b"done"))

    async with scripted(slow) as server, Client(limits=Limits(max_per_host=1)) as client:
        first = asyncio.create_task(client.get(server.url()))
        while not server.requests:
            await asyncio.sleep(0)
        second = asyncio.create_task(client.get(server.url(), timeout=0.5))
        await asyncio.sleep(0.7)
        release.set()
        await first
        response = await second

    assert b"done" == response.body
    assert response.timings.queue > 0.5


async def test_a_blocked_loop_is_named():
    """Where the loop itself stood still, the text says so."""
    async with scripted(silent) as server:
        async with Client(timeout=Timeout(read=0.3)) as client:
            asyncio.get_running_loop().call_later(0.1, time.sleep, 0.8)
            error = await fails(fastreq.ReadTimeout, client.get(server.url()))

    assert re.search(r"the event loop was blocked for \d\.\d s", str(error))


async def test_what_came_while_the_loop_was_blocked_counts():
    """An answer that is in the socket is read before anybody is called late."""

    async def quick(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(reply(b"there"))
        time.sleep(0.8)

    async with scripted(quick) as server:
        async with Client(timeout=Timeout(read=0.3)) as client:
            assert b"there" == (await client.get(server.url())).body


async def test_a_stream_has_no_total_of_its_own():
    """The default `total` is not for streams; one that was given is."""

    async def dripping(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            await conn.send(b"x")
            await asyncio.sleep(0.01)

    async with scripted(dripping) as server, Client() as client:
        assert Timeout().total_of_stream is None
        async with client.stream("GET", server.url(), timeout=0.2) as response:
            with pytest.raises(fastreq.TotalTimeout):
                await response.aread()


async def test_a_slow_reader_is_not_late():
    """Silence counts only while somebody waits for the peer."""
    async with serving(reply(b"x" * 10)) as server:
        async with Client(timeout=Timeout(read=SOON)) as client:
            async with client.stream("GET", server.url()) as response:
                await asyncio.sleep(4 * SOON)

                assert b"x" * 10 == await response.aread()


async def test_an_idle_connection_has_no_read_timeout():
    """Idle for longer than `read`, it is used again (1c: timer armed on a pooled connection)."""
    async with serving(reply(b"hello")) as server:
        async with Client(timeout=Timeout(read=SOON)) as client:
            await client.get(server.url())
            await asyncio.sleep(4 * SOON)
            await client.get(server.url())

        assert 1 == server.connections


async def test_idle_connections_expire():
    """After `keepalive_expiry` seconds a connection is closed, without anybody asking."""
    closed = asyncio.Event()

    async def watching(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(reply(b"hello"))
        await conn.wait_closed()
        closed.set()

    async with scripted(watching) as server:
        async with Client(limits=Limits(keepalive_expiry=SOON)) as client:
            await client.get(server.url())
            await closed.wait()

            assert 0 == client.stats().total.open


async def test_the_servers_hint_less_two_seconds():
    """`Keep-Alive: timeout=2` leaves nothing to be idle for."""
    async with serving(reply(b"hello", "Keep-Alive: timeout=2")) as server:
        async with Client() as client:
            await client.get(server.url())

            assert 0 == client.stats().total.idle


async def test_no_limits_at_all():
    """`timeout=None` waits for ever: no deadline is set anywhere."""
    async with scripted(silent) as server, Client(timeout=None) as client:
        task = asyncio.create_task(client.get(server.url()))
        while not server.requests:
            await asyncio.sleep(0)

        assert float("inf") == client._engine.deadlines.next
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
