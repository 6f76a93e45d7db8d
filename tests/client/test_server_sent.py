"""Server-sent events: read as they come, and gone on with (issue 3, 10; WHATWG HTML 9.2)."""

import asyncio
import contextlib
import gzip
import itertools

import pytest
from servers.proxies import Relay
from servers.received import parse, received
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import BlockedAddress, Client, DecodingError, HTTPStatusError, RemoteProtocolError
from fastreq.testing import MockTransport

STREAM = "Content-Type: text/event-stream"
TEXT = (
    ": a comment\n"
    "data: one\n\n"
    "event: add\r\ndata: two\r\ndata:  lines\r\nid: 7\r\n\r\n"
    "data\rid\r\r"
    'retry: 50\ndata: {"a": "\u2028ü"}\n\n'
    "event: nothing\n\n"
    "data: not complete"
)
EVENTS = [
    ("message", "one", "", None),
    ("add", "two\n lines", "7", None),
    ("message", "", "", None),
    ("message", '{"a": "\u2028ü"}', "", 50),
]


@pytest.fixture
def waits(monkeypatch):
    """What was slept for between two connections, which takes no time here."""
    slept, sleep = [], asyncio.sleep

    async def at_once(seconds, *result):
        if seconds > 0:
            slept.append(seconds)
        await sleep(0, *result)

    monkeypatch.setattr("fastreq.eventsource.asyncio.sleep", at_once)
    monkeypatch.setattr("fastreq.eventsource.random.uniform", lambda low, high: high)
    return slept


def turns(*messages):
    """A handler that gives each connection the next message, then closes it."""
    remaining = iter(messages)

    async def handler(conn):
        await conn.read_request()
        message = next(remaining, None)
        await conn.send(reply(status="204 No Content").replace(b"Content-Length: 0\r\n", b"")
                        if message is None else message)  # fmt: skip

    return handler


def until_close(text, *fields):
    lines = ["HTTP/1.1 200 OK", STREAM, *fields, "Connection: close", "", text]
    return "\r\n".join(lines).encode()


def cut(text):
    """The same, and the connection breaks before it is over."""
    return reply(text.encode(), STREAM).replace(b"Content-Length: ", b"Content-Length: 9")


async def taken(events, count=None):
    """So many events, or all; leaving the loop closes the stream."""
    got = []
    async with contextlib.aclosing(events):
        async for event in events:
            got.append(event)
            if len(got) == count:
                break
    return got


# ---- one stream


@pytest.mark.parametrize("step", [1, 2, 5, None])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
async def test_iter_events_wherever_they_are_cut(step, mark):
    """Any newline, any cut; always UTF-8, whatever is said."""
    message = reply((mark + TEXT).encode(), f"{STREAM}; charset=latin-1")

    async def handler(conn):
        await conn.read_request()
        await conn.send(message, step=step)

    async with scripted(handler) as server, Client() as client:
        async with client.stream("GET", server.url("/")) as response:
            events = [event async for event in response.iter_events()]

        assert EVENTS == events
        assert {"a": "\u2028ü"} == events[-1].json()


async def test_events_come_as_they_are_sent(wire):
    """Each is there before the next is sent."""
    heard = asyncio.Event()

    async def handler(conn):
        await conn.read_request()
        await conn.send(until_close(""))
        for number in range(3):
            await conn.send(b"data: %d\n\n" % number)
            await heard.wait()
            heard.clear()

    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        async with client.stream("GET", server.url("/")) as response:
            numbers = []
            async for event in response.iter_events():
                numbers.append(event.data)
                heard.set()

        assert ["0", "1", "2"] == numbers


async def test_an_event_is_not_endless():
    """A line, and an event, of a megabyte at most."""
    for flood in (b"data: " + b"x" * 3_000_000, b"data: x\n" * 400_000):
        async with (
            serving(reply(flood, STREAM)) as server,
            Client() as client,
            client.stream("GET", server.url("/")) as response,
        ):
            with pytest.raises(DecodingError, match="over 1048576 characters"):
                await taken(response.iter_events())


