"""`max_in_flight`: the bytes of all bodies that are being buffered stay under it."""

import asyncio
import gzip

import pytest
from servers.scripted import reply, scripted

from fastreq import Client, Limits, ReadError, Timeout
from fastreq.ceiling import Ceiling
from fastreq.content.decode import pieces
from fastreq.http1 import body
from fastreq.protocol import RECEIVE_SIZE

BODY = bytes(range(256)) * 4096  # 1 MiB


class Reading:
    """A connection without a wire."""

    def __init__(self):
        self.is_held = False

    def hold(self):
        self.is_held = True

    def go_on(self):
        assert self.is_held
        self.is_held = False


def held(readings):
    return [reading.is_held for reading in readings]


# ---- without a wire


def test_under_it_nobody_is_held():
    ceiling, readings = Ceiling(100), [Reading(), Reading()]
    for reading in readings:
        ceiling.grew(reading, 50)
    assert [False, False] == held(readings)


def test_over_it_the_oldest_goes_on():
    """Else nobody would ever get done."""
    ceiling, readings = Ceiling(100), [Reading(), Reading(), Reading()]
    a, b, _ = readings
    for reading in readings:
        ceiling.grew(reading, 40)
    assert [False, False, True] == held(readings)
    ceiling.grew(b, 60)
    ceiling.grew(a, 500)
    assert [False, True, True] == held(readings)

    ceiling.ended(a)
    assert [False, False, False] == held(readings)


def test_the_next_oldest_goes_on_even_over_it():
    ceiling, readings = Ceiling(100), [Reading(), Reading(), Reading()]
    a, b, c = readings
    ceiling.grew(a, 90)
    ceiling.grew(b, 90)
    ceiling.grew(c, 90)
    assert [False, True, True] == held(readings)
    ceiling.ended(a)
    assert [False, False, True] == held(readings)
    ceiling.ended(b)
    assert [False, False, False] == held(readings)
    ceiling.ended(c)
    assert "<Ceiling 0 of 100 bytes, 0 held>" == repr(ceiling)


def test_what_never_began_may_end():
    """Small bodies are whole with their head, and failed ones may never have begun."""
    ceiling = Ceiling(100)
    ceiling.ended(Reading())
    assert "<Ceiling 0 of 100 bytes, 0 held>" == repr(ceiling)


def test_one_that_is_held_may_fail():
    ceiling, readings = Ceiling(100), [Reading(), Reading(), Reading()]
    a, b, c = readings
    ceiling.grew(a, 90)
    ceiling.grew(b, 90)
    ceiling.grew(c, 5)
    ceiling.ended(b)
    assert [False, True, False] == held(readings)


# ---- over the wire


class Watched(Ceiling):
    """Remembers the most that there ever was, and how often somebody was held."""

    most = holds = 0

    def grew(self, connection, size):
        before = len(self._held)
        super().grew(connection, size)
        self.most = max(self.most, self._total)
        self.holds += len(self._held) > before


@pytest.fixture
def watched(monkeypatch):
    made = []

    def make(limit):
        made.append(Watched(limit))
        return made[-1]

    monkeypatch.setattr("fastreq.engine.Ceiling", make)
    return made


async def serve_body(conn):
    chunked = b"%x\r\n%b\r\n" % (len(BODY), BODY) + b"0\r\n\r\n"
    while True:
        head = await conn.read_request()
        if b"/chunked" in head:
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            await conn.send(head + chunked, step=50_000)
        else:
            await conn.send(reply(BODY), step=50_000)


@pytest.mark.parametrize("path", ["/length", "/chunked"])
@pytest.mark.parametrize("secure", [False, True])
async def test_the_peak(path, secure, certs, watched):
    """Under the limit, but for one read of each connection and the oldest's body; all get done."""
    limit, connections = 2 * 2**20, 12
    tls = certs.good if secure else None
    async with (
        scripted(serve_body, tls=tls) as server,
        Client(
            max_in_flight=limit,
            limits=Limits(max_per_host=connections),
            verify=certs.ca_file if secure else True,
        ) as client,
    ):
        host = "localhost" if secure else "127.0.0.1"
        urls = [server.url(path, host=host)] * 40
        done = 0
        async for result in client.map(urls, concurrency=20):
            assert result.error is None
            assert BODY == result.response.body
            done += 1
    assert 40 == done
    (ceiling,) = watched
    assert ceiling.holds
    assert ceiling.most <= limit + connections * RECEIVE_SIZE + len(BODY)
    assert "<Ceiling 0 of 2097152 bytes, 0 held>" == repr(ceiling)


async def test_less_than_one_body(watched):
    """Bodies come one after the other, and all of them come."""
    async with scripted(serve_body) as server, Client(max_in_flight=1) as client:
        responses = await asyncio.gather(*(client.get(server.url()) for _ in range(8)))
    assert {BODY} == {response.body for response in responses}
    assert watched[0].holds


