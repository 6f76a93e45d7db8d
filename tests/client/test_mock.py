"""The seam: a transport in place of pool and wire, and all else as it is (issue 3, 13)."""

import asyncio
import gzip
import io
import json

import pytest
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import Client, Digest, Hooks, Request, Response, Retry, Timeout
from fastreq.testing import MockTransport


def client_of(handler, **options):
    return Client(transport=MockTransport(handler), **options)


def ok(request):
    return Response(200, content=str(request.url))


# ---- requests and responses


async def test_a_function_answers():
    transport = MockTransport(ok)
    async with Client(transport=transport, headers={"X": "y"}) as client:
        response = await client.post("https://api.test/a?b=c", json={"d": 1})

    assert (200, "https://api.test/a?b=c") == (response.status, response.text)
    (request,) = transport.requests
    assert request is response.request
    assert ("POST", b'{"d":1}', "y") == (request.method, request.content, request.headers["X"])


async def test_an_async_function_answers():
    async def handler(request):
        await asyncio.sleep(0)
        return Response(201, json={"path": request.url.path})

    async with client_of(handler) as client:
        assert {"path": "/x"} == (await client.get("http://api.test/x")).json()


async def test_no_socket_is_opened():
    """Not even for a name that there is not."""
    async with client_of(ok) as client:
        assert 200 == (await client.get("https://there-is-no-such-host.invalid/")).status
        assert 0 == client.stats().total.open


class Giving:
    """A transport of one's own, which gives something."""

    def __init__(self, given):
        self.given = given
        self.sent = 0

    async def send(self, request):
        self.sent += 1
        return self.given

    async def aclose(self):
        pass


@pytest.mark.parametrize("given", [None, b"bytes", (200, b""), 200])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_response(given, stream):
    for transport in (MockTransport(lambda request: given), Giving(given)):
        async with Client(transport=transport) as client:
            with pytest.raises(TypeError, match=r"expected a fastreq\.Response"):
                await client.send(client.build_request("GET", "http://a.test/"), stream=stream)


async def byte_by_byte():
    yield b"a"
    yield b"b"


@pytest.mark.parametrize(
    "content",
    [lambda: iter([b"a", b"b"]), byte_by_byte, lambda: io.BytesIO(b"ab"), lambda: [b"a", b"b"]],
)
@pytest.mark.parametrize("compress", [None, "gzip"])
async def test_a_handler_has_the_whole_body(content, compress):
    """As a server would, however it is sent."""
    transport = MockTransport(ok)
    async with Client(transport=transport) as client:
        await client.post("http://a.test/", content=content(), compress=compress)

    body = transport.requests[0].content
    assert b"ab" == (gzip.decompress(body) if compress else body)


WRONG = [
    # what the wire refuses, of a request that can be made
    ({"content": b"abc", "headers": {"Content-Length": "5"}}, "for a body of 3 bytes"),
    ({"content": lambda: iter([b"abc"]), "headers": {"Content-Length": "5"}}, "2 bytes short"),
    ({"content": lambda: iter([b"abc"]), "headers": {"Content-Length": "2"}}, "1 bytes longer"),
    ({"headers": [("Host", "a"), ("Host", "b")]}, "2 Host fields"),
    ({"content": b"abc", "headers": {"Transfer-Encoding": "gzip"}}, "only chunked can be sent"),
    ({"content": lambda: iter(["abc"])}, "expected pieces of bytes"),
]


@pytest.mark.parametrize(("options", "text"), WRONG, ids=range(len(WRONG)))
async def test_what_the_wire_refuses_is_refused(options, text):
    """Else tests would pass, and what they test fail."""
    transport = MockTransport(ok)
    options = {name: given() if callable(given) else given for name, given in options.items()}
    async with Client(transport=transport) as client:
        with pytest.raises(fastreq.LocalProtocolError, match=text):
            await client.post("http://a.test/", **options)

    assert [] == transport.requests


async def test_a_stream_that_was_sent_is_not_sent_again():
    async with client_of(ok) as client:
        request = client.build_request("POST", "http://a.test/", content=iter([b"a"]))
        await client.send(request)
        with pytest.raises(fastreq.StreamConsumed, match="has been sent once"):
            await client.send(request)


@pytest.mark.parametrize("size", [10, 11])
async def test_max_body_holds(size):
    """For buffered bodies, as everywhere."""
    async with client_of(lambda request: Response(200, content=bytes(size)), max_body=10) as client:
        if size > 10:
            with pytest.raises(fastreq.BodyTooLarge, match="max_body=10") as caught:
                await client.get("http://a.test/x")
            assert ("body", "/x") == (caught.value.phase, caught.value.request.url.path)
        else:
            assert bytes(size) == (await client.get("http://a.test/x")).body
        async with client.stream("GET", "http://a.test/") as response:
            assert size == sum([len(piece) async for piece in response.iter_bytes()])