# ---- many streams, one after the other


async def test_events_go_on_where_they_ended(waits):
    """The last id is sent with each reconnection, as UTF-8; a 204 ends it."""
    messages = [
        until_close("data: a\n\n"),
        until_close("id: 1\ndata: b\n\nid: ü2\ndata: c\n\ndata: lost"),
        cut("data: d\n\n"),
        until_close(""),
        until_close("id\ndata: e\n\n"),
    ]
    async with scripted(turns(*messages)) as server, Client() as client:
        events = await taken(client.events(server.url("/feed")))

        assert ["a", "b", "c", "d", "e"] == [event.data for event in events]
        assert ["", "1", "ü2", "ü2", ""] == [event.id for event in events]
        ids = [parse(raw).get("last-event-id") for raw in server.requests]
        utf8 = "ü2".encode().decode("latin-1")
        assert [None, None, utf8, utf8, utf8, None] == ids
        assert "text/event-stream" == received(server, 0).get("accept")
        assert "no-store" == received(server, 0).get("cache-control")


async def test_events_wait_as_long_as_the_server_says(waits):
    """3 seconds by themselves; what the server says once holds from then on, up to an hour."""
    messages = [
        until_close("data: a\n\n"),
        until_close("retry: 100\ndata: b\n\n"),
        until_close("data: c\n\n"),
        until_close("retry: 0\ndata: d\n\n"),
        until_close("data: e\n\n"),
        until_close("retry: 300000\n\n"),
        until_close("retry: 86400000\n\n"),
        until_close("retry: 1e3\nretry: -1\n\n"),
    ]
    async with scripted(turns(*messages)) as server, Client() as client:
        await taken(client.events(server.url("/")))

    assert [3.0, 0.1, 0.1, 300.0, 3600.0, 3600.0] == waits


async def test_events_of_a_server_that_wants_no_wait_are_no_storm(waits):
    """Where no event comes of it, or it fails, there is a wait, and a longer one each time."""
    messages = [until_close("retry: 0\n\n"), until_close(""), *[cut("")] * 3, until_close("")]
    async with scripted(turns(*messages)) as server, Client() as client:
        await taken(client.events(server.url("/")))

    assert [0.1, 0.1, 0.2, 0.4, 0.8, 0.8] == waits


async def test_events_wait_longer_after_each_failure(waits):
    """Twice as long, up to a minute, until an event comes."""
    broken = [cut("retry: 1000\n\n")] + [cut("")] * 8
    messages = [*broken, cut("data: a\n\n"), until_close("data: b\n\n")]
    async with scripted(turns(*messages)) as server, Client() as client:
        await taken(client.events(server.url("/")))

    assert [2, 4, 8, 16, 32, 60, 60, 60, 60, 2, 1] == waits


async def test_events_survive_that_nobody_is_there(waits, dns):
    addresses = itertools.chain(["127.0.0.3"], itertools.repeat("127.0.0.1"))
    dns["feed.test"] = lambda: [next(addresses)]
    async with scripted(turns(until_close("data: a\n\n"))) as server, Client() as client:
        events = await taken(client.events(server.url("/", host="feed.test")))

        assert ["a"] == [event.data for event in events]


async def test_events_that_are_silent_for_too_long_are_asked_for_anew(waits):
    numbers = itertools.count()

    async def handler(conn):
        await conn.read_request()
        await conn.send(until_close(f"data: {next(numbers)}\n\n"))
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        timeout = fastreq.Timeout(read=0.05)
        events = await taken(client.events(server.url("/"), timeout=timeout), 3)

        assert ["0", "1", "2"] == [event.data for event in events]


async def test_streams_that_last_are_no_failures_in_a_row(waits, monkeypatch):
    """However quiet they are: the wait does not grow."""
    now = itertools.count(step=3)  # more than the second that the server asks for
    monkeypatch.setattr("fastreq.eventsource.monotonic", lambda: next(now))
    messages = [cut("retry: 1000\n\n"), *[cut(": still there\n\n")] * 3]
    async with scripted(turns(*messages)) as server, Client() as client:
        await taken(client.events(server.url("/")))

    assert [2, 2, 2, 2] == waits


