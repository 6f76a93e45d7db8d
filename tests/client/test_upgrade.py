"""Connections that go on with another protocol: 101 and CONNECT (issue 3, 11; TRUST 20, 62)."""

import asyncio
import importlib.util
from pathlib import Path

import pytest
from servers.proxies import relaying
from servers.received import received
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import Client, LocalProtocolError, ReadTimeout, RemoteProtocolError, Timeout
from fastreq.protocol import HTTPProtocol

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"


class Receiver(asyncio.Protocol):
    """What takes a transport over, in these tests."""

    def __init__(self):
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()
        self.more = asyncio.Event()

    def data_received(self, data):
        self.data += data
        self.more.set()

    def connection_lost(self, exc):
        self.lost.set_result(exc)

    async def until(self, expected):
        async with asyncio.timeout(5):
            while self.data != expected:
                assert expected.startswith(self.data)
                self.more.clear()
                await self.more.wait()


async def echoing(conn):
    """Switch, speak first, and then give back what comes."""
    await conn.read_request()
    await conn.send(SWITCH + b"welcome ")
    while data := await conn.reader.read(65536):
        await conn.send(data)


async def take_over(transport, received):
    receiver = Receiver()
    transport.set_protocol(receiver)
    if received:
        receiver.data_received(received)
    transport.resume_reading()
    return receiver


# ---- 101


async def test_the_transport_is_handed_over(wire):
    """With what has come behind the head; nobody else reads it, closes it, or counts it."""
    async with scripted(echoing, tls=wire.tls) as server, wire.client() as client:
        response, transport, received_already = await client.upgrade(server.url("/x"), "echo")
        assert (101, "echo") == (response.status, response.headers["Upgrade"])
        assert ("GET", "/x") == (received(server).method, received(server).target)
        assert "Upgrade" == received(server).get("connection")
        assert "echo" == received(server).get("upgrade")
        assert 0 == client.stats().total.open, "it is the client's no more"

        receiver = await take_over(transport, received_already)
        await receiver.until(b"welcome ")
        transport.write(b"x" * 100_000)
        await receiver.until(b"welcome " + b"x" * 100_000)
        await client.aclose()
        transport.write(b"still there")
        await receiver.until(b"welcome " + b"x" * 100_000 + b"still there")
        transport.close()
        assert await receiver.lost is None


