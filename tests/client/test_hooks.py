"""Hooks: what is told, and when (issue 3, 12)."""

import asyncio
import dataclasses
import gzip
import itertools

import pytest
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import Client, Hooks, Limits, Retry
from fastreq.testing import MockTransport

NAMES = [field.name for field in dataclasses.fields(Hooks)]
MOVED = reply(b"", "Location: /there", status="302 Found")
BUSY = reply(status="503 Service Unavailable")


class Notes:
    """All events, in the order in which they came."""

    def __init__(self, *names):
        self.events = []
        hooks = {name: self.noting(name) for name in names or NAMES}
        self.hooks = Hooks(**hooks)

    def noting(self, name):
        return lambda event: self.events.append((name, event))

    @property
    def names(self):
        return [name for name, _ in self.events]

    def all(self, name):
        return [event for own, event in self.events if own == name]

    def one(self, name):
        (event,) = self.all(name)
        return event


FRESH = ["connection_opened", "request_sent", "response_head", "response_end"]
KEPT = ["connection_reused", "request_sent", "response_head", "response_end"]


# ---- in each scenario


async def test_a_new_connection_and_a_kept_one(wire):
    """In the order in which it happens; closing is the last that is told."""
    notes = Notes()
    async with serving(reply(b"x"), tls=wire.tls) as server:
        async with wire.client(hooks=notes.hooks) as client:
            first = await client.get(server.url("/a"))
            second = await client.get(server.url("/b"))
        assert [
            *["dns"] * ("dns" in notes.names),
            *FRESH,
            *KEPT,
            "connection_closed",
        ] == notes.names

        opened = notes.one("connection_opened")
        assert server.url("") == opened.origin == notes.one("connection_reused").origin
        assert ("127.0.0.1", server.port) == opened.remote_address
        assert opened.connect > 0
        assert (opened.tls > 0) == bool(wire.tls)
        assert opened[2:] == first.timings[1:4]
        assert ["/a", "/b"] == [event.request.url.path for event in notes.all("request_sent")]
        assert [1, 1] == [event.attempt for event in notes.all("request_sent")]
        assert [first, second] == [event.response for event in notes.all("response_head")]
        assert [None, None] == [event.error for event in notes.all("response_end")]
        assert first.request is notes.all("response_end")[0].request
        closed = notes.one("connection_closed")
        assert (server.url(""), opened.remote_address) == (closed.origin, closed.remote_address)


async def test_dns(dns):
    """Whatever of it is of use: which name, which addresses, and how long it took."""
    dns["site.test"] = ["127.0.0.1", "127.0.0.2"]
    notes = Notes()
    async with serving(reply()) as server, Client(hooks=notes.hooks) as client:
        await client.get(server.url("/", host="site.test"))

        assert ["dns", *FRESH] == notes.names
        host, addresses, seconds = notes.one("dns")
        assert ("site.test", ("127.0.0.1", "127.0.0.2")) == (host, addresses)
        assert 0 < seconds == notes.one("connection_opened").dns


async def test_a_redirect():
    """Told with the answer that led elsewhere, and the request that follows."""
    notes = Notes()
    async with serving(MOVED, reply()) as server, Client(hooks=notes.hooks) as client:
        response = await client.get(server.url("/"))

        assert [*FRESH, "redirect", *KEPT] == notes.names
        event = notes.one("redirect")
        assert response.history == [event.response]
        assert (302, "/there") == (event.response.status, event.request.url.path)


async def test_a_redirect_that_is_waited_for():
    """A coroutine function ends before the redirect is followed; what it raises is raised."""
    notes, error = [], None

    async def redirect(event):
        await asyncio.sleep(0)
        notes.append("redirect")
        if error is not None:
            raise error

    hooks = Hooks(redirect=redirect, request_sent=lambda event: notes.append("sent"))
    async with serving(MOVED, reply(), MOVED) as server, Client(hooks=hooks) as client:
        await client.get(server.url("/"))
        assert ["sent", "redirect", "sent"] == notes
        error = LookupError()
        with pytest.raises(LookupError):
            await client.get(server.url("/"))
    assert ["sent", "redirect"] == notes[3:]