async def test_a_stream_of_events_may_be_silent_for_minutes():
    """Longer than other bodies, unless the caller says how long."""
    transport = MockTransport(lambda request: fastreq.Response(204))
    short = fastreq.Timeout(read=1)
    async with Client(transport=transport) as client:
        await taken(client.events("http://a.test/"))
        await taken(client.events("http://a.test/", timeout=short))
        await taken(client.events("http://a.test/", timeout=fastreq.Timeout()))
    async with Client(transport=transport, timeout=short) as client:
        await taken(client.events("http://a.test/"))

    *given, usual = [request.options for request in transport.requests]
    assert [300, 1, 30] == [options.timeout.read for options in given]
    assert given[0].timeout.total_of_stream is None
    assert usual is None, "what the client has"


async def test_an_id_that_no_field_can_carry_is_not_sent(waits):
    """The events go on without it, as if there were none."""
    messages = [
        until_close("id: 1\ndata: a\n\n"),
        until_close("id: b\x01c\ndata: d\n\n"),
        until_close("id: \x7f\ndata: e\n\n"),
        until_close("id: 2\ndata: f\n\n"),
    ]
    async with scripted(turns(*messages)) as server, Client() as client:
        events = await taken(client.events(server.url("/")))

        assert ["1", "b\x01c", "\x7f", "2"] == [event.id for event in events]
        ids = [parse(raw).get("last-event-id") for raw in server.requests]
        assert [None, "1", None, None, "2"] == ids


async def test_events_whose_compression_is_cut_go_on(waits):
    """As after any other cut; what is no compression at all is an error."""
    packed = gzip.compress(b"data: a\n\n")
    coded = "Content-Encoding: gzip"
    cut_short = reply(packed[:-4], STREAM, coded)
    async with scripted(turns(cut_short, until_close("data: b\n\n"))) as server:
        async with Client() as client:
            events = await taken(client.events(server.url("/")))
    assert ["a", "b"] == [event.data for event in events]

    async with serving(reply(b"data: a\n\n", STREAM, coded)) as server, Client() as client:
        with pytest.raises(DecodingError, match="is broken"):
            await taken(client.events(server.url("/")))
        assert 1 == len(server.requests)


@pytest.mark.parametrize(("status", "goes_on"), [(0, True), (503, True), (407, False)])
async def test_events_through_a_proxy_that_fails(waits, certs, status, goes_on):
    """It is restarted, or overloaded; what it would say again is an error."""
    relay = Relay({}, None, b"HTTP/1.1 200 OK\r\n\r\n")

    async def proxy(conn):
        if conn.server.connections > 1:
            await relay.handle(conn)
        else:
            await conn.read_request()
            await conn.send(reply(status=f"{status} X") if status else b"")

    answers = turns(until_close("data: a\n\n"))
    async with (
        scripted(answers, tls=certs.good) as server,
        scripted(proxy) as front,
        Client(proxy=front.url(""), verify=certs.ca_file) as client,
    ):
        events = client.events(server.url("/"))
        if goes_on:
            assert ["a"] == [event.data for event in await taken(events, 1)]
        else:
            with pytest.raises(fastreq.ProxyError, match="407"):
                await taken(events)


WRONG = [
    (reply(b"gone", status="410 Gone"), HTTPStatusError, "410 Gone"),
    (reply(b"busy", status="503 Busy"), HTTPStatusError, "503"),
    (reply(b"<html>", "Content-Type: text/html"), RemoteProtocolError, "with text/html"),
    (reply(b"data: a\n\n"), RemoteProtocolError, "with no Content-Type"),
    (reply(b"data: a\n\n", STREAM, status="206 Partial"), RemoteProtocolError, "206"),
]


