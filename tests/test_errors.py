"""The tree of errors: its shape, what each carries, and that each survives a pickle."""

import copy
import gzip
import inspect
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.scripted import reply, scripted, serving
from tables import each_row

import fastreq
from fastreq import Client, Hooks, Response, errors
from fastreq.errors import MAX_QUOTED, FastreqError, quoted

ALL = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, FastreqError)
}

# Name → what it derives from, apart from being a FastreqError.
TREE = {
    "FastreqError": {"Exception"},
    "InvalidURL": {"FastreqError", "ValueError"},
    "UnsupportedProtocol": {"FastreqError", "ValueError"},
    "TransportError": {"FastreqError"},
    "NetworkError": {"TransportError", "ConnectionError"},
    "ConnectError": {"NetworkError"},
    "DNSError": {"ConnectError"},
    "TLSError": {"ConnectError"},
    "BlockedAddress": {"ConnectError"},
    "ReadError": {"NetworkError"},
    "WriteError": {"NetworkError"},
    "TimeoutException": {"TransportError", "TimeoutError"},
    "PoolTimeout": {"TimeoutException"},
    "ConnectTimeout": {"TimeoutException"},
    "WriteTimeout": {"TimeoutException"},
    "ReadTimeout": {"TimeoutException"},
    "TotalTimeout": {"TimeoutException"},
    "ProtocolError": {"TransportError"},
    "LocalProtocolError": {"ProtocolError"},
    "RemoteProtocolError": {"ProtocolError"},
    "IncompleteBody": {"RemoteProtocolError"},
    "ProxyError": {"TransportError"},
    "HTTPStatusError": {"FastreqError"},
    "TooManyRedirects": {"FastreqError"},
    "DecodingError": {"FastreqError"},
    "BodyTooLarge": {"FastreqError"},
    "StreamConsumed": {"FastreqError"},
    "ClientClosed": {"FastreqError", "RuntimeError"},
}


def test_the_tree():
    """Exactly these, each under exactly its parents."""
    assert TREE == {name: {base.__name__ for base in kind.__bases__} for name, kind in ALL.items()}


def test_the_tree_is_drawn_in_the_docstring():
    assert set(TREE) == {word for word in re.findall(r"\w+", errors.__doc__) if word in ALL}


def test_what_users_catch_elsewhere_is_caught_here():
    """Code that was written for sockets, for asyncio, or for bad values goes on working."""
    assert issubclass(fastreq.ReadTimeout, TimeoutError)
    assert issubclass(fastreq.ReadError, OSError)
    assert issubclass(fastreq.DNSError, ConnectionError)
    assert issubclass(fastreq.InvalidURL, ValueError)


