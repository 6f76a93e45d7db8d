"""The life of a client: made without a loop, used on one after the other, closed; and its pool."""

import asyncio
import contextlib
import socket
import ssl
import threading
from asyncio import Runner

import pytest
from fakes import turns
from servers.scripted import Connection, parse_fields, reply, scripted, serving
from tables import each_row

import fastreq
from fastreq import Client, ClientClosed, Cookies, Limits, StreamClient, Timeout
from fastreq.building import REQUEST_OPTIONS
from fastreq.connect import Connector
from fastreq.routing import Routes
from fastreq.testing import Server
from fastreq.url import URL


async def silent(conn: Connection) -> None:
    """Take requests, and answer none."""
    while True:
        await conn.read_request()


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0)


# ---- made, used, closed


def test_made_without_a_loop():
    """And nothing is opened by that."""
    client = Client()

    assert not client.is_closed
    assert {} == client.stats()
    assert "<Client open>" == repr(client)


# ---- what may be changed of one


async def test_other_cookies():
    """A jar that is put in the place of the old one, as at a log-out, is the one that counts."""
    setting = reply(b"", "Set-Cookie: new=2")
    async with serving(setting) as server, Client(cookies={"old": "1"}) as client:
        old, client.cookies = client.cookies, Cookies()
        await client.get(server.url("/1"))
        await client.get(server.url("/2"))
        client.cookies = {"other": "3"}
        await client.get(server.url("/3"))
        sent = [parse_fields(request).get("cookie") for request in server.requests]

    assert [None, "new=2", "other=3"] == sent
    assert {"old": "1"} == dict(old)
    assert isinstance(client.cookies, Cookies)


@pytest.mark.parametrize("how", ["assigned", "joined", "added"])
async def test_other_sensitive_headers(how):
    """They stay with their origin from then on."""
    async with serving(reply()) as other:
        leading = reply(b"", f"Location: {other.url('/')}", status="302 X")
        async with serving(leading) as server, Client(headers={"X-Tenant": "secret"}) as client:
            if how == "assigned":
                client.sensitive_headers = ["X-Tenant"]
            elif how == "joined":
                client.sensitive_headers |= {"X-Tenant"}
            else:
                client.sensitive_headers.add("X-Tenant")
            await client.get(server.url("/"))

        assert b"X-Tenant: secret" in server.requests[0]
        assert b"secret" not in other.requests[0]
        with pytest.raises(TypeError, match="sensitive_headers="):
            client.sensitive_headers = "X-Tenant"


SETTLED = sorted(set(Client.__init__.__kwdefaults__) - {"headers", "cookies", "sensitive_headers"})


@each_row("name", SETTLED)
@each_row("kind", [Client, StreamClient])
def test_what_is_settled_when_a_client_is_made(name, kind):
    """An assignment that has no effect would be believed."""
    with pytest.raises(AttributeError) as caught:
        setattr(kind(), name, None)

    text = f"{name} is settled when a client is made; make another with {kind.__name__}({name}=...)"
    assert str(caught.value).startswith(text)
    each = f"or say {name}= with each request"
    assert (name in REQUEST_OPTIONS) is str(caught.value).endswith(each)


def test_a_subclass_has_attributes_of_its_own():
    class Mine(Client):
        def __init__(self):
            super().__init__()
            self.tenant = "a"

    assert "a" == Mine().tenant


async def test_closed_at_the_end_of_the_block():
    """The block ends when the server's end of each connection has ended."""
    ends = []

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(reply(b"hello"))
        ends.append(await conn.wait_closed())

    async with scripted(handler) as server:
        async with Client() as client:
            assert b"hello" == (await client.get(server.url())).body
            assert 1 == client.stats()[server.url("")].idle
        assert client.is_closed
        assert set() == client._engine._connections
        assert {} == client.stats()
        await until(lambda: ends)

    assert [b""] == ends
    assert "Client closed" in repr(client)


async def test_a_closed_client_says_so():
    client = Client()
    await client.aclose()
    await client.aclose()

    with pytest.raises(ClientClosed, match="was closed"):
        await client.get("http://127.0.0.1:1/")
    with pytest.raises(ClientClosed, match="make another"):
        async with client:
            pass


async def test_closed_twice_at_once():
    async with serving(reply(b"hello")) as server:
        client = Client()
        await client.get(server.url())
        await asyncio.gather(client.aclose(), client.aclose())

        assert {} == client.stats()