async def test_a_retry():
    """Told with what went wrong, and how long it will take."""
    notes = Notes()
    async with serving(BUSY, reply()) as server:
        retry = Retry(1, backoff=0.01, jitter=False)
        async with Client(hooks=notes.hooks, retry=retry) as client:
            await client.get(server.url("/"))

    assert [*FRESH, "retry", *KEPT, "connection_closed"] == notes.names
    event = notes.one("retry")
    assert (1, 0.01, 503, None) == (event.attempt, event.delay, event.response.status, event.error)
    assert [1, 2] == [event.attempt for event in notes.all("request_sent")]


async def test_a_retry_after_an_error():
    count = itertools.count()

    async def handler(conn):
        await conn.read_request()
        if next(count) == 0:
            await conn.reset()
        else:
            await conn.send(reply())

    notes = Notes()
    async with (
        scripted(handler) as server,
        Client(hooks=notes.hooks, retry=Retry(1, backoff=0)) as client,
    ):
        await client.get(server.url("/"))

    names = [name for name in notes.names if name != "connection_closed"]
    assert ["connection_opened", "request_sent", "response_end", "retry", *FRESH] == names
    event = notes.one("retry")
    assert isinstance(event.error, fastreq.ReadError)
    assert event.response is None
    assert event.error is notes.all("response_end")[0].error


async def test_digest_auth_is_two_attempts():
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
    notes = Notes("request_sent")
    async with (
        serving(reply(b"", challenge, status="401 X"), reply()) as server,
        Client(hooks=notes.hooks, auth=fastreq.Digest("u", "p")) as client,
    ):
        await client.get(server.url("/"))

    sent = [event.request.headers.get("Authorization") for event in notes.all("request_sent")]
    assert (None, True) == (sent[0], sent[1].startswith("Digest "))
    assert [1, 2] == [event.attempt for event in notes.all("request_sent")]


async def test_attempts_are_counted_alike():
    """A retry after a login is the third, for all who are told."""
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
    notes = Notes("request_sent", "retry")
    retry = Retry(1, backoff=0)
    async with (
        serving(reply(b"", challenge, status="401 X"), BUSY, reply()) as server,
        Client(hooks=notes.hooks, auth=fastreq.Digest("u", "p"), retry=retry) as client,
    ):
        response = await client.get(server.url("/"))

    assert [1, 2, 3] == [event.attempt for event in notes.all("request_sent")]
    assert (2, 3) == (notes.one("retry").attempt, response.attempts)


async def test_what_is_sent_is_what_is_told():
    """With the cookies of the jar, and what auth has added."""
    notes = Notes("request_sent")
    async with (
        serving(reply()) as server,
        Client(hooks=notes.hooks, cookies={"a": "b"}, auth=("u", "p")) as client,
    ):
        await client.get(server.url("/"))

    fields = notes.one("request_sent").request.headers
    assert ("a=b", "Basic dTpw") == (fields["Cookie"], fields["Authorization"])


async def test_nobody_there(dns, unused_port):
    """Nothing is sent; the end is told with its error, and before what the name means."""
    dns["site.test"] = "127.0.0.1"
    notes = Notes()
    async with Client(hooks=notes.hooks) as client:
        with pytest.raises(fastreq.ConnectError) as caught:
            await client.get(f"http://site.test:{unused_port}/")

    assert ["dns", "response_end"] == notes.names
    assert ("site.test", ("127.0.0.1",)) == notes.one("dns")[:2]
    assert caught.value is notes.one("response_end").error


async def test_a_source_that_fails_ends_its_attempt():
    """With what it raised, which is no error of ours."""

    def source():
        yield b"some of it"
        raise Broken("the source")

    notes = Notes("request_sent", "response_head", "response_end")
    async with serving(reply()) as server, Client(hooks=notes.hooks) as client:
        with pytest.raises(Broken) as caught:
            await client.post(server.url("/"), content=source())

    assert ["request_sent", "response_end"] == notes.names
    assert caught.value is notes.one("response_end").error


async def test_a_transport_that_fails_ends_its_attempt():
    def handler(request):
        raise Broken("the transport")

    notes = Notes()
    async with Client(hooks=notes.hooks, transport=MockTransport(handler)) as client:
        with pytest.raises(Broken) as caught:
            await client.get("http://a.test/")

    assert ["request_sent", "response_end"] == notes.names
    assert caught.value is notes.one("response_end").error