@pytest.mark.parametrize("step", [1, None])
async def test_what_comes_behind_the_head_is_not_lost(step):
    """However it is cut."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(SWITCH + b"0123456789" * 100, step=step)
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        _, transport, received_already = await client.upgrade(server.url("/"), "echo")
        receiver = await take_over(transport, received_already)
        await receiver.until(b"0123456789" * 100)
        transport.abort()
        await receiver.lost


async def test_nothing_is_read_before_somebody_takes_over():
    """The transport is paused, so that no byte goes to a protocol that does not want it."""
    ready = asyncio.Event()

    async def handler(conn):
        await conn.read_request()
        await conn.send(SWITCH)
        await ready.wait()
        await conn.send(b"late")
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        _, transport, received_already = await client.upgrade(server.url("/"), "echo")
        ready.set()
        await asyncio.sleep(0.05)
        assert b"" == received_already
        receiver = await take_over(transport, received_already)
        await receiver.until(b"late")
        transport.abort()
        await receiver.lost


async def test_a_stream_can_switch_too(wire):
    """For those who want a method or fields of their own."""
    async with scripted(echoing, tls=wire.tls) as server, wire.client() as client:
        headers = {"Connection": "Upgrade", "Upgrade": "echo"}
        async with client.stream("OPTIONS", server.url("/"), headers=headers) as response:
            transport, received_already = response.take_transport()
            assert (None, b"") == (response.take_transport()[0], b""), "it is taken once"
        receiver = await take_over(transport, received_already)
        await receiver.until(b"welcome ")
        transport.close()
        await receiver.lost


async def test_a_transport_that_nobody_takes_is_closed():
    async with scripted(echoing) as server, Client() as client:
        headers = {"Connection": "Upgrade", "Upgrade": "echo"}
        async with client.stream("GET", server.url("/"), headers=headers) as response:
            assert 101 == response.status
        await asyncio.sleep(0.01)

        assert 0 == client.stats().total.open


async def test_who_is_cancelled_as_the_server_switches_leaves_no_connection(wire, monkeypatch):
    """In the very turn in which it was handed over."""
    hand_over = HTTPProtocol._hand_over

    def hand_over_too_late(connection, exchange, received):
        hand_over(connection, exchange, received)
        asking.cancel()

    async def handler(conn):
        try:
            await echoing(conn)
        finally:
            ended.set()

    monkeypatch.setattr(HTTPProtocol, "_hand_over", hand_over_too_late)
    ended = asyncio.Event()
    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        asking = asyncio.create_task(client.upgrade(server.url("/"), "echo"))
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            await ended.wait()


class Slow:
    """A limiter that takes its time to be left."""

    def __init__(self):
        self.is_left = asyncio.Event()

    async def __aenter__(self):
        pass

    async def __aexit__(self, *exc):
        self.is_left.set()
        await asyncio.sleep(60)


async def test_who_is_cancelled_as_a_limiter_is_left_leaves_no_connection():
    """The server has switched, and nobody else knows of the transport."""

    async def handler(conn):
        try:
            await echoing(conn)
        finally:
            ended.set()

    ended, limiter = asyncio.Event(), Slow()
    policy = fastreq.Policy(limiter=limiter)
    async with scripted(handler) as server, Client(policy=policy) as client:
        asking = asyncio.create_task(client.upgrade(server.url("/"), "echo"))
        async with asyncio.timeout(5):
            await limiter.is_left.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await ended.wait()


async def test_the_deadlines_of_the_request_are_over():
    async with scripted(echoing) as server, Client(timeout=Timeout(read=0.1, total=0.2)) as client:
        _, transport, received_already = await client.upgrade(server.url("/"), "echo")
        receiver = await take_over(transport, received_already)
        await asyncio.sleep(0.3)
        transport.write(b"still")
        await receiver.until(b"welcome still")
        transport.close()
        await receiver.lost


async def test_a_server_that_does_not_switch(wire):
    """It is an error that says what came instead, and the connection is given back or closed."""
    answer = reply(b"no", "Upgrade: h2c", status="426 Upgrade Required")
    async with serving(answer, tls=wire.tls) as server, wire.client() as client:
        with pytest.raises(RemoteProtocolError, match=r"did not switch to echo: .*426 Upgrade"):
            await client.upgrade(server.url("/"), "echo")

        assert 0 == client.stats().total.leased


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("", ""),
        ("Upgrade:\r\n", ""),
        ("Upgrade: h2c\r\n", "h2c"),
        ("Upgrade: echo, h2c\r\n", "h2c"),
    ],
)
async def test_a_server_that_switches_to_what_was_not_asked_for(wire, fields, said):
    """Nobody could talk to it (RFC 9110, section 7.8)."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(f"HTTP/1.1 101 X\r\nConnection: Upgrade\r\n{fields}\r\n".encode())
        conn.server.ended = await conn.wait_closed()

    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        with pytest.raises(RemoteProtocolError, match=rf"did not switch to echo: .*101 X.*{said}"):
            await client.upgrade(server.url("/"), "echo")

        assert 0 == client.stats().total.open
        async with asyncio.timeout(2):
            while not hasattr(server, "ended"):
                await asyncio.sleep(0)
        assert b"" == server.ended


@pytest.mark.parametrize("named", ["ECHO", "echo, other/1.0", "other/1.0,,echo"])
async def test_of_several_protocols_the_server_takes_those_it_knows(named):
    """In whatever case it writes them."""
    async with scripted(echoing) as server, Client() as client:
        _, transport, _ = await client.upgrade(server.url("/"), named)
        transport.abort()


@pytest.mark.parametrize("named", ["", " ", ",", "a b", "a/b/c", "echo;q=1"])
async def test_what_is_no_name_of_a_protocol_is_not_sent(named):
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError, match="expected the name of a protocol"):
            await client.upgrade(server.url("/"), named)
        assert 0 == server.connections