@pytest.mark.parametrize("end", ["cancel", "reset", "silence"])
async def test_one_that_ends_badly_makes_room(end, watched):
    """The oldest fails in the midst of its body, and the held ones go on."""
    going, breaks = asyncio.Event(), asyncio.Event()

    async def handler(conn):
        head = await conn.read_request()
        if b"/stuck" in head:
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + BODY[:200_000])
            going.set()
            if end == "reset":
                await breaks.wait()
                await conn.reset()
            await conn.wait_closed()
        else:
            await conn.send(reply(BODY))
            await conn.wait_closed()

    async with scripted(handler) as server, Client(max_in_flight=100_000, timeout=20) as client:
        stuck = asyncio.ensure_future(
            client.get(server.url("/stuck"), timeout=1 if end == "silence" else 20)
        )
        await going.wait()
        await asyncio.sleep(0.05)
        others = [asyncio.ensure_future(client.get(server.url())) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert not any(other.done() for other in others)
        breaks.set()
        if end == "cancel":
            stuck.cancel()
        with pytest.raises((asyncio.CancelledError, ReadError, TimeoutError)):
            await stuck
        assert {BODY} == {(await other).body for other in others}


async def test_the_wait_is_not_the_servers_silence(watched):
    """Who is held is not timed out for it."""

    async def handler(conn):
        head = await conn.read_request()
        if b"/slow" in head:
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + BODY[:200_000])
            for start in range(200_000, 300_000, 10_000):
                await asyncio.sleep(0.1)
                await conn.send(BODY[start : start + 10_000])
        else:
            await conn.send(reply(BODY))
        await conn.wait_closed()

    async with (
        scripted(handler) as server,
        Client(max_in_flight=100_000, timeout=Timeout(read=0.4)) as client,
    ):
        slow = asyncio.ensure_future(client.get(server.url("/slow")))
        await asyncio.sleep(0.05)
        held = asyncio.ensure_future(client.get(server.url()))
        assert BODY[:300_000] == (await slow).body
        assert BODY == (await held).body


async def test_who_waits_for_its_head_holds_up_nobody():
    """A long poll has begun first, and has nothing of a body yet."""
    asked = asyncio.Event()
    done = asyncio.Event()

    async def handler(conn):
        head = await conn.read_request()
        if b"/poll" in head:
            await conn.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            asked.set()
            await done.wait()
        await conn.send(reply(BODY))
        await conn.wait_closed()

    async with scripted(handler) as server, Client(max_in_flight=100_000) as client:
        poll = asyncio.ensure_future(client.get(server.url("/poll")))
        await asked.wait()
        assert BODY == (await client.get(server.url())).body
        done.set()
        assert BODY == (await poll).body


async def test_no_more_is_set_aside_than_one_read_brings(watched, monkeypatch):
    """However long a body is announced to be; without a ceiling it is all of that."""
    sizes = []

    class Segment(body._Segment):
        def __init__(self, size):
            sizes.append(size)
            super().__init__(size)

    monkeypatch.setattr(body, "_Segment", Segment)
    for limit in (10_000_000, None):
        async with scripted(serve_body) as server, Client(max_in_flight=limit) as client:
            assert BODY == (await client.get(server.url("/length"))).body
    assert [RECEIVE_SIZE] * 4 + [len(BODY)] == sizes


async def test_bodies_are_decoded_one_after_the_other(monkeypatch):
    """Each of them may become a thousand times as long as it came."""
    under_way, most = 0, 0
    packed = reply(gzip.compress(bytes(50 * 2**20), 1), "Content-Encoding: gzip")

    def watched(content, codings):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        yield from pieces(content, codings)
        under_way -= 1

    monkeypatch.setattr("fastreq.call.pieces", watched)
    for module in ("call", "exchange"):  # others have their turn after each step
        monkeypatch.setattr(f"fastreq.{module}.BREATH_SECONDS", 0.0)

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(packed)

    for limit in (1_000_000, None):
        async with scripted(handler) as server, Client(max_in_flight=limit) as client:
            await asyncio.gather(*(client.get(server.url()) for _ in range(4)))
        assert (most > 1) is (limit is None)


async def test_a_held_one_may_be_cancelled(watched):
    async with scripted(serve_body) as server, Client(max_in_flight=1) as client:
        tasks = [asyncio.ensure_future(client.get(server.url())) for _ in range(6)]
        await asyncio.sleep(0.01)
        for task in tasks[1:4]:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {BODY} == {item.body for item in (ended[0], *ended[4:])}


@pytest.mark.parametrize("value", [0, -1, 1.5, "1"])
def test_values(value):
    with pytest.raises(ValueError, match="max_in_flight"):
        Client(max_in_flight=value)
