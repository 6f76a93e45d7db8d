"""Routes to connections: real sockets and real TLS, and a made-up network for the race."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
import ssl
import threading

import pytest
from servers.certs import server_context
from servers.scripted import scripted

from fastreq import connect, tls
from fastreq.connect import Connector, Progress, Route, interleave
from fastreq.errors import ConnectError, DNSError, TLSError
from fastreq.resolve import Address, Resolver

V4, V6 = socket.AF_INET, socket.AF_INET6


class Line(asyncio.BufferedProtocol):
    """A protocol that keeps a record of itself, and all of them."""

    def __init__(self, all_lines):
        all_lines.append(self)
        self.buffer = bytearray(2**18)
        self.received = b""
        self.events = []
        self.transport = None
        self.lost = asyncio.get_running_loop().create_future()
        self.has_received = asyncio.Event()

    def connection_made(self, transport):
        self.events.append("made")
        self.transport = transport

    def secured(self, transport):
        self.events.append("secured")
        self.transport = transport

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.received += self.buffer[:nbytes]
        self.has_received.set()

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


class Names:
    """A resolver that knows a few names, and takes a few turns of the loop to remember them."""

    def __init__(self, **names):
        self.names = names

    async def resolve(self, host, port):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [Address(V6 if ":" in ip else V4, ip) for ip in self.names[host]]


def is_down(line):
    """Never up, or down again; uvloop closes some transports without calling it closing."""
    transport = line.transport
    return transport is None or transport.is_closing() or "closed=True" in repr(transport)


class Dialler(Connector):
    """A connector with its lines, and its progress."""

    def __init__(self, **names):
        self.lines = []
        self.progress = Progress()
        super().__init__(Names(**names), lambda: Line(self.lines))

    async def to(self, route):
        return await self.connect(route, self.progress)

    async def fails(self, route, error=ConnectError):
        """The text of the error; every line must be down by then."""
        with pytest.raises(error) as raised:
            await self.to(route)
        assert error is type(raised.value)
        assert self.progress.phase == raised.value.phase
        assert all(is_down(line) for line in self.lines)
        return str(raised.value)


async def hang_up(line):
    line.transport.abort()
    await line.lost


@contextlib.asynccontextmanager
async def connected(route, **names):
    dialler = Dialler(**names)
    line = await dialler.to(route)
    line.progress = dialler.progress
    try:
        yield line
    finally:
        await hang_up(line)


def plain(port, host="127.0.0.1"):
    return Route("http", host, port)


def secure(certs, port, host="127.0.0.1", path=None, **options):
    context = tls.ssl_context(**{"verify": certs.ca_file} | options)
    return Route("https", host, port, path, context, tls.server_name(host))


async def echo(conn):
    while data := await conn.reader.read(2**16):
        await conn.send(data)


async def wait(conn):
    await conn.wait_closed()


@contextlib.contextmanager
def full_listener(host="127.0.0.1"):
    """A port that answers no SYN: its queue is full."""
    with socket.socket() as listener, socket.socket() as filling:
        listener.bind((host, 0))
        listener.listen(0)
        filling.connect(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.asynccontextmanager
async def in_thread(serve):
    """A server of one connection that uses OpenSSL as other servers do; gives its port."""

    def run():
        with listener, listener.accept()[0] as sock, contextlib.suppress(OSError):
            serve(sock)

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=run)
    thread.start()
    yield listener.getsockname()[1]
    await asyncio.to_thread(thread.join)


# ---- TCP


async def test_plain():
    async with scripted(echo) as server, connected(plain(server.port)) as line:
        line.transport.write(b"hello")
        await line.has_received.wait()

        assert b"hello" == line.received
        assert ["made"] == line.events
        assert ("127.0.0.1", server.port) == line.progress.remote_address
        assert "connect" == line.progress.phase
        assert line.progress.connect > 0
        assert 0 == line.progress.dns == line.progress.tls


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_no_delay(host):
    async with scripted(echo, host=host) as server, connected(plain(server.port, host)) as line:
        sock = line.transport.get_extra_info("socket")

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert (host, server.port) == line.progress.remote_address


async def test_name():
    async with (
        scripted(echo) as server,
        connected(plain(server.port, "server"), server=["127.0.0.1"]) as line,
    ):
        assert ("127.0.0.1", server.port) == line.progress.remote_address
        assert line.progress.dns > 0


async def test_name_that_does_not_exist():
    def getaddrinfo(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    connector = Connector(Resolver(getaddrinfo), lambda: pytest.fail("dialled"))
    progress = Progress()
    with pytest.raises(DNSError, match="EAI_NONAME"):
        await connector.connect(plain(80, "no.example"), progress)
    assert "dns" == progress.phase


def link_local():
    """An address of this machine that needs its zone."""
    try:
        with open("/proc/net/if_inet6") as table:
            for line in table:
                digits, *_, interface = line.split()
                if digits.startswith("fe80"):
                    return socket.inet_ntop(V6, bytes.fromhex(digits)) + "%" + interface
    except OSError:
        pass
    return None


@pytest.mark.skipif(link_local() is None, reason="no link-local address here")
async def test_zone():
    host = link_local()
    async with scripted(echo, host=host) as server, connected(plain(server.port, host)) as line:
        line.transport.write(b"hello")
        await line.has_received.wait()
        assert b"hello" == line.received


@pytest.mark.skipif(link_local() is None, reason="no link-local address here")
@pytest.mark.parametrize("zone", ["lo", "nosuch", "4294967295", ""])
async def test_another_zone_is_another_host(zone):
    """No request gets to a machine that its URL does not name (CVE-2022-27775)."""
    host = link_local()
    async with scripted(echo, host=host) as server:
        other = host.partition("%")[0] + (f"%{zone}" if zone else "")
        said = await Dialler().fails(plain(server.port, other))
    assert "no network interface 'nosuch'" in said or zone != "nosuch"


async def test_a_peer_that_is_gone_at_once():
    """Connected is connected; what comes next meets the protocol."""

    async def reset(conn):
        await conn.reset()

    async with scripted(reset) as server:
        dialler = Dialler()
        line = await dialler.to(plain(server.port))
        await line.lost
        assert "127.0.0.1" == dialler.progress.remote_address[0]


async def test_refused(unused_port):
    assert (
        f"cannot connect to http://127.0.0.1:{unused_port} "
        "(127.0.0.1: connection refused: nothing listens there)"
    ) == await Dialler().fails(plain(unused_port))


async def test_all_refused(unused_port):
    dialler = Dialler(many=[f"127.0.0.{n}" for n in range(1, 8)])

    text = await dialler.fails(plain(unused_port, "many"))
    assert text.startswith(
        f"cannot connect to http://many:{unused_port} (127.0.0.1: connection ref"
    )
    assert "; 127.0.0.4: connection refused" in text
    assert "127.0.0.5" not in text
    assert text.endswith("; and 3 more addresses)")


@pytest.fixture
def unused_port():
    """A port that refuses, for it is bound and does not listen."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.ECONNREFUSED, "connection refused"),
        (errno.EHOSTUNREACH, "no route to the host"),
        (errno.ENETUNREACH, "no route to its network"),
        (errno.ETIMEDOUT, "no answer"),
        (errno.EMFILE, "no file descriptor left; raise `ulimit -n`, or lower Limits"),
        (errno.ENFILE, "the machine has no file descriptor"),
        (errno.EACCES, "firewall"),
        (errno.EADDRNOTAVAIL, "no local port"),
        (errno.EIO, "Input/output error"),
    ],
)
async def test_reasons(number, text):
    network = Network("a")
    network.fail("a", OSError(number, "whatever the loop says"))

    assert text in await network.fails(plain(80, "a.example"))