@pytest.mark.parametrize("broken", ["request_sent", "response_head"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_hook_that_fails_ends_the_attempt(broken, stream):
    notes = Notes("response_end")
    hooks = dataclasses.replace(breaking(broken), response_end=notes.hooks.response_end)
    async with serving(reply(b"x" * 100_000)) as server, Client(hooks=hooks) as client:
        with pytest.raises(Broken) as caught:
            await client.send(client.build_request("GET", server.url("/")), stream=stream)

    assert caught.value is notes.one("response_end").error


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", fastreq.ReadError),
        (b"nonsense\r\n\r\n", fastreq.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", fastreq.IncompleteBody),
        (reply(b"x", "Content-Encoding: gzip"), fastreq.DecodingError),
    ],
)
async def test_an_answer_that_fails(answer, error):
    async def handler(conn):
        await conn.read_request()
        await conn.send(answer)

    notes = Notes("request_sent", "response_head", "response_end")
    async with scripted(handler) as server, Client(hooks=notes.hooks) as client:
        with pytest.raises(error) as caught:
            await client.get(server.url("/"))

    assert ["request_sent", "response_end"] == notes.names
    assert caught.value is notes.one("response_end").error


async def test_a_kept_connection_that_was_closed_meanwhile():
    """The request goes out once more, and is the same attempt."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(reply())
        if conn.server.connections == 1:
            await conn.read_request()
        else:
            await conn.wait_closed()

    notes = Notes()
    async with scripted(handler) as server, Client(hooks=notes.hooks) as client:
        await client.get(server.url("/"))
        response = await client.get(server.url("/"))

        assert (200, 1) == (response.status, response.attempts)
        assert 3 == len(server.requests)
    names = [name for name in notes.names if name not in ("connection_closed",)]
    after = ["connection_reused", "request_sent", "connection_opened"]
    assert [*FRESH, *after, "response_head", "response_end"] == names


async def test_connections_that_are_closed():
    """By the server, by the client's limits, and by its end."""
    notes = Notes("connection_opened", "connection_closed")
    async with (
        serving(reply(b"", "Connection: close")) as server,
        Client(hooks=notes.hooks) as client,
    ):
        await client.get(server.url("/"))
        await asyncio.sleep(0.02)
        assert ["connection_opened", "connection_closed"] == notes.names

    notes.events.clear()
    async with (
        serving(reply()) as server,
        Client(hooks=notes.hooks, limits=Limits(max_keepalive=0)) as client,
    ):
        await client.get(server.url("/"))
        await asyncio.sleep(0.02)
        assert ["connection_opened", "connection_closed"] == notes.names


# ---- streams


@pytest.mark.parametrize("how", ["iter_bytes", "iter_raw", "aread", "leave", "iter_lines"])
async def test_a_stream_ends_when_it_ends(how):
    notes = Notes("response_head", "response_end")
    async with serving(reply(b"a\nb")) as server, Client(hooks=notes.hooks) as client:
        async with client.stream("GET", server.url("/")) as response:
            assert ["response_head"] == notes.names
            if how == "aread":
                await response.aread()
            elif how != "leave":
                async for _ in getattr(response, how)():
                    pass
            if how != "leave":
                assert ["response_head", "response_end"] == notes.names
        assert ["response_head", "response_end"] == notes.names
        assert notes.one("response_end").error is None


@pytest.mark.parametrize("how", ["iter_bytes", "iter_raw", "aread", "iter_lines"])
async def test_a_stream_that_breaks_ends_with_its_error(how):
    async def handler(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    notes = Notes("response_head", "response_end")
    async with scripted(handler) as server, Client(hooks=notes.hooks) as client:
        async with client.stream("GET", server.url("/")) as response:
            with pytest.raises(fastreq.IncompleteBody) as caught:
                if how == "aread":
                    await response.aread()
                else:
                    async for _ in getattr(response, how)():
                        pass
        assert caught.value is notes.one("response_end").error


@pytest.mark.parametrize("how", ["iter_bytes", "aread"])
async def test_a_stream_whose_compression_is_cut_ends_with_its_error(how):
    """Its length is right, so that only the decoder knows."""
    body = gzip.compress(bytes(1000))[:-4]
    notes = Notes("response_end")
    async with (
        serving(reply(body, "Content-Encoding: gzip")) as server,
        Client(hooks=notes.hooks) as client,
        client.stream("GET", server.url("/")) as response,
    ):
        with pytest.raises(fastreq.DecodingError) as caught:
            if how == "aread":
                await response.aread()
            else:
                async for _ in response.iter_bytes():
                    pass
    assert caught.value is notes.one("response_end").error


async def test_a_body_over_the_limit_ends_with_its_error():
    notes = Notes("response_end")
    async with (
        serving(reply(b"x" * 1000)) as server,
        Client(hooks=notes.hooks, max_body=100) as client,
        client.stream("GET", server.url("/")) as response,
    ):
        with pytest.raises(fastreq.BodyTooLarge) as caught:
            await response.aread()
    assert caught.value is notes.one("response_end").error


# ---- none set, none called


@pytest.mark.parametrize("name", NAMES)
async def test_each_may_be_set_alone(name, dns):
    dns["site.test"] = "127.0.0.1"
    notes = Notes(name)
    answers = [MOVED, BUSY, reply()]
    async with serving(*answers) as server:
        retry = Retry(1, backoff=0)
        async with Client(hooks=notes.hooks, retry=retry) as client:
            await client.get(server.url("/", host="site.test"))

    assert {name} == set(notes.names)


@pytest.mark.parametrize("hooks", [None, Hooks()])
async def test_none_is_called_that_is_not_set(hooks):
    async with (
        serving(MOVED, BUSY, reply(b"there")) as server,
        Client(hooks=hooks, retry=Retry(1, backoff=0)) as client,
    ):
        assert b"there" == (await client.get(server.url("/"))).body


def test_hooks_are_given_by_name():
    with pytest.raises(TypeError):
        Hooks(lambda event: None)
    with pytest.raises(TypeError):
        Hooks(request=lambda event: None)


async def awaited(event):
    pytest.fail("nobody awaits it")


class Awaited:
    async def __call__(self, event):
        pytest.fail("nobody awaits it")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "redirect"])