@pytest.mark.parametrize(("answer", "error", "text"), WRONG, ids=range(len(WRONG)))
async def test_what_is_no_stream_of_events(waits, answer, error, text):
    """It is an error at once, and no reconnection."""
    async with serving(answer) as server, Client() as client:
        with pytest.raises(error, match=text) as caught:
            await taken(client.events(server.url("/")))

        assert server.url("/") == str(caught.value.request.url)
        assert (1, True) == (caught.value.attempts, caught.value.elapsed > 0)
        assert 1 == len(server.requests)
        assert [] == waits
        assert 0 == client.stats().total.leased


async def test_a_busy_server_may_be_retried(waits, monkeypatch):
    """As any request may: the client's retries come before the reconnections."""
    messages = [reply(status="503 Busy").replace(b"OK", b"Busy"), until_close("data: a\n\n")]
    async with scripted(turns(*messages)) as server, Client() as client:
        retry = fastreq.Retry(1, backoff=0)
        events = await taken(client.events(server.url("/"), retry=retry), 1)

        assert ["a"] == [event.data for event in events]


async def test_what_will_not_get_better_is_not_waited_for(waits, certs):
    """An address that is not allowed, a certificate that is refused."""
    async with serving(reply(), tls=certs.expired) as server:
        async with Client(allow="public") as client:
            with pytest.raises(BlockedAddress):
                await taken(client.events(server.url("/")))
        async with Client(verify=certs.ca_file) as client:
            with pytest.raises(fastreq.TLSError):
                await taken(client.events(server.url("/")))
    assert [] == waits


async def test_events_of_a_post_with_a_body(waits):
    """As language models stream; the body is sent with each connection."""
    messages = [until_close("data: a\n\n"), until_close("data: b\n\n")]
    async with scripted(turns(*messages)) as server, Client() as client:
        events = client.events(server.url("/"), method="POST", json={"q": 1}, headers={"X": "y"})
        assert ["a", "b"] == [event.data for event in await taken(events)]

        assert [b'{"q":1}'] * 3 == [parse(raw).body for raw in server.requests]
        assert ["y"] * 3 == [parse(raw).get("x") for raw in server.requests]


async def test_leaving_the_loop_closes_the_connection():
    closed = asyncio.Event()

    async def handler(conn):
        await conn.read_request()
        await conn.send(until_close("data: a\n\n"))
        await conn.wait_closed()
        closed.set()

    async with scripted(handler) as server, Client() as client:
        async for event in client.events(server.url("/")):
            assert "a" == event.data
            break
        async with asyncio.timeout(2):
            await closed.wait()
        assert 0 == client.stats().total.open


async def test_cancelling_closes_the_connection():
    async def handler(conn):
        await conn.read_request()
        await conn.send(until_close(""))
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        reading = asyncio.create_task(taken(client.events(server.url("/"))))
        while not client.stats().total.leased:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        assert 0 == client.stats().total.open


async def test_events_that_were_broken_off_have_not_ended():
    """By a read that was cancelled, or an error: who asks again is told so."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(until_close("data: a\n\n"))
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        events = client.events(server.url("/"))
        assert "a" == (await anext(events)).data
        reading = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        with pytest.raises(fastreq.StreamConsumed, match="begins anew"):
            await anext(events)
        assert 0 == client.stats().total.open

    async with serving(reply(status="404 X")) as server, Client() as client:
        events = client.events(server.url("/"))
        with pytest.raises(HTTPStatusError):
            await anext(events)
        with pytest.raises(fastreq.StreamConsumed):
            await anext(events)


async def test_closing_the_client_ends_the_wait_for_the_next_stream():
    """However long the server has asked for."""
    client = Client()
    async with serving(until_close("retry: 600000\ndata: a\n\n")) as server:
        events = client.events(server.url("/"))
        assert "a" == (await anext(events)).data
        waiting = asyncio.create_task(anext(events))
        while client.stats().total.open:
            await asyncio.sleep(0.01)
        await client.aclose()
        with pytest.raises(fastreq.ClientClosed, match="waited to go on"):
            await asyncio.wait_for(waiting, 5)