async def test_out_of_descriptors():
    async with scripted(echo) as server:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = max(map(int, os.listdir("/proc/self/fd")))
        taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(used)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, hard))
            text = await Dialler().fails(plain(server.port))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)

        assert "this process has no file descriptor left" in text
        async with connected(plain(server.port)):
            pass


async def test_timeout_while_connecting():
    """The caller's timeout can tell where it struck."""
    with full_listener() as port:
        dialler = Dialler(full=["127.0.0.1"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await dialler.to(plain(port, "full"))

    assert "connect" == dialler.progress.phase
    assert dialler.progress.connect > 0
    assert dialler.progress.remote_address is None


# ---- Unix domain sockets


async def test_unix_socket(tmp_path):
    path = tmp_path / "socket"
    route = Route("http+unix", "localhost", 80, str(path))
    async with scripted(echo, path=path), connected(route) as line:
        line.transport.write(b"hello")
        await line.has_received.wait()

        assert b"hello" == line.received
        assert str(path) == line.progress.remote_address


async def test_no_unix_socket(tmp_path):
    path = str(tmp_path / "socket")

    assert f"cannot connect to http+unix://{path} ({path}: No such file or directory)" == (
        await Dialler().fails(Route("http+unix", "localhost", 80, path))
    )


async def test_tls_over_a_unix_socket(certs, tmp_path):
    path = tmp_path / "socket"
    route = secure(certs, 443, "localhost", path=str(path))
    async with scripted(echo, path=path, tls=certs.good), connected(route) as line:
        line.transport.write(b"hello")
        await line.has_received.wait()
        assert b"hello" == line.received


# ---- the race


@pytest.mark.parametrize(
    ("found", "dialled"),
    [
        ("6a", "6a"),
        ("6a 6b 4a 4b", "6a 4a 6b 4b"),
        ("4a 4b 6a 6b", "4a 6a 4b 6b"),
        ("4a 6a 6b 6c", "4a 6a 6b 6c"),
        ("4a 4b 4c 6a", "4a 6a 4b 4c"),
        ("6a 4a 6b 6c 4b", "6a 4a 6b 4b 6c"),
        ("", ""),
    ],
)
def test_interleave(found, dialled):
    """The families take turns; within one the order stays (RFC 8305, section 4)."""
    families = {"4": V4, "6": V6}

    assert dialled.split() == interleave([(families[ip[0]], ip) for ip in found.split()])


class FakeTransport:
    aborted = False

    def abort(self):
        self.aborted = True

    def is_closing(self):
        return self.aborted

    def get_extra_info(self, name):
        return None


class FakeLine:
    def __init__(self):
        self.transport = FakeTransport()


class Network(Dialler):
    """A made-up network, in which each address answers when the test says so."""

    def __init__(self, *ips):
        super().__init__(**{"a.example": ips})
        self.dialled = []
        self.cancelled = []
        self._answers = {ip: asyncio.get_running_loop().create_future() for ip in ips}

    def accept(self, ip):
        self._answers[ip].set_result(FakeLine())
        return self._answers[ip].result()

    def fail(self, ip, error=None):
        self._answers[ip].set_exception(error or ConnectionRefusedError(errno.ECONNREFUSED, ""))
        self._answers[ip].exception()  # may never be asked for

    async def _dial(self, address, route):
        self.dialled.append(address)
        try:
            return await self._answers[address]
        except asyncio.CancelledError:
            self.cancelled.append(address)
            raise

    async def until_dialled(self, *ips):
        while list(ips) != self.dialled:
            await asyncio.sleep(0)

    def start(self):
        return asyncio.create_task(self.to(plain(80, "a.example")))


@pytest.fixture
def no_stagger(monkeypatch):
    """All addresses are dialled at once."""
    monkeypatch.setattr(connect, "STAGGER", 0)


@pytest.fixture
def long_stagger(monkeypatch):
    """The next address is dialled only when the one before it has failed."""
    monkeypatch.setattr(connect, "STAGGER", 3600)


@pytest.mark.usefixtures("no_stagger")
async def test_the_first_to_answer_wins():
    network = Network("1", "2", "3")
    race = network.start()
    await network.until_dialled("1", "2", "3")
    winner = network.accept("2")

    assert winner is await race
    assert ["1", "3"] == network.cancelled
    assert not winner.transport.aborted


@pytest.mark.usefixtures("long_stagger")
async def test_a_failure_starts_the_next_at_once():
    network = Network("1", "2", "3")
    network.fail("1")
    network.fail("2")
    winner = network.accept("3")

    assert winner is await network.start()
    assert ["1", "2", "3"] == network.dialled


@pytest.mark.usefixtures("long_stagger")
async def test_nobody_is_dialled_before_it_is_needed():
    network = Network("1", "2")
    race = network.start()
    await network.until_dialled("1")
    network.accept("1")
    await race

    assert ["1"] == network.dialled


@pytest.mark.usefixtures("no_stagger")
async def test_the_last_hope_is_waited_for():
    """Those that were slow may still come, when all others have failed."""
    network = Network("1", "2", "3")
    race = network.start()
    await network.until_dialled("1", "2", "3")
    network.fail("3")
    network.fail("1")
    await asyncio.sleep(0)
    winner = network.accept("2")

    assert winner is await race


@pytest.mark.usefixtures("no_stagger")
async def test_two_answer_at_once():
    """The earlier address is kept, and the other closed."""
    network = Network("1", "2", "3")
    race = network.start()
    await network.until_dialled("1", "2", "3")
    late = network.accept("3")
    winner = network.accept("2")

    assert winner is await race
    assert late.transport.aborted
    assert not winner.transport.aborted


@pytest.mark.usefixtures("no_stagger")
async def test_an_answer_and_a_cancellation_at_once():
    network = Network("1", "2")
    race = network.start()
    await network.until_dialled("1", "2")
    answer = network.accept("1")
    race.cancel()

    with pytest.raises(asyncio.CancelledError):
        await race
    assert answer.transport.aborted
    assert ["2"] == network.cancelled


@pytest.mark.usefixtures("no_stagger")
async def test_cancelling_while_the_losers_are_called_off():
    network = Network("1", "2")
    race = network.start()
    await network.until_dialled("1", "2")
    winner = network.accept("1")
    while not network.cancelled:
        await asyncio.sleep(0)
    race.cancel()

    with pytest.raises(asyncio.CancelledError):
        await race
    assert winner.transport.aborted


@pytest.mark.usefixtures("no_stagger")
async def test_an_error_that_is_no_failure_to_connect():
    """A mistake of ours comes out, and calls the others off."""
    network = Network("1", "2")
    race = network.start()
    await network.until_dialled("1", "2")
    network.fail("1", RuntimeError("a bug"))

    with pytest.raises(RuntimeError, match="a bug"):
        await race
    assert ["2"] == network.cancelled


async def test_one_address_needs_no_task():
    network = Network("1")
    network.accept("1")
    tasks = []
    asyncio.get_running_loop().set_task_factory(lambda *_, **__: tasks.append(1))
    try:
        await network.to(plain(80, "a.example"))
    finally:
        asyncio.get_running_loop().set_task_factory(None)

    assert [] == tasks


async def test_49_of_50_addresses_are_dead(monkeypatch):
    """Half of them refuse, half of them never answer."""
    monkeypatch.setattr(connect, "STAGGER", 0.001)
    async with scripted(echo, host="127.0.1.50") as server:
        dead = [f"127.0.1.{n}" for n in range(1, 50)]
        with contextlib.ExitStack() as listeners:
            for ip in dead[::2]:
                listener = listeners.enter_context(socket.socket())
                listener.bind((ip, server.port))
                listener.listen(0)
                listeners.enter_context(socket.create_connection((ip, server.port)))
            route = plain(server.port, "many")
            async with connected(route, many=[*dead, "127.0.1.50"]) as line:
                line.transport.write(b"hello")
                await line.has_received.wait()

                assert b"hello" == line.received
                assert ("127.0.1.50", server.port) == line.progress.remote_address


async def test_other_family(unused_port):
    """A server on IPv6 alone is found behind an IPv4 address that refuses."""
    async with scripted(echo, host="::1") as server:
        names = {"both": ["127.0.0.1", "::1"]}
        async with connected(plain(server.port, "both"), **names) as line:
            assert ("::1", server.port) == line.progress.remote_address


# ---- TLS


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "localhost."])
async def test_tls(certs, host):
    bind = host if "1" in host else "127.0.0.1"
    names = {"localhost": [bind], "localhost.": [bind]}
    asked = []
    context = server_context(certs.good_file)
    context.sni_callback = lambda connection, name, _: asked.append(name)
    async with (
        scripted(echo, host=bind, tls=context) as server,
        connected(secure(certs, server.port, host), **names) as line,
    ):
        line.transport.write(b"hello")
        await line.has_received.wait()

        assert b"hello" == line.received
        assert ["made", "secured"] == line.events
        assert "http/1.1" == line.transport.get_extra_info(
            "ssl_object"
        ).selected_alpn_protocol() or (context.sni_callback)
        assert line.transport.get_extra_info("peercert")
        assert ["localhost" if "local" in host else None] == asked
        assert "tls" == line.progress.phase
        assert line.progress.tls > 0
        assert (bind, server.port) == line.progress.remote_address