@pytest.mark.parametrize("where", ["under way", "in line", "a stream"])
async def test_closed_with_requests(where):
    """They fail, with the request that they were; nobody waits for ever."""
    async with scripted(silent) as server:
        client = Client(limits=Limits(max_per_host=1))
        first = asyncio.ensure_future(client.get(server.url("/first")))
        await until(lambda: server.requests)
        tasks = [first]
        if where == "in line":
            tasks.append(asyncio.ensure_future(client.get(server.url("/second"))))
            await until(lambda: client.stats().total.waiting)
        await client.aclose()

        for task in tasks:
            with pytest.raises(ClientClosed) as caught:
                await task
            assert caught.value.request is not None
        assert {} == client.stats()


def delay_connecting(monkeypatch, until_what) -> None:
    """Let something happen between the end of a handshake and the use of its connection."""
    connect = Connector.connect

    async def connect_and_wait(self, route, progress):
        connection = await connect(self, route, progress)
        with contextlib.suppress(asyncio.CancelledError):  # too late
            await until_what(connection)
        return connection

    monkeypatch.setattr(Connector, "connect", connect_and_wait)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_closed_while_connecting(certs, monkeypatch, tls):
    """The connection that comes too late is closed, and not used."""
    opened, closed, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def until_closed(_: object) -> None:
        opened.set()
        await closed.wait()

    async def watching(conn: Connection) -> None:
        assert b"" == await conn.wait_closed()
        gone.set()

    delay_connecting(monkeypatch, until_closed)
    async with scripted(watching, tls=certs.good if tls else None) as server:
        client = Client(verify=certs.ca_file)
        task = asyncio.ensure_future(client.get(server.url()))
        await opened.wait()
        await client.aclose()
        closed.set()
        with pytest.raises(ClientClosed, match="while a connection was being opened"):
            await task

        assert {} == client.stats()
        await gone.wait()


@pytest.mark.parametrize("timeout", [None, 30], ids=["for ever", "30 s"])
async def test_closed_during_a_handshake(timeout):
    """Nobody waits for a connection that will not be used."""
    gone = asyncio.Event()

    async def mute(conn: Connection) -> None:
        await conn.wait_closed()
        gone.set()

    async with scripted(mute) as server:
        client = Client(timeout=timeout)
        task = asyncio.ensure_future(client.get(server.url().replace("http:", "https:")))
        await until(lambda: server.connections)
        await client.aclose()
        with pytest.raises(ClientClosed, match="while a connection was being opened"):
            await task
        await gone.wait()


async def test_closed_during_an_upload_that_nobody_takes():
    """What is not sent yet is not waited for."""

    async def deaf(conn: Connection) -> None:
        conn.writer.transport.pause_reading()
        await release.wait()

    release = asyncio.Event()
    async with scripted(deaf) as server:
        client = Client()
        task = asyncio.ensure_future(client.put(server.url(), content=bytes(2**25)))
        await until(lambda: server.connections)
        await client.aclose()
        with pytest.raises(ClientClosed):
            await task
        release.set()


async def test_closed_after_an_early_answer():
    """Row 40: the answer came, the body was not taken, and never will be."""

    async def refusing(conn: Connection) -> None:
        await conn.read_head()
        conn.writer.transport.pause_reading()
        await conn.send(reply(b"too large", status="413 Content Too Large"))
        await release.wait()

    release = asyncio.Event()
    async with scripted(refusing) as server:
        async with Client() as client:
            response = await client.put(server.url(), content=bytes(2**25))
            assert 413 == response.status
        release.set()


# ---- one loop after the other


def test_two_loops_in_turn(loop_factory):
    """Each turn has a connection of its own; that of the other loop is dropped without a word."""
    with Server() as server, Runner(loop_factory=loop_factory) as one:
        client = Client()
        with Runner(loop_factory=loop_factory) as two:
            for runner in (one, two, one, two):
                response = runner.run(client.get(f"{server.url}/hello"))
                assert b"hello" == response.body
                assert 0 == response.timings.dns < response.timings.connect
            two.run(client.aclose())


def test_closed_on_another_loop(loop_factory):
    """It does not wait for what only the first could do; that closes its sockets when it runs."""
    with Server() as server, Runner(loop_factory=loop_factory) as one:
        client = Client()
        one.run(client.get(f"{server.url}/hello"))
        with Runner(loop_factory=loop_factory) as two:
            two.run(client.aclose())

        assert client.is_closed
        one.run(turns())
        assert {} == client.stats()


async def test_closed_in_another_thread():
    """Its connections are closed by the loop that they are on."""
    async with serving(reply(b"hello")) as server:
        client = Client()
        await client.get(server.url())
        engine = client._engine
        await asyncio.to_thread(asyncio.run, client.aclose())
        await until(lambda: not engine._connections)

        assert {} == client.stats()


async def test_two_loops_at_once():
    """One client is not for two threads, and says so; the first is not disturbed."""
    async with serving(reply(b"hello")) as server, Client() as client:
        await client.get(server.url())

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="another running event loop"):
                asyncio.run(client.get(server.url()))

        await asyncio.to_thread(elsewhere)
        assert b"hello" == (await client.get(server.url())).body
        assert 1 == server.connections


