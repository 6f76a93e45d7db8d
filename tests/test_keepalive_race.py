"""The keep-alive race: a reused connection dies under a request (TRUST, section 4, the rule).

It is sent once more, on a fresh connection, only if the connection had carried another request, no
byte of an answer came, the body can be sent again, and the request may be acted upon twice.
"""

import asyncio

import pytest
from servers.scripted import Connection, reply, scripted, serving

import fastreq

DEATHS = ["fin", "rst", "part of a status line"]


def dying(death: str, *, first: bool = False):
    """A server whose first connection dies under its second request, or under its first."""

    async def handler(conn: Connection) -> None:
        if conn.server.connections == 1:
            if not first:
                await conn.read_request()
                await conn.send(reply(b"one"))
            await conn.read_request()
            if death == "rst":
                await conn.reset()
            elif death != "fin":
                await conn.send(b"HTTP/1.1 20")
            return
        while True:
            await conn.read_request()
            await conn.send(reply(b"again"))

    return scripted(handler)


def times(server, method: str) -> int:
    """How often the server saw the request."""
    return sum(r.startswith(f"{method} /again".encode()) for r in server.requests)


@pytest.mark.parametrize("death", DEATHS[:2])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
async def test_idempotent_methods_are_sent_once_more(method, death):
    """The server sees them twice, the caller one answer."""
    async with dying(death) as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        response = await client.request(method, server.url("/again"))

        assert 200 == response.status
        assert 2 == times(server, method)
        assert 2 == server.connections


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("method", ["POST", "PATCH", "QUERY", "BREW"])
async def test_other_methods_are_not(method, death):
    """They may have been acted upon, so they are seen once (row 37)."""
    async with dying(death) as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        with pytest.raises(fastreq.TransportError):
            await client.request(method, server.url("/again"), content=b"x")

        assert 1 == times(server, method)


@pytest.mark.parametrize("death", DEATHS[:2])
async def test_an_idempotency_key_makes_it_repeatable(death):
    """The server has been told how to tell them apart."""
    async with dying(death) as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        headers = {"Idempotency-Key": "a1"}
        await client.post(server.url("/again"), content=b"x", headers=headers)

        assert 2 == times(server, "POST")


async def test_part_of_an_answer_is_an_answer():
    """Once a byte came, nothing is repeated."""
    async with dying(DEATHS[2]) as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        with pytest.raises(fastreq.RemoteProtocolError):
            await client.get(server.url("/again"))

        assert 1 == times(server, "GET")


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_fresh_connection_is_never_repeated(method, death):
    """There was no race: the server does not want it."""
    async with dying(death, first=True) as server, fastreq.Client() as client:
        with pytest.raises(fastreq.TransportError):
            await client.request(method, server.url("/again"))

        assert 1 == times(server, method) == server.connections


@pytest.mark.parametrize("death", DEATHS[:2])
async def test_a_stream_is_not_repeated(death):
    """What it gave is gone."""
    async with dying(death) as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        with pytest.raises(fastreq.NetworkError):
            await client.put(server.url("/again"), content=iter([b"x"]))

        assert 1 == times(server, "PUT")


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_body_of_bytes_is_sent_whole_again(size):
    """The second time it is all there, also where it goes in pieces."""
    body = bytes(range(250)) * (size // 250)
    async with dying("fin") as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        await client.put(server.url("/again"), content=body)

    assert server.requests[-1].endswith(b"\r\n\r\n" + body)


async def test_once_and_no_more():
    """A failed repetition is not repeated (row 38)."""

    async def always_dying(conn: Connection) -> None:
        if conn.server.connections == 1:
            await conn.read_request()
            await conn.send(reply(b"one"))
        await conn.read_request()

    async with scripted(always_dying) as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        with pytest.raises(fastreq.ReadError):
            await client.get(server.url("/again"))

        assert 2 == times(server, "GET")


async def test_a_connection_that_died_idle_is_not_tried():
    """What closed while idle is out of the pool, so a POST goes out on a new one, once."""

    async def closing(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(reply(b"again"))

    async with scripted(closing) as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        while client.stats().total.open:
            await asyncio.sleep(0)
        await client.post(server.url("/again"), content=b"x")

        assert 1 == times(server, "POST")


async def test_the_error_of_a_repeated_stream():
    """Streams of responses follow the same rule."""
    async with dying("fin") as server, fastreq.Client() as client:
        await client.get(server.url("/one"))
        async with client.stream("GET", server.url("/again")) as response:
            assert b"again" == await response.aread()

        assert 2 == times(server, "GET")


def test_idle_tls_that_is_gone_and_not_told(certs):
    """asyncio's TLS knows a turn before our protocol that its transport is gone."""

    async def main():
        async with serving(reply(b"hello"), tls=certs.good) as server:
            async with fastreq.Client(verify=certs.ca_file) as client:
                await client.get(server.url())
                (connection,) = client._engine.pool._idle
                connection.transport._ssl_protocol._transport.abort()
                await asyncio.sleep(0)
                response = await client.get(server.url())
        assert b"hello" == response.body

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())