async def test_nothing_is_left_of_the_timers(certs):
    """The loop keeps no timer for the handshake."""
    async with scripted(echo, tls=certs.good) as server, connected(secure(certs, server.port)):
        timers = getattr(asyncio.get_running_loop(), "_scheduled", ())
        assert [] == [t for t in timers if not t.cancelled() and t.when() > 3600 * 24 * 365]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("wrong_name", "is for another name"),
        ("expired", "has expired"),
        ("self_signed", "is self-signed"),
        ("unknown_ca", "signed by a CA that is not known here"),
    ],
)
async def test_refused_certificate(certs, kind, text):
    async with scripted(wait, tls=getattr(certs, kind)) as server:
        dialler = Dialler(localhost=["127.0.0.1"])
        assert text in await dialler.fails(secure(certs, server.port, "localhost"), TLSError)
        assert dialler.progress.tls > 0

        # The same, to who does not want to know.
        async with connected(secure(certs, server.port, verify=False)):
            pass


async def test_wrong_name_is_named(certs):
    async with scripted(wait, tls=certs.good) as server:
        text = await Dialler(wrong=["127.0.0.1"]).fails(
            secure(certs, server.port, "wrong"), TLSError
        )

    assert text.startswith(f"https://wrong:{server.port}: the certificate is for another name")
    assert "'wrong'" in text


