"""The servers of the tests do what they say."""

import asyncio
import gzip
import json
import ssl
from urllib.request import Request, urlopen

import pytest

from servers.require import missing_server
from servers.scripted import reply, scripted, serving

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def connect(server, tls=None):
    name = "localhost" if tls else None
    return await asyncio.open_connection("127.0.0.1", server.port, ssl=tls, server_hostname=name)


async def close(writer):
    writer.close()
    await writer.wait_closed()


async def test_answers_in_turn():
    """Each connection gets the responses in order, on keep-alive."""
    async with serving(reply(b"one"), reply(b"two")) as server:
        reader, writer = await connect(server)
        writer.write(GET + GET + GET)

        for body in b"one", b"two", b"one":
            assert reply(body) == await reader.readexactly(len(reply(body)))
        assert [GET] * 3 == server.requests
        assert 1 == server.connections
        await close(writer)


async def test_connection_close_ends_the_connection():
    async with serving(reply(b"bye", "Connection: close")) as server:
        reader, writer = await connect(server)
        writer.write(GET)

        assert (await reader.read()).endswith(b"bye")
        await close(writer)


@pytest.mark.parametrize(
    "request_",
    [
        b"PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n",
    ],
)
async def test_reads_whole_requests(request_):
    """A request is read to the end of its body, which stays as it was sent."""
    async with serving(reply()) as server:
        reader, writer = await connect(server)
        writer.write(request_ + GET)
        await reader.readexactly(2 * len(reply()))

        assert [request_, GET] == server.requests
        await close(writer)


async def test_reset():
    """What was sent before a reset still counts as sent; then the connection breaks."""

    async def handler(conn):
        await conn.read_request()
        await conn.reset()

    async with scripted(handler) as server:
        reader, writer = await connect(server)
        writer.write(GET)

        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()


async def test_half_close():
    """After a half close the server still reads."""
    received = []

    async def handler(conn):
        await conn.send(b"bye", step=1)
        await conn.half_close()
        received.append(await conn.wait_closed())

    async with scripted(handler) as server:
        reader, writer = await connect(server)
        assert b"bye" == await reader.read()
        writer.write(b"late")
        await close(writer)
        await asyncio.sleep(0.05)

    assert [b"late"] == received


async def test_failing_handler_fails_the_test():
    async def handler(conn):
        raise AssertionError("seen")

    with pytest.raises(AssertionError, match="seen"):
        async with scripted(handler) as server:
            reader, writer = await connect(server)
            assert b"" == await reader.read()
            await close(writer)


async def test_silent_clients_hold_nothing_up():
    """A handler that still waits when the test is over is cancelled."""

    async def handler(conn):
        await asyncio.sleep(3600)

    async with scripted(handler) as server:
        _, writer = await connect(server)
        await close(writer)


async def test_unix_socket(tmp_path):
    path = tmp_path / "socket"

    async def handler(conn):
        await conn.send(await conn.read_request())

    async with scripted(handler, path=path) as server:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(GET)
        assert GET == await reader.read()
        assert server.url("/x").startswith("http+unix://%2F")
        assert server.url("/x").endswith("socket/x")
        await close(writer)


async def test_a_client_that_refuses_the_certificate(certs):
    """A broken handshake is no connection, and nothing of it stays behind."""
    strict = ssl.create_default_context(cafile=certs.ca_file)

    async with serving(reply(), tls=certs.self_signed) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"):
            await connect(server, tls=strict)
        assert 0 == server.connections


@pytest.mark.parametrize("kind", ["wrong_name", "expired", "self_signed", "unknown_ca"])
async def test_bad_certificates_are_bad(certs, kind):
    strict = ssl.create_default_context(cafile=certs.ca_file)

    async with serving(reply(), tls=getattr(certs, kind)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server, tls=strict)


async def test_tls(certs):
    strict = ssl.create_default_context(cafile=certs.ca_file)

    async with serving(reply(b"x"), tls=certs.good) as server:
        reader, writer = await connect(server, tls=strict)
        writer.write(GET)
        assert reply(b"x") == await reader.readexactly(len(reply(b"x")))
        await close(writer)


async def test_client_certificate(certs):
    """A server can ask for the client's certificate, and tell what it got."""
    strict = ssl.create_default_context(cafile=certs.ca_file)
    strict.load_cert_chain(certs.client_file)
    seen = []

    async def handler(conn):
        await conn.read_request()
        seen.append(conn.tls.getpeercert()["subjectAltName"])
        await conn.send(reply())

    async with scripted(handler, tls=certs.demanding) as server:
        reader, writer = await connect(server, tls=strict)
        writer.write(GET)
        await reader.read()
        await close(writer)

    assert [(("email", "client@example.org"),)] == seen


@pytest.mark.parametrize("ending", ["half_close", "reset", "close"])
async def test_endings_under_tls(certs, ending):
    """A reset breaks the connection; a close, polite or cut short, ends it."""
    strict = ssl.create_default_context(cafile=certs.ca_file)

    async def handler(conn):
        await conn.read_request()
        await conn.send(b"bye")
        await getattr(conn, ending)()

    async with scripted(handler, tls=certs.good) as server:
        reader, writer = await connect(server, tls=strict)
        writer.write(GET)
        try:
            received = await reader.read()
        except ConnectionResetError:
            assert "reset" == ending
        else:
            assert b"bye" == received
        writer.transport.abort()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nginx_serves_its_files(nginx, scheme):
    tls = ssl.create_default_context(cafile=nginx.ca_file)

    for path, body in nginx.files.items():
        url = nginx.url(path, tls=scheme == "https")
        with urlopen(url, context=tls if scheme == "https" else None) as response:
            assert body == response.read()
            length = None if path in ("/chunked", "/until-close") else str(len(body))
            assert length == response.headers["Content-Length"]


def test_nginx_compresses_in_chunks(nginx):
    request = Request(nginx.url("/gzip.json"), headers={"Accept-Encoding": "gzip"})
    with urlopen(request) as response:
        assert nginx.files["/gzip.json"] == gzip.decompress(response.read())
        assert "chunked" == response.headers["Transfer-Encoding"]


def test_nginx_redirects(nginx):
    with urlopen(nginx.url("/redirect")) as response:
        assert nginx.url("/hello") == response.url
        assert 66 == len(nginx.files["/small.json"])


def test_nginx_stores_what_it_is_sent(nginx):
    request = Request(nginx.url("/dav/new"), data=b"kept", method="PUT")
    with urlopen(request) as response:
        assert 201 == response.status
    with urlopen(nginx.url("/dav/new")) as response:
        assert b"kept" == response.read()


def test_httpbin_echoes(httpbin):
    with urlopen(httpbin.url("/post"), data=b"a=1") as response:
        assert {"a": "1"} == json.load(response)["form"]


@pytest.mark.parametrize("server", ["nginx", "httpbin"])
def test_missing_servers_are_reported(monkeypatch, server):
    """What is missing skips its tests, and fails them where everything is said to be there."""
    monkeypatch.delenv("FASTREQ_REQUIRE_SERVERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=server):
        missing_server(f"{server} is not there")

    monkeypatch.setenv("FASTREQ_REQUIRE_SERVERS", "1")
    with pytest.raises(pytest.fail.Exception, match=server):
        missing_server(f"{server} is not there")