@each_row("name", ALL)
@each_row("duplicate", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_each_survives_a_pickle(name, duplicate):
    """With the request that it belongs to, and all that is known of it."""
    request = Client().build_request("PUT", "http://x/a b", headers={"A": "b"}, content=b"body")
    error = ALL[name]("what happened").at("body")
    error.request, error.elapsed, error.attempts = request, 1.5, 2
    twin = duplicate(error)

    assert type(error) is type(twin)
    assert "what happened" == str(twin)
    assert ("body", 1.5, 2) == (twin.phase, twin.elapsed, twin.attempts)
    assert repr(request) == repr(twin.request)
    assert request.url == twin.request.url
    assert request.headers == twin.request.headers
    assert b"body" == twin.request.content


AUTH = {
    "none": None,
    "basic": ("user", "SECRET"),
    "digest": fastreq.Digest("user", "SECRET"),
    "function": lambda request: request,
}


@pytest.mark.parametrize("auth", AUTH)
@pytest.mark.parametrize("whose", ["client", "request"])
async def test_an_error_survives_a_pickle_whatever_the_auth(auth, whose):
    """How a request was to be sent stays behind: it may be a password, or a function."""
    of_client = {"auth": AUTH[auth]} if whose == "client" else {}
    of_request = {"timeout": 9} if whose == "client" else {"auth": AUTH[auth]}

    async def handler(conn):
        head = await conn.read_request()
        if head.startswith(b"GET /a "):
            await conn.send(reply(b"", "Connection: close", status="418 X"))

    async with scripted(handler) as server, Client(**of_client) as client:
        with pytest.raises(fastreq.HTTPStatusError) as refused:
            response = await client.get(server.url("/a"), **of_request)
            response.raise_for_status()
        with pytest.raises(fastreq.ReadError) as broken:
            await client.get(server.url("/b"), **of_request)

    for error, path in ((refused.value, "/a"), (broken.value, "/b")):
        assert error.request.options is not None
        written = pickle.dumps(error)
        twin = pickle.loads(written)

        assert path == twin.request.url.path
        assert str(error) == str(twin)
        assert b"SECRET" not in written
        assert None is twin.request.options


def test_a_request_keeps_its_options():
    """In a copy, and in a pickle of its own: it is to be sent as it was built."""
    request = Client().build_request("PUT", "http://x/", content=iter([b"a"]), auth=("u", "p"))
    request.headers["A"] = "b"
    twin, sent = copy.copy(request), pickle.loads(pickle.dumps(request))
    twin.headers["A"] = "c"

    assert request.options is twin.options
    assert request.body is twin.body
    assert "b" == request.headers["A"]
    assert "<Basic user='u'>" == repr(sent.options.auth)


def test_a_status_error_keeps_its_response():
    with pytest.raises(fastreq.HTTPStatusError) as caught:
        Response(404, json={"a": 1}).raise_for_status()
    twin = pickle.loads(pickle.dumps(caught.value))

    assert 404 == twin.response.status
    assert {"a": 1} == twin.response.json()


def test_fields_of_an_error_that_has_not_happened():
    error = FastreqError()

    assert (None, "", 0.0, 0) == (error.request, error.phase, error.elapsed, error.attempts)
    assert error is error.at("tls")
    assert "tls" == error.phase


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, bytes.decode])
def test_quoted(kind):
    """Escaped, and cut: an error text carries no flood and no control (Go CVE-2026-42507)."""
    assert quoted(kind(b"a\r\n\x1b")).endswith("'a\\r\\n\\x1b'")
    assert not quoted(kind(b"x" * MAX_QUOTED)).endswith("...")
    assert quoted(kind(b"x" * (MAX_QUOTED + 1))).endswith("...")
    assert len(quoted(kind(b"x" * 10**6))) < MAX_QUOTED + 10


@given(st.binary() | st.text())
def test_quoted_is_one_printable_line(data):
    assert quoted(data).isprintable()


# ---- whose it is, and how far that had come