async def test_plaintext_server(certs):
    async def http(conn):
        await conn.reader.read(1)
        await conn.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await conn.wait_closed()

    async with scripted(http) as server:
        text = await Dialler().fails(secure(certs, server.port), TLSError)

    assert f"does not speak TLS on port {server.port}" in text


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.2", "127.0.0.1"]])
@pytest.mark.parametrize("first", [b"220 ready\r\n", b"\x15\x03", b"H", b"\x16\x03\x01\x00"])
async def test_server_that_speaks_before_tls(certs, addresses, first):
    """What comes before the handshake is neither dropped nor trusted, but refused."""

    def serve(sock):
        sock.sendall(first)
        with certs.good.wrap_socket(sock, server_side=True) as tls_sock:
            tls_sock.recv(1)

    async with in_thread(serve) as port:
        dialler = Dialler(localhost=addresses)
        text = await dialler.fails(secure(certs, port, "localhost"), TLSError)

    assert "certificate" not in text
    assert all(b"" == line.received for line in dialler.lines)


@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
async def test_connection_that_ends_in_the_handshake(certs, how):
    async def end(conn):
        await conn.reader.read(1)
        await getattr(conn, how)()
        await conn.wait_closed()

    async with scripted(end) as server:
        text = await Dialler().fails(secure(certs, server.port), TLSError)

    assert text.startswith(f"https://127.0.0.1:{server.port}: the TLS handshake was not finished")
    assert text.endswith("the server closed the connection")