async def test_what_a_handler_raises_is_the_callers():
    def handler(request):
        raise KeyError("mine")

    async with client_of(handler) as client:
        with pytest.raises(KeyError, match="mine"):
            await client.get("http://a.test/")


async def test_errors_can_be_played():
    """They come out as those of the network do, with what they belong to."""

    def handler(request):
        raise fastreq.ConnectError("nobody there")

    async with client_of(handler) as client:
        with pytest.raises(fastreq.ConnectError, match="nobody there") as caught:
            await client.get("http://a.test/x")

    assert ("/x", 1) == (caught.value.request.url.path, caught.value.attempts)


async def test_the_total_holds():
    async def handler(request):
        await asyncio.sleep(10)

    async with client_of(handler, timeout=Timeout(total=0.05)) as client:
        with pytest.raises(fastreq.TotalTimeout, match="gave no answer in time"):
            await client.get("http://a.test/")


async def test_a_timeout_of_the_handlers_own_is_not_ours():
    async def handler(request):
        raise TimeoutError("mine")

    async with client_of(handler) as client:
        with pytest.raises(TimeoutError, match="mine") as caught:
            await client.get("http://a.test/")
    assert not isinstance(caught.value, fastreq.FastreqError)


async def test_any_object_with_send_and_aclose():
    class Recording:
        closed = False

        async def send(self, request):
            return Response(200, content=request.method)

        async def aclose(self):
            self.closed = True

    transport = Recording()
    async with Client(transport=transport) as client:
        assert "DELETE" == (await client.delete("http://a.test/")).text
    assert transport.closed


class OnlySends:
    async def send(self, request):
        pytest.fail("it is no transport")


@pytest.mark.parametrize("transport", [5, object(), ok, OnlySends()])
def test_what_is_no_transport_is_refused_at_once(transport):
    with pytest.raises(TypeError, match=r"has no method (send|aclose)\(\).*MockTransport"):
        Client(transport=transport)


async def test_a_closed_client_sends_nothing():
    transport = MockTransport(ok)
    client = Client(transport=transport)
    await client.aclose()
    with pytest.raises(fastreq.ClientClosed):
        await client.get("http://a.test/")
    assert [] == transport.requests


async def test_a_client_that_is_closed_in_a_call_asks_no_more():
    """As between two tries: its transport may be closed, too."""
    waiting = asyncio.Event()
    hooks = Hooks(retry=lambda event: waiting.set())
    transport = MockTransport(lambda request: Response(503))
    client = Client(transport=transport, retry=Retry(3, backoff=0.05, jitter=False), hooks=hooks)
    asking = asyncio.create_task(client.get("http://a.test/"))
    await waiting.wait()
    await client.aclose()
    with pytest.raises(fastreq.ClientClosed):
        await asking
    assert 1 == len(transport.requests)


@pytest.mark.parametrize("where", ["under way", "between two tries"])
async def test_closed_with_requests(where):
    """They fail at once, and the transport that was closed is not asked again."""
    asked = asyncio.Event()

    async def handler(request):
        asked.set()
        if where == "under way":
            await asyncio.Event().wait()
        return Response(503)

    transport = MockTransport(handler)
    client = Client(transport=transport, retry=Retry(3, backoff=50, jitter=False))
    task = asyncio.create_task(client.get("http://a.test/"))
    await asked.wait()
    while not client._policies.waits._limits:
        await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(fastreq.ClientClosed, match="while the request wa"):
        await task
    assert 1 == len(transport.requests)


async def test_one_response_for_all_requests():
    """Each request gets a copy, so that what was got before stays as it was."""
    answer = Response(200, content="the same")
    async with client_of(lambda request: answer) as client:
        first = await client.get("http://a.test/1")
        second = await client.get("http://a.test/2")

    assert ["/1", "/2"] == [response.url.path for response in (first, second)]
    assert "the same" == first.text == second.text


async def test_what_is_changed_in_one_response_is_not_in_the_next():
    given = Response(200, headers={"A": "1"})
    async with client_of(lambda request: given) as client:
        first = await client.get("http://a.test/")
        first.headers["A"] = "2"
        first.history.append(given)
        second = await client.get("http://a.test/")

    assert ("2", "1", "1") == (first.headers["A"], second.headers["A"], given.headers["A"])
    assert [] == second.history == given.history


# ---- responses of a real client, handed on


def handing_on(inner, url):
    """A transport that has another client answer; as itself, and as a handler."""

    async def send(request):
        return await inner.send(inner.build_request(request.method, url), stream=True)

    transport = Giving(None)
    transport.send = send
    return [transport, MockTransport(send)]