TEXTS = [
    # text, what it becomes
    ("broke", "broke (GET http://a.test/x?y=z, after 1.5 s)"),
    (
        "http://a.test (1.2.3.4 port 80) broke",
        "http://a.test (1.2.3.4 port 80) broke (after 1.5 s)",
    ),
    ("broke after 0.3 s", "broke after 0.3 s (GET http://a.test/x?y=z)"),
    ("http://a.test broke after 0.3 s", "http://a.test broke after 0.3 s"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_a_text_names_whom_and_how_long(text, expected):
    """Once, and only where it does not."""
    request = Client().build_request("GET", "http://user:secret@a.test/x?y=z")
    error = fastreq.ReadError(text)
    for _ in range(2):
        error.belongs_to(request, 2, 1.5)

    assert expected == str(error) == str(pickle.loads(pickle.dumps(error)))
    assert (request, 2, 1.5) == (error.request, error.attempts, error.elapsed)


def test_what_took_no_time_names_whom():
    request = Client().build_request("GET", "http://a.test/")
    for kind in (fastreq.BlockedAddress, fastreq.LocalProtocolError, fastreq.StreamConsumed):
        error = kind("it cannot be")
        error.belongs_to(request, 1, 0.0)
        assert "it cannot be (GET http://a.test/)" == str(error)


def test_a_long_url_is_cut():
    request = Client().build_request("GET", "http://a.test/" + "x" * 60_000)
    error = fastreq.ReadError("broke")
    error.belongs_to(request, 1, 0.0)
    assert len(str(error)) < 300


class OfTheirOwn(fastreq.ReadError):
    def __init__(self, code, text):
        super().__init__(text)
        self.args = (code, text)


def test_the_arguments_of_others_are_left_alone():
    request = Client().build_request("GET", "http://a.test/")
    error = OfTheirOwn(5, "broke")
    error.belongs_to(request, 1, 0.5)
    assert (5, "broke") == error.args
    assert error.request is request


GZIP = "Content-Encoding: gzip"
FAILURES = [
    # what a server sends, the error, its phase
    (b"", fastreq.ReadError, "head"),
    (b"nonsense\r\n", fastreq.RemoteProtocolError, "head"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", fastreq.RemoteProtocolError, "head"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", fastreq.IncompleteBody, "body"),
    (reply(b"zz\r\n", "Transfer-Encoding: chunked").replace(b"Content-Length: 4\r\n", b""),
     fastreq.RemoteProtocolError, "body"),
    (reply(b"no gzip", GZIP), fastreq.DecodingError, "body"),
    (reply(gzip.compress(bytes(1000))[:-4], GZIP), fastreq.DecodingError, "body"),
    (reply(gzip.compress(bytes(1001)), GZIP), fastreq.BodyTooLarge, "body"),
    (reply(bytes(1001)), fastreq.BodyTooLarge, None),  # as soon as it is announced, or later
]  # fmt: skip


@pytest.mark.parametrize(("response", "kind", "phase"), FAILURES, ids=range(len(FAILURES)))
@pytest.mark.parametrize("how", ["whole", "hooked", "streamed"])
async def test_what_fails_on_its_way_says_all(response, kind, phase, how):
    """Request, phase, elapsed seconds, attempts; wherever the error comes out. The text has whom
    and how long."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(response)

    hooks = Hooks(redirect=print) if how == "hooked" else None
    async with scripted(handler) as server, Client(hooks=hooks, max_body=1000) as client:
        with pytest.raises(kind) as caught:
            if how == "streamed":
                async with client.stream("GET", server.url("/x")) as streamed:
                    await streamed.aread()
            else:
                await client.get(server.url("/x"))
        error = caught.value

    assert kind is type(error)
    assert error.phase in ({phase} if phase else {"head", "body"})
    assert f"<Request GET {server.url('/x')}>" == repr(error.request)
    assert 1 == error.attempts
    assert error.elapsed > 0
    assert server.url("") in str(error)
    assert re.search(r"after \d+\.\d s", str(error))
    if error.__cause__ is None:  # which tblib, once dask has installed it, would pickle too
        assert str(error) == str(pickle.loads(pickle.dumps(error)))


async def test_what_is_told_of_a_connection():
    """Whose it was, its address, and whether it was used again."""
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"
    async with serving(reply(), broken) as server, Client() as client:
        await client.get(server.url())
        with pytest.raises(fastreq.RemoteProtocolError) as caught:
            await client.get(server.url())

    where = f"http://127.0.0.1:{server.port} (127.0.0.1 port {server.port}, a reused connection)"
    said = r": Content-Length b'-1' .* \(after \d\.\d s\)"
    assert re.fullmatch(re.escape(where) + said, str(caught.value))


async def test_what_a_proxy_spoiled_names_both():
    """Who answered nonsense, and what was asked for."""
    async with serving(b"\x05\xff") as server, Client(proxy=server.url("")) as client:
        with pytest.raises(fastreq.RemoteProtocolError) as caught:
            await client.get("http://origin.test/x")

    assert str(caught.value).startswith(f"proxy {server.url('')} (127.0.0.1 port {server.port}, a ")
    assert "not an HTTP/1 response: b'\\x05\\xff' (GET http://origin.test/x, " in str(caught.value)


async def test_an_address_that_is_not_allowed_is_one_of_connecting():
    async with Client(allow="public") as client:
        for url in ("http://127.0.0.1/", "http://localhost/", "https://localhost/"):
            with pytest.raises(fastreq.BlockedAddress) as caught:
                await client.get(url)
            assert "connect" == caught.value.phase
            assert url.rstrip("/") in str(caught.value)


async def test_what_cannot_be_decoded_says_whose_it_is():
    async with serving(reply(b"no gzip", "Content-Encoding: gzip")) as server, Client() as client:
        with pytest.raises(fastreq.DecodingError) as caught:
            await client.get(server.url())
        assert server.url() == str(caught.value.request.url)

        with pytest.raises(fastreq.DecodingError) as caught:
            async with client.stream("GET", server.url()) as response:
                async for _ in response.iter_bytes():
                    pass
        assert server.url() == str(caught.value.request.url)