async def test_dropped_in_another_thread():
    """By the garbage collector, say: its connections are closed all the same."""
    async with serving(reply(b"hello")) as server:
        holder = [Client()]
        await holder[0].get(server.url())
        engine = holder[0]._engine
        with pytest.warns(ResourceWarning, match="was not closed: use `async with`"):
            await asyncio.to_thread(holder.clear)
        await until(lambda: not engine._connections)


# ---- what a server may do to a new connection


@pytest.mark.parametrize("said", [b"", reply(b"poison"), b"\0"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_that_speaks_or_closes_first(said, host):
    """1c, "bytes before the request was written": an error, never a response; nothing is kept.

    The server acts as soon as the connection is there, before the client's next turn.
    """
    loop = asyncio.get_running_loop()
    accepted = []

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            accepted.append(listener.accept()[0])
            accepted[-1].send(said) if said else accepted[-1].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop.add_reader(listener, accept)
        async with Client(timeout=Timeout(read=5)) as client:
            with pytest.raises((fastreq.NetworkError, fastreq.RemoteProtocolError)):
                await client.get(f"http://{host}:{listener.getsockname()[1]}/")

            await until(lambda: not client._engine.deadlines._watched)
            assert {} == client.stats()
        loop.remove_reader(listener)
        for connection in accepted:
            connection.close()


async def test_a_connection_that_is_lost_before_it_is_used(monkeypatch):
    """It is reported, and forgotten by all who knew it."""
    delay_connecting(monkeypatch, lambda connection: connection.wait_closed())

    async def closing(conn: Connection) -> None:
        pass

    async with scripted(closing) as server, Client() as client:
        with pytest.raises(fastreq.WriteError, match="before the request was sent"):
            await client.get(server.url())
        await turns()

        assert set() == client._engine._connections
        assert set() == client._engine.deadlines._watched
        assert {} == client.stats()


# ---- what is sent


async def test_the_clients_headers():
    """A change counts from the next request that is built."""
    async with serving(reply(b"hello")) as server, Client(headers={"A": "1"}) as client:
        built = client.build_request("GET", server.url())
        client.headers["A"] = "2"
        await client.send(built)
        await client.get(server.url())
        await client.get(server.url(), headers={"a": "3"})

        seen = [parse_fields(request)["a"] for request in server.requests]
        assert ["1", "2", "3"] == seen


async def test_a_request_that_is_changed_is_not_another():
    async with serving(reply(b"hello")) as server, Client() as client:
        one, two = (client.build_request("GET", server.url()) for _ in range(2))
        one.headers["A"] = "1"
        await client.send(one)
        await client.send(two)

        assert "a" not in client.headers
        assert [True, False] == ["a" in parse_fields(request) for request in server.requests]


async def test_the_second_request_is_like_that_of_a_fresh_client():
    """1c: state left from the last request."""
    async with serving(reply(b"hello")) as server:
        async with Client() as client:
            await client.put(
                server.url("/x"), content=b"body", headers={"A": "b", "Authorization": "secret"}
            )
            await client.get(server.url("/y"))
        async with Client() as client:
            await client.get(server.url("/y"))

        assert server.requests[1] == server.requests[2]


async def test_a_request_may_be_sent_again():
    async with serving(reply(b"hello")) as server, Client() as client:
        request = client.build_request("PUT", server.url(), content=b"body")
        for _ in range(2):
            assert request is (await client.send(request)).request

        assert server.requests[0] == server.requests[1]
        assert 1 == server.connections


# ---- what keeps connections apart


async def test_limits_are_kept():
    async with serving(reply(b"hello")) as server, Client(limits=Limits(max_per_host=3)) as client:
        await asyncio.gather(*(client.get(server.url()) for _ in range(30)))

        assert 3 == server.connections == client.stats().total.opened


async def test_timings():
    """Each phase that took place is there, and no other; the rest is none of ours to measure."""
    async with serving(reply(b"hello")) as server, Client() as client:
        new = (await client.get(server.url())).timings
        reused = (await client.get(server.url())).timings

    assert new.connect > 0 == new.tls
    assert new.ttfb > 0
    assert 0 == reused.dns == reused.connect == reused.tls
    assert max(new) == new.total
    assert max(reused) == reused.total


async def test_two_sockets_are_two_hosts(tmp_path):
    """The path of a unix domain socket is part of the origin."""

    def answering(body: bytes):
        async def handler(conn: Connection) -> None:
            while True:
                await conn.read_request()
                await conn.send(reply(body))

        return handler

    async with (
        scripted(answering(b"one"), path=tmp_path / "1") as one,
        scripted(answering(b"two"), path=tmp_path / "2") as two,
        Client() as client,
    ):
        for _ in range(2):
            assert b"one" == (await client.get(one.url("/x"))).body
            assert b"two" == (await client.get(two.url("/x"))).body
        assert 2 == len(client.stats())


DIFFERENT = [
    "http://example.com/",
    "https://example.com/",
    "http://example.com:8080/",
    "https://example.com:80/",
    "https://www.example.com/",
    "https://example.com./",
    "http://[::1]/",
    "http://[fe80::1%25lo]/",
    "http://[fe80::1%25eth0]/",
    "http+unix://%2Ftmp%2Fa/",
    "http+unix://%2Ftmp%2Fb/",
]


def test_origins_are_kept_apart():
    """1c: scheme, host, port, zone id, socket; each has a connection of its own."""
    routes = Routes(True, None, False)

    assert len(DIFFERENT) == len({routes.of(URL(url)) for url in DIFFERENT})


@pytest.mark.parametrize(
    "same", ["https://EXAMPLE.com/", "https://example.com:443/a?b#c", "https://u:p@example.com/"]
)
def test_one_origin_is_one_route(same):
    routes = Routes(True, None, False)

    assert routes.of(URL("https://example.com/")) is routes.of(URL(same))


def test_tls_settings_keep_connections_apart(certs):
    """1c, "reuse ignores TLS settings": every combination is a route of its own."""
    url = URL("https://example.com/")
    settings = [
        (verify, cert)
        for verify in (True, False, certs.ca_file)
        for cert in (None, certs.client_file)
    ]

    assert 6 == len({Routes(*setting, False).of(url) for setting in settings})
    assert Routes(certs.ca_file, None, False).of(url) == Routes(certs.ca_file, None, False).of(url)


async def test_verify_off_for_one_is_not_off_for_another(certs):
    """1e: a client that trusts everybody makes no friends for others in the process."""
    async with (
        serving(reply(b"hello"), tls=certs.self_signed) as server,
        Client(verify=False) as trusting,
        Client() as careful,
    ):
        assert b"hello" == (await trusting.get(server.url(host="localhost"))).body
        with pytest.raises(fastreq.TLSError, match="self-signed"):
            await careful.get(server.url(host="localhost"))
        assert b"hello" == (await trusting.get(server.url(host="localhost"))).body


class Records:
    """The server's side of TLS, record by record, on a socket that blocks."""

    def __init__(self, sock, context):
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._until_done(self._tls.do_handshake)
        sock.sendall(self._out.read())

    def read_head(self):
        head = b""
        while b"\r\n\r\n" not in head:
            head += self._until_done(lambda: self._tls.read(2**16))

    def records(self, data, size=10_000):
        for start in range(0, len(data), size):
            self._tls.write(data[start : start + size])
        return self._out.read()

    def _until_done(self, step):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._sock.sendall(self._out.read())
                self._in.write(self._sock.recv(2**16))


def test_far_more_over_tls_than_was_asked_for(loop_factory, certs):
    """A response that ends in the midst of what one read has brought: asyncio's TLS gives the rest
    to whoever closes it, in the middle of closing. Nobody is left waiting, and no slot is lost."""
    half_a_record, all_of_it = threading.Event(), threading.Event()

    def serve(listening):
        sock, _ = listening.accept()
        with sock:
            line = Records(sock, certs.good)
            line.read_head()  # what follows makes the kernel's buffers large
            sock.sendall(line.records(reply(bytes(20_000_000))))
            line.read_head()
            wire = line.records(reply(b"hello") + bytes(400_000))
            sock.sendall(wire[:9000])
            half_a_record.wait(10)
            sock.sendall(wire[9000:])
            all_of_it.set()
            sock.recv(1)

    async def main(url):
        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
        limits = Limits(max_per_host=1)
        async with Client(verify=certs.ca_file, limits=limits, timeout=Timeout(read=5)) as client:
            await client.get(url)
            asked = asyncio.ensure_future(client.get(url))
            await asyncio.sleep(0.1)  # until the half is read
            half_a_record.set()
            all_of_it.wait(10)  # with the loop standing still, so that all of it is one read
            assert b"hello" == (await asked).body
            assert 0 == client.stats().total.open
        assert [] == complaints

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main(f"https://127.0.0.1:{listening.getsockname()[1]}/"))
        thread.join()


async def test_what_was_counted_is_not_forgotten_with_a_host():
    """By `total`; a host that comes back goes on from where it was."""
    closing = reply(b"hello", "Connection: close")
    async with serving(closing) as server, serving(reply()) as other, Client() as client:
        for _ in range(3):
            await client.get(server.url())
        await client.get(other.url())
        await client.get(other.url())
        assert [other.url("")] == list(client.stats())
        assert (4, 1) == (client.stats().total.opened, client.stats().total.reused)
