"""The tree of errors: its shape, what each carries, and that each survives a pickle."""

import copy
import inspect
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.scripted import reply, scripted, serving
from tables import each_row

import fastreq
from fastreq import Client, Response, errors
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


@pytest.mark.parametrize(
    ("response", "kind", "phase"),
    [
        (b"", fastreq.ReadError, "head"),
        (b"nonsense\r\n", fastreq.RemoteProtocolError, "head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", fastreq.IncompleteBody, "body"),
    ],
)
@pytest.mark.parametrize("how", ["whole", "streamed"])
async def test_what_fails_on_its_way_says_all(response, kind, phase, how):
    """Request, phase, elapsed seconds, attempts; wherever the error comes out."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(response)

    async with scripted(handler) as server, Client() as client:
        with pytest.raises(kind) as caught:
            if how == "whole":
                await client.get(server.url("/x"))
            else:
                async with client.stream("GET", server.url("/x")) as streamed:
                    await streamed.aread()
        error = caught.value

    assert kind is type(error)
    assert phase == error.phase
    assert f"<Request GET {server.url('/x')}>" == repr(error.request)
    assert 1 == error.attempts
    assert error.elapsed > 0
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


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