async def test_abort_in_the_handshake(certs):
    """As a pool does that is closed: both loops let start_tls() return as if all were well."""
    async with scripted(wait) as server:
        dialler = Dialler()
        connecting = asyncio.create_task(dialler.to(secure(certs, server.port)))
        while "tls" != dialler.progress.phase:
            await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        dialler.lines[0].transport.abort()

        with pytest.raises(TLSError, match="the connection was closed"):
            await connecting
        assert ["made"] == dialler.lines[0].events[:1]
        assert "secured" not in dialler.lines[0].events


async def test_timeout_in_the_handshake(certs):
    async with scripted(wait) as server:
        dialler = Dialler()
        route = secure(certs, server.port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await dialler.to(route)

    assert "tls" == dialler.progress.phase
    assert dialler.progress.tls > 0
    assert ("127.0.0.1", server.port) == dialler.progress.remote_address


async def test_alert(certs):
    """What the server gives as its reason is told."""
    context = server_context(certs.good_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 we hear of it after the handshake

    def serve(sock):
        with context.wrap_socket(sock, server_side=True) as tls_sock:
            tls_sock.recv(1)

    async with in_thread(serve) as port:
        text = await Dialler().fails(secure(certs, port), TLSError)
    assert 'the server broke off the handshake with the alert "handshake failure"' in text


async def test_client_certificate(certs):
    async def greet(conn):
        name = conn.tls.getpeercert()["subjectAltName"][0][1]
        await conn.send(f"hello {name}".encode())
        await conn.wait_closed()

    async with (
        scripted(greet, tls=certs.demanding) as server,
        connected(secure(certs, server.port, cert=certs.client_file)) as line,
    ):
        await line.has_received.wait()
        assert b"hello client@example.org" == line.received


@pytest.mark.parametrize("name", [None, ""])
async def test_no_name_to_verify(certs, name):
    """Left to itself, start_tls() would check the certificate and not its name."""
    async with scripted(echo, tls=certs.good) as server:
        route = secure(certs, server.port)._replace(server_hostname=name)
        assert "no name to look for" in await Dialler().fails(route, TLSError)


# ---- cancelling


@pytest.mark.usefixtures("no_stagger")
async def test_cancel_at_every_step(certs):
    """Wherever a cancellation strikes, nothing is left: no socket, no task, no complaint."""
    async with scripted(wait, tls=certs.good, host="127.0.0.1") as server:
        for host in ("two", "one"):
            steps = 0
            while await cancelled_after(steps, secure(certs, server.port, host)):
                steps += 1
            assert steps > 5


async def cancelled_after(steps, route):
    """Cancel after so many turns of the loop; whether that was before the end."""
    names = {"two": ["127.0.0.9", "127.0.0.1"], "one": ["127.0.0.1"]}
    dialler = Dialler(**names)
    route = route._replace(server_hostname="localhost")
    connecting = asyncio.create_task(dialler.to(route))
    for _ in range(steps):
        await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.wait([connecting])
    if not connecting.cancelled():
        await hang_up(connecting.result())
        return False
    for _ in range(3):  # transports close on the next turn
        await asyncio.sleep(0)
    for line in dialler.lines:
        assert is_down(line), f"after {steps} steps: {line.events}"
    return True


# ---- values


def test_route():
    """Equal routes are one key; another context, zone or name makes another."""
    context = tls.ssl_context()
    route = Route("https", "example.com", 443, None, context, "example.com")

    assert hash(route) == hash(route._replace())
    assert route == route._replace()
    for other in (
        route._replace(host="example.org"),
        route._replace(port=444),
        route._replace(tls=None),
        route._replace(tls=ssl.create_default_context()),
        route._replace(server_hostname="example.org"),
        route._replace(socket_path="/socket"),
    ):
        assert route != other
    assert plain(80, "fe80::1%lo") != plain(80, "fe80::1%eth0")


@pytest.mark.parametrize(
    ("text", "route"),
    [
        ("http://example.com", Route("http", "example.com", 80)),
        ("https://[::1]", Route("https", "::1", 443)),
        ("https://[fe80::1%lo]:80", Route("https", "fe80::1%lo", 80)),
        ("http+unix:///run/x.sock", Route("http+unix", "", 80, "/run/x.sock")),
    ],
)
def test_route_in_words(text, route):
    assert text == str(route)


def test_progress_in_words():
    assert "<Progress  None>" == repr(Progress())