async def test_the_error_of_a_refusal_has_all_that_errors_have():
    answer = reply(b"no", status="403 For\x85bidden")
    async with serving(answer) as server, Client() as client:
        with pytest.raises(RemoteProtocolError) as caught:
            await client.upgrade(server.url("/x"), "echo")

    error = caught.value
    assert server.url("/x") == str(error.request.url)
    assert ("head", 1, True) == (error.phase, error.attempts, error.elapsed > 0)
    assert "\x85" not in str(error)


async def test_a_server_that_never_answers():
    async def handler(conn):
        await conn.read_request()
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        with pytest.raises(ReadTimeout):
            await client.upgrade(server.url("/"), "echo", timeout=Timeout(read=0.05))

        assert 0 == client.stats().total.open


async def test_62_a_buffered_request_cannot_be_followed():
    """TRUST 62: it says who can."""
    async with serving(SWITCH) as server, Client() as client:
        with pytest.raises(RemoteProtocolError, match=r"client\.upgrade\(\) asks for one"):
            await client.get(server.url("/"), headers={"Connection": "Upgrade", "Upgrade": "echo"})


@pytest.mark.parametrize("stream", [False, True])
async def test_62_nobody_switches_who_was_not_asked(stream):
    """TRUST 62."""
    async with serving(SWITCH) as server, Client() as client:
        with pytest.raises(RemoteProtocolError, match="no Upgrade was asked for"):
            await client.send(client.build_request("GET", server.url("/")), stream=stream)

        assert 0 == client.stats().total.open


@pytest.mark.parametrize("size", [1, 100_000])
async def test_62_a_request_with_a_body_does_not_switch(size):
    """However large: to what was meant for the one protocol, the other begins."""
    async with serving(SWITCH) as server, Client() as client:
        fields = {"Connection": "Upgrade", "Upgrade": "echo"}
        request = client.build_request("POST", server.url("/"), content=b"x" * size, headers=fields)
        with pytest.raises(RemoteProtocolError, match="no Upgrade was asked for"):
            await client.send(request, stream=True)


async def test_1a_the_protocol_is_a_field_value():
    """TRUST 1a, upgrade header."""
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError):
            await client.upgrade(server.url("/"), "echo\r\nX-Evil: 1")
        assert 0 == server.connections


# ---- WebSocket, with `websockets` on both sides


