"""Proxies that misbehave, are slow, or are not there (TRUST C17; 2, number 20)."""

import asyncio
import contextlib
import socket

import pytest
from servers.proxies import Relay, relaying
from servers.scripted import reply, scripted, serving
from servers.secrets import Secret

import fastreq
from fastreq import (
    Client,
    ConnectError,
    ConnectTimeout,
    ProxyError,
    Retry,
    Timeout,
    TLSError,
    TotalTimeout,
)
from fastreq.resolve import Address, Resolver

HELLO = reply(b"hello")


def answering(answer, then="wait_closed", step=None):
    """A proxy that answers each first request so."""

    async def misbehave(conn):
        await conn.read_head()
        await conn.send(answer, step=step)
        await getattr(conn, then)()

    return misbehave


BODY = b"Content-Length: 8\r\n\r\nTHE-BODY"
MISBEHAVIOUR = {
    "407": b"HTTP/1.1 407 Who are you?\r\nProxy-Authenticate: Basic\r\n" + BODY,
    "3xx": b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\n" + BODY,
    "401": b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\nTHE-BODY",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nTHE-BODY",
    "503": b"HTTP/1.1 503 Down\r\nRetry-After: 1\r\n\r\nTHE-BODY",
    "200 and bytes": b"HTTP/1.1 200 OK\r\n\r\nTHE-BODY",
    "200 and a body": b"HTTP/1.1 200 OK\r\n" + BODY,
    "200 and a response": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n" + BODY,
    "200 and a TLS record": b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03\x00\x02THE-BODY",
    "1xx flood": b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
    "huge head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000,
    "huge status line": b"HTTP/1.1 200 " + b"x" * 10_000_000,
    "huge 407": b"HTTP/1.1 407 Who?\r\nContent-Length: 10000000\r\n\r\n" + b"THE-BODY" * 1_250_000,
    "no HTTP": b"220 mail.test ESMTP\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "part of a head": b"HTTP/1.1 200 OK\r\nX: THE-BODY",
    "nothing": b"",
}
ENDLESS = {"part of a head", "nothing"}