@pytest.mark.parametrize("hook", [awaited, Awaited(), 5, "print"])
def test_hooks_are_plain_functions(name, hook):
    """One that is async would never run, and nobody would notice."""
    with pytest.raises(TypeError, match=rf"Hooks\({name}=.*(async|a function of one event)"):
        Hooks(**{name: hook})


@pytest.mark.parametrize("hooks", [print, {"request_sent": print}, [print], 5])
def test_a_client_takes_hooks_as_hooks(hooks):
    with pytest.raises(TypeError, match=r"expected fastreq\.Hooks"):
        Client(hooks=hooks)


# ---- a hook that raises


class Broken(TimeoutError):
    """Not to be taken for one of ours, nor for a network's."""


def breaking(name):
    def hook(event):
        raise Broken(name)

    return Hooks(**{name: hook})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "connection_closed"])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_hook_raises_is_the_callers(dns, name, stream):
    """As an error of the request would be; nothing is left open, and the client goes on."""
    dns["site.test"] = "127.0.0.1"
    async with serving(MOVED, BUSY, reply(b"x" * 100_000)) as server:
        client = Client(hooks=breaking(name), retry=Retry(1, backoff=0))
        async with client:
            with pytest.raises(Broken, match=name):
                for _ in range(2):  # a connection is reused by the second at the latest
                    request = client.build_request("GET", server.url("/", host="site.test"))
                    response = await client.send(request, stream=stream)
                    await response.aclose()
            await asyncio.sleep(0.01)
            assert 0 == client.stats().total.leased

            client._policies.hooks = client._engine._hooks = None
            assert 200 == (await client.get(server.url("/", host="site.test"))).status


async def test_what_a_closing_hook_raises_goes_to_the_loop():
    """It has no caller."""
    told = []
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    try:
        async with serving(reply()) as server:
            async with Client(hooks=breaking("connection_closed")) as client:
                assert 200 == (await client.get(server.url("/"))).status
            await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(handler)
    assert [Broken] == [type(error) for error in told]


async def test_a_request_that_is_cancelled_is_not_told_to_end():
    async def handler(conn):
        await conn.read_request()
        await conn.wait_closed()

    notes = Notes()
    async with scripted(handler) as server, Client(hooks=notes.hooks) as client:
        request = asyncio.create_task(client.get(server.url("/")))
        while not server.requests:
            await asyncio.sleep(0.01)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await asyncio.sleep(0.01)

    assert ["connection_opened", "request_sent", "connection_closed"] == notes.names