@pytest.fixture(scope="module")
def example():
    """examples/websocket.py."""
    pytest.importorskip("websockets")
    path = Path(__file__).parents[2] / "examples" / "websocket.py"
    spec = importlib.util.spec_from_file_location("example_websocket", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def served(wire, handler, **options):
    from websockets.asyncio.server import serve

    return serve(handler, "127.0.0.1", 0, ssl=wire.tls, **options)


def url_of(server, wire):
    port = next(iter(server.sockets)).getsockname()[1]
    return f"ws{'s' if wire.tls else ''}://127.0.0.1:{port}/chat?room=1"


async def test_websocket_against_a_real_server(wire, example):
    """Messages of all sizes, compressed as `websockets` does by itself, and a polite end."""
    seen = []

    async def handler(socket):
        seen.append((socket.request.path, socket.request.headers.get("Cookie")))
        await socket.send("welcome")
        async for message in socket:
            await socket.send(message)

    async with served(wire, handler) as server, wire.client(cookies={"a": "b"}) as client:
        socket = await example.connect(client, url_of(server, wire))
        assert "welcome" == await socket.receive()
        for message in ("", "hello", "ünïcode", "x" * 500_000, *map(str, range(100))):
            await socket.send(message)
            assert message == await socket.receive()
        await socket.close()

        assert [("/chat?room=1", "a=b")] == seen


async def test_websocket_that_the_server_closes(wire, example):
    async def handler(socket):
        await socket.ping()
        await socket.send("bye")
        await socket.close(1001)

    async with served(wire, handler) as server, wire.client() as client:
        socket = await example.connect(client, url_of(server, wire))
        assert "bye" == await socket.receive()
        assert await socket.receive() is None
        assert 1001 == socket._frames.close_code


async def test_websocket_that_is_refused(wire, example):
    """As by a server that wants another origin: the answer is in the error."""

    async def handler(socket):
        pytest.fail("it was let in")

    async with (
        served(wire, handler, origins=["https://example.com"]) as server,
        wire.client() as client,
    ):
        with pytest.raises(RemoteProtocolError, match="403 Forbidden"):
            await example.connect(client, url_of(server, wire))


async def test_websocket_with_auth_and_redirects(example):
    """What holds for any request holds for the handshake."""
    from websockets.asyncio.server import basic_auth, serve

    async def handler(socket):
        await socket.send(f"hello {socket.username}")

    check = basic_auth(realm="x", credentials=("me", "secret"))
    async with serve(handler, "127.0.0.1", 0, process_request=check) as server:
        url = url_of(server, type("Plain", (), {"tls": None}))
        location = f"Location: {url.replace('ws', 'http', 1)}"
        async with Client(auth=("me", "secret")) as client:
            socket = await example.connect(client, url)
            assert "hello me" == await socket.receive()
            await socket.close()

        moved = reply(b"", location, status="307 Temporary Redirect")
        async with serving(moved) as front, Client() as client:
            with pytest.raises(RemoteProtocolError, match="401 Unauthorized"):
                await example.connect(client, front.url("/").replace("http", "ws", 1))


# ---- CONNECT


async def test_20_connect_opens_a_tunnel():
    """TRUST 9, 20: host and port, always both; what a 2xx says of a body counts for nothing."""

    async def echo(conn):
        while data := await conn.reader.read(1000):
            await conn.send(data)

    said = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with (
        scripted(echo) as target,
        relaying(established=said) as proxy,
        Client(proxy=proxy.url()) as client,
    ):
        async with client.stream("CONNECT", target.url("/")) as response:
            transport, received_already = response.take_transport()
        assert f"CONNECT 127.0.0.1:{target.port} HTTP/1.1".encode() in proxy.heads[0]
        assert f"\r\nHost: 127.0.0.1:{target.port}\r\n".encode() in proxy.heads[0]

        receiver = await take_over(transport, received_already)
        transport.write(b"through the tunnel")
        await receiver.until(b"through the tunnel")
        transport.close()
        await receiver.lost


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://127.0.0.1:{port}/", b"127.0.0.1:{port}"),
        ("http://127.0.0.1:{port}", b"127.0.0.1:{port}"),
    ],
)
async def test_9_a_tunnel_is_asked_of_the_host_itself(url, authority):
    """Where there is no proxy, the host is taken for one."""

    async def handler(conn):
        head = await conn.read_head()
        conn.server.requests.append(head)
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\nfirst words")
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        url = url.format(port=server.port)
        async with client.stream("CONNECT", url) as response:
            transport, received_already = response.take_transport()
        expected = authority.replace(b"{port}", str(server.port).encode())
        assert server.requests[0].startswith(b"CONNECT " + expected + b" HTTP/1.1\r\n")
        receiver = await take_over(transport, received_already)
        await receiver.until(b"first words")
        transport.abort()
        await receiver.lost


async def test_9_the_port_is_always_there():
    """TRUST 9: also where it is the default one of the scheme."""
    from fastreq.http1.request import encode_head

    client = Client()
    for url, line in [
        ("http://host", b"CONNECT host:80 HTTP/1.1\r\nHost: host:80\r\n"),
        ("http://host:443", b"CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n"),
        ("http://[::1]:22", b"CONNECT [::1]:22 HTTP/1.1\r\nHost: [::1]:22\r\n"),
    ]:
        assert encode_head(client.build_request("CONNECT", url)).startswith(line)
    for url in ("http://host/path", "http://host/?query"):
        with pytest.raises(LocalProtocolError, match="CONNECT leads to host:port"):
            encode_head(client.build_request("CONNECT", url))


async def test_a_tunnel_that_nobody_takes_is_no_connection_to_use_again():
    """What comes next on it would be somebody else's."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        response = await client.request("CONNECT", server.url("/"))
        assert 200 == response.status
        assert 0 == client.stats().total.open


async def test_a_tunnel_that_is_refused():
    """The answer is the proxy's, with its body, and is handed out as any other."""
    async with serving(reply(b"not there", status="403 Forbidden")) as server, Client() as client:
        async with client.stream("CONNECT", server.url("/")) as response:
            assert (403, b"not there") == (response.status, await response.aread())
            assert response.take_transport()[0] is None
        with pytest.raises(fastreq.HTTPStatusError):
            (await client.request("CONNECT", server.url("/"))).raise_for_status()