@pytest.mark.parametrize("in_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("step", [None, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("then", ["wait_closed", "close", "reset", "half_close"])
@pytest.mark.parametrize("what", MISBEHAVIOUR)
async def test_misbehaviour(what, then, step, in_tls, certs):
    """A typed error, at once; nothing of what the proxy says is shown as the origin's."""
    answer = MISBEHAVIOUR[what]
    if what in ENDLESS and then == "wait_closed":
        pytest.skip("that is a matter of time")
    if step and len(answer) > 10_000:
        answer, step = answer[:20_000], 100
    tls = certs.good if in_tls else None
    async with (
        scripted(answering(answer, then, step), tls=tls) as proxy,
        Client(proxy=proxy.url(""), verify=certs.ca_file) as client,
    ):
        began = asyncio.get_running_loop().time()
        # Bytes that come later than the head are in the middle of a handshake.
        expected = (ProxyError, TLSError) if "200 and" in what and step else ProxyError
        with pytest.raises(expected) as caught:
            await client.get("https://origin.test/")
        assert asyncio.get_running_loop().time() - began < 5
        assert 0 == client.stats().total.open

    error = caught.value
    assert f"proxy {proxy.url('')}" in str(error)
    assert "evil" not in str(error)
    assert "BODY" not in str(error) or "before it was asked" in str(error) or ENDLESS & {what}
    assert len(str(error)) < 500
    if what[:3].isdigit() and "200" not in what and then != "reset":
        assert int(what[:3]) == error.status
    if then == "wait_closed" and type(error) is ProxyError:
        assert isinstance(error.__cause__, (fastreq.RemoteProtocolError, type(None)))


@pytest.mark.parametrize(
    "answers",
    [
        [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6) + b"early"],
        [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6) + HELLO],
        [b"\x05\x00\x05\x00\x00\x01" + bytes(6)],
        [b"\x05\xff"],
        [b"\x05\x02"],
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [b"\x05\x00", b"\x05\x00\x00\x03\xff" + bytes(100)],
        [b"\x05\x00", b""],
        [b"\x05"],
        [b""],
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_misbehaviour_in_socks(answers, then):
    async def misbehave(conn):
        for answer in answers:
            await conn.reader.read(100)
            await conn.send(answer)
        await getattr(conn, then)()

    async with scripted(misbehave) as proxy:
        url = f"socks5h://127.0.0.1:{proxy.port}"
        async with Client(proxy=url) as client:
            with pytest.raises(ProxyError, match=f"^proxy {url} "):
                await client.get("http://origin.test/")
            assert 0 == client.stats().total.open


@pytest.mark.parametrize("first", [HELLO, HELLO + HELLO, b"\x05\x00\x05\x00", b"220 ready\r\n"])
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_speaks_first(first, scheme):
    async def speak(conn):
        await conn.send(first)
        await conn.wait_closed()

    async with (
        scripted(speak) as proxy,
        Client(proxy=f"{scheme}://127.0.0.1:{proxy.port}", timeout=3) as client,
    ):
        with pytest.raises((ProxyError, TLSError)):
            await client.get("https://origin.test/")


@pytest.mark.parametrize("in_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
async def test_a_tunnel_that_breaks(how, in_tls, certs):
    """In the handshake with the origin, and in the middle of an exchange."""

    async def breaking(conn):
        await conn.read_head()
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await conn.reader.read(10)
        await getattr(conn, how)()
        await conn.wait_closed()

    tls = certs.good if in_tls else None
    async with (
        scripted(breaking, tls=tls) as proxy,
        Client(proxy=proxy.url(""), verify=certs.ca_file) as client,
    ):
        with pytest.raises(TLSError, match=r"^https://origin.test through proxy http"):
            await client.get("https://origin.test/")

    async def vanish(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await conn.reset()

    async with (
        scripted(vanish, tls=certs.good) as server,
        relaying(tls=tls) as proxy,
        Client(proxy=proxy.url(), verify=certs.ca_file) as client,
    ):
        with pytest.raises((fastreq.ReadError, fastreq.IncompleteBody)):
            await client.get(server.url())
        assert 0 == client.stats().total.open


async def test_a_proxy_that_is_not_there(unused_port):
    secret = Secret()
    for scheme in ("http", "https", "socks5", "socks5h"):
        url = f"{scheme}://{secret.user}:{secret.password}@127.0.0.1:{unused_port}"
        async with Client(proxy=url) as client:
            for target in ("http://127.0.0.1:1/", "https://127.0.0.1:1/"):
                with pytest.raises(ConnectError) as caught:
                    await client.get(target)
                said, _, of_whom = str(caught.value).partition(" (GET ")
                assert said == (
                    f"cannot connect to proxy {scheme}://127.0.0.1:{unused_port} "
                    "(127.0.0.1: connection refused: nothing listens there)"
                )
                assert of_whom.startswith(f"{target}, after ")


async def test_a_proxy_without_an_address(monkeypatch):
    def fail(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    async with Client(proxy="http://user:secret@proxy.test:3128") as client:
        with pytest.raises(fastreq.DNSError, match=r"'proxy.test'"):
            await client.get("https://127.0.0.1/")


async def test_a_tunnel_without_regard_to_framing(two_certs):
    """TRUST 2, number 20: what a 2xx to CONNECT says of its length is not listened to."""
    established = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(HELLO, tls=two_certs.origin) as server:
        names = {"origin.test:443": server.port}
        async with (
            relaying(names, established=established) as proxy,
            Client(proxy=proxy.url(), verify=two_certs.ca_file) as client,
        ):
            assert b"hello" == (await client.get("https://origin.test/")).body


# ---- time, and cancelling


async def silent(conn):
    await conn.wait_closed()


@pytest.mark.parametrize(
    ("scheme", "greeting"), [("http", b""), ("http", b"HTTP/1.1 2"), ("socks5h", b"\x05")]
)
@pytest.mark.parametrize(
    ("timeout", "error"), [(Timeout(connect=0.1), ConnectTimeout), (0.1, TotalTimeout)]
)
async def test_time(scheme, greeting, timeout, error):
    async def slow(conn):
        await conn.reader.read(100)
        await conn.send(greeting)
        await conn.wait_closed()

    async with scripted(slow) as proxy:
        url = f"{scheme}://user:secret@127.0.0.1:{proxy.port}"
        async with Client(proxy=url, timeout=timeout) as client:
            with pytest.raises(error) as caught:
                await client.get("https://origin.test/")
    text = str(caught.value)
    assert f"no connection to https://origin.test through proxy {scheme}://127.0.0.1:" in text
    assert "in the handshake with the proxy" in text
    assert "secret" not in text
    assert "proxy" == caught.value.phase


async def test_time_for_tls_to_a_proxy():
    async with scripted(silent) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        async with Client(proxy=url, timeout=Timeout(connect=0.1)) as client:
            with pytest.raises(ConnectTimeout, match="in the TLS handshake") as caught:
                await client.get("https://origin.test/")
    assert "tls" == caught.value.phase


@pytest.mark.parametrize("way", ["tls in tls", "tls in http", "http in tls", "socks"])
async def test_cancel_at_every_step(way, certs, request):
    """Wherever it strikes, nothing is left; and the next request is as good as ever."""
    tls = certs.good if way.startswith("tls") else None
    async with serving(HELLO, tls=tls) as server, contextlib.AsyncExitStack() as stack:
        if way == "socks":
            proxy = await stack.enter_async_context(scripted(socks_to(server.port)))
            url = f"socks5://user:pass@127.0.0.1:{proxy.port}"
        else:
            relay = relaying(tls=certs.good if way.endswith("tls") else None)
            url = (await stack.enter_async_context(relay)).url()
        async with Client(proxy=url, verify=certs.ca_file) as client:
            steps = 0
            while await cancelled_after(steps, client, server.url()):
                assert 0 == client.stats().total.open
                while server._tasks:  # until each connection is gone, and its handler with it
                    await asyncio.sleep(0)
                steps += 1
            assert steps > 10


async def cancelled_after(steps, client, url):
    """Cancel a request on a new connection after so many turns of the loop, if it lasts so long."""
    task = asyncio.create_task(client.get(url, headers={"Connection": "close"}))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        assert b"hello" == task.result().body
    return task.cancelled()


def socks_to(port, passwords=(b"\x01\x04user\x04pass",)):
    """A SOCKS proxy that asks for a password, and leads to a port of this machine."""

    async def serve(conn):
        version, count = await conn.reader.readexactly(2)
        methods = await conn.reader.readexactly(count)
        assert version == 5
        await conn.send(b"\x05\x02")
        assert 2 in methods
        assert await conn.reader.readexactly(len(passwords[0])) in passwords
        await conn.send(b"\x01\x00")
        conn.server.requests.append(await conn.reader.read(300))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await conn.send(b"\x05\x00\x00\x01" + bytes(6))
        relay = Relay({}, None, b"")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(relay._pump(conn.reader, writer, bytearray()))
                group.create_task(relay._pump(reader, conn.writer, bytearray()))
        finally:
            writer.transport.abort()

    return serve


# ---- what is tried again


async def test_socks_takes_the_next_address(unused_port, monkeypatch):
    """An address that the proxy cannot reach is not the last word."""

    async def resolve(self, host, port):
        families = [(socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "127.0.0.1")]
        return [Address(*family) for family in families]

    tried = []

    async def picky(conn):
        await conn.reader.readexactly(3)
        await conn.send(b"\x05\x00")
        request = await conn.reader.readexactly(4)
        tried.append(request[3])
        if request[3] == 4:
            await conn.send(b"\x05\x08\x00\x01" + bytes(6))
            await conn.wait_closed()
            return
        await conn.reader.readexactly(6)
        await conn.send(b"\x05\x00\x00\x01" + bytes(6))
        await conn.read_request()
        await conn.send(HELLO)

    monkeypatch.setattr(Resolver, "resolve", resolve)
    async with scripted(picky) as proxy, Client(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
        assert b"hello" == (await client.get("http://origin.test/")).body
    assert [4, 1] == tried


@pytest.mark.parametrize(
    ("answer", "then", "tries"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "close", 3),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "close", 3),
        (b"", "close", 3),
        (b"", "reset", 3),
        (b"HTTP/1.1 2", "close", 3),
        (b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n", "close", 1),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "close", 1),
        (b"nonsense\r\n", "close", 1),
    ],
)
async def test_retries(answer, then, tries):
    """Nothing was sent to the origin, so even a POST may be tried again, where that can help."""
    async with (
        scripted(answering(answer, then)) as proxy,
        Client(proxy=proxy.url(""), retry=Retry(2, backoff=0)) as client,
    ):
        with pytest.raises(ProxyError) as caught:
            await client.post("https://origin.test/", content=b"x")
    assert tries == caught.value.attempts == proxy.connections


async def test_it_works_when_it_is_tried_again(two_certs):
    async with serving(HELLO, tls=two_certs.origin) as server:
        relay = Relay({"origin.test:443": server.port}, None, b"HTTP/1.1 200 OK\r\n\r\n")

        async def busy_at_first(conn):
            if conn.server.connections == 1:
                await conn.read_head()
                await conn.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            else:
                await relay.handle(conn)

        async with (
            scripted(busy_at_first) as proxy,
            Client(proxy=proxy.url(""), verify=two_certs.ca_file, retry=1) as client,
        ):
            response = await client.post("https://origin.test/", content=b"x")
    assert (200, 2) == (response.status, response.attempts)


async def test_closing_while_a_tunnel_is_made():
    async with scripted(silent) as proxy:
        client = Client(proxy=proxy.url(""), timeout=Timeout(connect=0.3))
        task = asyncio.create_task(client.get("https://origin.test/"))
        while not proxy.connections:
            await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(fastreq.FastreqError):
            await task