async def test_a_response_that_streams_is_read_for_who_wants_it_whole():
    """Its connection is free again, and its end is told."""
    ended = []
    hooks = Hooks(response_end=ended.append)
    packed = reply(gzip.compress(b"hello"), "Content-Encoding: gzip")
    async with serving(packed) as server, Client() as inner:
        for transport in handing_on(inner, server.url("/")):
            async with Client(transport=transport, hooks=hooks) as client:
                response = await client.get("http://a.test/")
                assert b"hello" == response.body
                assert response.is_read
                assert "http://a.test/" == str(response.url)
        assert (0, 1) == (inner.stats().total.leased, inner.stats().total.opened)
    assert [None, None] == [event.error for event in ended]


async def test_a_response_that_was_a_stream_and_is_read_holds_up_nobody():
    """Its turn is over, however long its caller keeps it."""
    async with serving(reply(b"hello")) as server, Client() as inner:
        for transport in handing_on(inner, server.url("/")):
            policy = fastreq.Policy(limiter=asyncio.Semaphore(1))
            async with Client(
                transport=transport, policy=policy, timeout=Timeout(pool=5)
            ) as client:
                kept = [await client.get("http://a.test/") for _ in range(2)]
                assert ["hello"] * 2 == [response.text for response in kept]


async def test_a_response_that_streams_is_handed_on_to_who_streams():
    ended = []
    hooks = Hooks(response_end=ended.append)
    async with serving(reply(b"a\nb")) as server, Client() as inner:
        for transport in handing_on(inner, server.url("/")):
            async with (
                Client(transport=transport, hooks=hooks) as client,
                client.stream("GET", "http://a.test/") as response,
            ):
                assert not response.is_read
                assert ["a", "b"] == [line async for line in response.iter_lines()]
        assert 0 == inner.stats().total.leased
    assert [None, None] == [event.error for event in ended]


async def test_a_response_that_is_not_read_in_time_is_dropped():
    """The total is for its body, too."""

    async def stalling(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        await conn.wait_closed()

    async with scripted(stalling) as server, Client() as inner:
        for transport in handing_on(inner, server.url("/")):
            async with Client(transport=transport, timeout=Timeout(total=0.05)) as client:
                with pytest.raises(fastreq.TotalTimeout, match="gave no answer in time") as caught:
                    await client.get("http://a.test/")
                assert "head" == caught.value.phase
        assert 0 == inner.stats().total.open


# ---- reading


@pytest.mark.parametrize("how", ["iter_bytes", "iter_raw", "iter_lines", "aread"])
async def test_streams(how):
    async with (
        client_of(lambda request: Response(200, content="a\nb")) as client,
        client.stream("GET", "http://a.test/") as response,
    ):
        if how == "aread":
            assert b"a\nb" == await response.aread()
        else:
            pieces = [piece async for piece in getattr(response, how)()]
            assert (["a", "b"] if how == "iter_lines" else [b"a\nb"]) == pieces


async def test_events():
    feeds = iter(["id: 1\nretry: 0\ndata: a\n\n", "data: b\n\n"])

    def handler(request):
        feed = next(feeds, None)
        if feed is None:
            return Response(204)
        return Response(200, headers={"Content-Type": "text/event-stream"}, content=feed)

    transport = MockTransport(handler)
    async with Client(transport=transport) as client:
        events = [event.data async for event in client.events("http://a.test/")]

    assert ["a", "b"] == events
    ids = [request.headers.get("Last-Event-ID") for request in transport.requests]
    assert [None, "1", "1"] == ids


async def test_many_and_downloads(tmp_path):
    async with client_of(ok) as client:
        urls = [f"http://a.test/{number}" for number in range(20)]
        texts = [result.response.text async for result in client.map(urls, ordered=True)]
        assert urls == texts

        await client.download("http://a.test/file", tmp_path / "file")
        assert b"http://a.test/file" == (tmp_path / "file").read_bytes()


async def test_the_seeds_stream_client():
    async with fastreq.StreamClient(transport=MockTransport(ok)) as client:
        pieces = [piece async for piece in client.get("http://a.test/")]
    assert [b"http://a.test/"] == pieces


# ---- what is done to every request


async def test_redirects():
    """With all their rules: what is secret stays where it was meant for."""
    places = {
        "http://a.test/": Response(307, headers={"Location": "/b"}),
        "http://a.test/b": Response(302, headers={"Location": "https://c.test/"}),
        "https://c.test/": Response(200, content="there"),
    }
    transport = MockTransport(lambda request: places[str(request.url)])
    async with Client(transport=transport, auth=("u", "p")) as client:
        response = await client.post(
            "http://a.test/", content=b"body", headers={"X-Api-Key": "secret"}
        )

    assert ("there", 2) == (response.text, len(response.history))
    assert ["POST", "POST", "GET"] == [request.method for request in transport.requests]
    assert [b"body", b"body", b""] == [request.content for request in transport.requests]
    for name in ("X-Api-Key", "Authorization"):
        assert [True, True, False] == [name in request.headers for request in transport.requests]

    async with client_of(lambda r: Response(302, headers={"Location": "/"})) as client:
        with pytest.raises(fastreq.TooManyRedirects, match="circle"):
            await client.get("http://a.test/")
        response = await client.get("http://a.test/", follow_redirects=False)
        assert 302 == response.status


async def test_cookies():
    """What a response by hand sets is kept, and sent back."""

    def handler(request):
        if request.url.path == "/login":
            return Response(200, headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Path=/x")])
        return Response(200, json={"cookie": request.headers.get("Cookie")})

    async with client_of(handler) as client:
        response = await client.get("http://a.test/login")
        assert {"a": "1", "b": "2"} == dict(response.cookies) == dict(client.cookies)
        assert "a=1" == (await client.get("http://a.test/")).json()["cookie"]
        assert "b=2; a=1" == (await client.get("http://a.test/x/y")).json()["cookie"]
        assert (await client.get("http://b.test/")).json()["cookie"] is None


async def test_a_cookie_that_is_added_to_a_response_counts_too():
    def handler(request):
        response = Response(200)
        response.headers.add("Set-Cookie", "late=1")
        return response

    async with client_of(handler) as client:
        await client.get("http://a.test/")
        assert {"late": "1"} == dict(client.cookies)


async def test_auth():
    def handler(request):
        if "Authorization" not in request.headers:
            challenge = 'Digest realm="r", nonce="n", qop="auth"'
            return Response(401, headers={"WWW-Authenticate": challenge})
        return Response(200, content=request.headers["Authorization"])

    async with client_of(handler) as client:
        response = await client.get("http://a.test/", auth=Digest("u", "p"))
        assert (200, 2) == (response.status, response.attempts)
        assert response.text.startswith("Digest ")
        assert "Basic dTpw" == (await client.get("http://u:p@a.test/")).text


async def test_retries():
    answers = [Response(503), fastreq.ReadError("cut"), Response(200, content="at last")]

    def handler(request):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with client_of(handler, retry=Retry(3, backoff=0)) as client:
        response = await client.get("http://a.test/")

    assert ("at last", 3) == (response.text, response.attempts)


async def test_policies(monkeypatch):
    """The pace of a host holds over it, too."""
    slept, sleep = [], asyncio.sleep

    async def noting(seconds):
        slept.append(seconds)
        await sleep(0)
        clock[0] += seconds

    clock = [0.0]
    monkeypatch.setattr("fastreq.pacing.asyncio.sleep", noting)
    monkeypatch.setattr("fastreq.pacing.monotonic", lambda: clock[0])
    async with client_of(ok, policy=fastreq.Policy(rate=2)) as client:
        for _ in range(3):
            await client.get("http://a.test/")
    assert [0.5, 0.5] == slept


async def test_hooks():
    """All but those of connections, of which there are none."""
    names = []

    def noting(name):
        return lambda event: names.append(name)

    given = "request_sent response_head response_end dns connection_opened connection_reused retry"
    given += " connection_closed redirect"
    hooks = Hooks(**{name: noting(name) for name in given.split()})
    answers = iter([Response(503), Response(302, headers={"Location": "/b"}), Response(200)])
    async with client_of(
        lambda request: next(answers), hooks=hooks, retry=Retry(1, backoff=0)
    ) as client:
        await client.get("http://a.test/")

    exchange = ["request_sent", "response_head", "response_end"]
    assert [*exchange, "retry", *exchange, "redirect", *exchange] == names


async def test_base_url_and_params():
    async with client_of(ok, base_url="https://api.test/v1", params={"k": "v"}) as client:
        assert "https://api.test/v1/x?k=v&a=b" == (await client.get("x", params={"a": "b"})).text


async def test_it_plays_an_app_in_this_process():
    """What a handler does with a request is up to it; it has all of it."""
    items = {}

    def app(request: Request) -> Response:
        name = request.url.path.removeprefix("/")
        if request.method == "PUT":
            items[name] = json.loads(request.content)
            return Response(201)
        return Response(200, json=items[name]) if name in items else Response(404)

    async with client_of(app, base_url="http://app.test") as client:
        assert 404 == (await client.get("a")).status
        assert 201 == (await client.put("a", json=[1])).status
        assert [1] == (await client.get("a")).json()
