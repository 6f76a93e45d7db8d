"""Proxies: tinyproxy, squid, dante and microsocks as Debian ships them, and one of our own.

    async def test_through_squid(squid, certs):
        async with Client(proxy=squid.url(user="a", password=squid.password("a"))) as client:
            ...

    async with relaying() as proxy:                     # ours; it notes all that it sees
        async with Client(proxy=proxy.url()) as client:
            ...
        assert b"secret" not in proxy.seen

Those of Debian run once for all tests, each on loopback ports of its own; they go everywhere.
"""

import asyncio
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.certs import Certificates
from servers.require import missing_server
from servers.scripted import Connection, Server, scripted

# ---- those of Debian


@dataclass(frozen=True)
class RunningProxy:
    port: int
    tls_port: int  # 0: it speaks no TLS
    log_file: Path
    scheme: str = "http"

    def url(
        self, *, scheme: str = "", user: str = "", password: str = "", host: str = "127.0.0.1"
    ) -> str:
        scheme = scheme or self.scheme
        port = self.tls_port if scheme == "https" else self.port
        return f"{scheme}://{user}{':' if user else ''}{password}{'@' if user else ''}{host}:{port}"

    @staticmethod
    def password(user: str) -> str:
        """The password of a user; squid knows everybody, the others know `USER` alone."""
        return f"secret-of-{user}"

    def log(self) -> str:
        """What it has written down so far."""
        return self.log_file.read_text(errors="replace")


USER = "alice"
PASSWORD = RunningProxy.password(USER)

TINYPROXY = """
Listen 127.0.0.1
Port {port}
Allow 127.0.0.1
{authentication}
Timeout 60
MaxClients 4000
LogLevel Connect
LogFile "{folder}/log"
"""

SQUID = """
http_port 127.0.0.1:{port}
https_port 127.0.0.1:{tls_port} tls-cert={folder}/pem
pid_filename none
access_log stdio:{folder}/log
cache_log {folder}/cache.log
coredump_dir {folder}
netdb_filename none
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
visible_hostname squid.test
auth_param basic program {folder}/helper
auth_param basic children 1
auth_param basic realm squid
acl known proxy_auth REQUIRED
acl forbidden dst 127.0.0.66
http_access deny forbidden
http_access allow known
http_access deny all
"""

# One password for each user; squid hands over both percent-encoded.
SQUID_HELPER = """#!/bin/sh
while read user password; do
    [ "$password" = "secret-of-$user" ] && echo OK || echo ERR
done
"""

DANTE = """
logoutput: {folder}/log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks block {{ from: 127.0.0.0/8 to: 127.0.0.66/32 log: connect error }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 log: connect error }}
"""


@pytest.fixture(scope="session")
def tinyproxy() -> Iterator[RunningProxy]:
    """An HTTP proxy that lets everybody in."""
    with _running("tinyproxy", TINYPROXY, "-d -c {folder}/conf", authentication="") as proxy:
        yield proxy


@pytest.fixture(scope="session")
def locked_tinyproxy() -> Iterator[RunningProxy]:
    """An HTTP proxy that lets in `USER`."""
    authentication = f"BasicAuth {USER} {PASSWORD}"
    arguments = "-d -c {folder}/conf"
    with _running("tinyproxy", TINYPROXY, arguments, authentication=authentication) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def squid(certs: Certificates) -> Iterator[RunningProxy]:
    """An HTTP and HTTPS proxy that lets in everybody who knows their `password()`."""
    pem = Path(certs.good_file).read_text()
    files = {"helper": SQUID_HELPER, "pem": pem}
    with _running("squid", SQUID, "-N -f {folder}/conf", files=files) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def dante() -> Iterator[RunningProxy]:
    """A SOCKS proxy that lets everybody in, and nobody go to 127.0.0.66."""
    arguments = "-f {folder}/conf -p {folder}/pid"
    with _running("danted", DANTE, arguments, scheme="socks5") as proxy:
        yield proxy


@pytest.fixture(scope="session")
def microsocks() -> Iterator[RunningProxy]:
    """A SOCKS proxy that lets in `USER`."""
    arguments = f"-i 127.0.0.1 -p {{port}} -u {USER} -P {PASSWORD}"
    with _running("microsocks", "", arguments, scheme="socks5") as proxy:
        yield proxy


@contextmanager
def _running(
    name: str,
    configuration: str,
    arguments: str,
    *,
    scheme: str = "http",
    files: dict[str, str] | None = None,
    **values: str,
) -> Iterator[RunningProxy]:
    """Run a proxy in a folder that it may read and write, whoever it chooses to run as."""
    binary = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if binary is None:
        missing_server(f"{name} is not installed")
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as path, _free_ports(2) as (port, tls_port):
        folder = Path(path)
        folder.chmod(0o777)
        places = {"folder": folder, "port": port, "tls_port": tls_port}
        (folder / "conf").write_text(configuration.format(**places, **values))
        for file, content in (files or {}).items():
            (folder / file).write_text(content)
            (folder / file).chmod(0o755)
        output = folder / "output"
        with output.open("wb") as file:
            command = [binary, *arguments.format(**places).split()]
            process = subprocess.Popen(command, stdout=file, stderr=file)
        try:
            _wait_until_up(name, process, port, output)
            log = output if not configuration else folder / "log"
            yield RunningProxy(port, tls_port if name == "squid" else 0, log, scheme)
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _free_ports(count: int) -> Iterator[list[int]]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    yield ports


def _wait_until_up(name: str, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"{name} does not start: {output.read_text()}", pytrace=False)


# ---- for all


@dataclass(frozen=True)
class TwoCertificates:
    """Contexts for servers: the origin's name is not the proxy's."""

    ca_file: str
    origin: ssl.SSLContext  # for origin.test alone
    proxy: ssl.SSLContext  # for localhost alone
    strange_origin: ssl.SSLContext  # the same by a CA that nobody knows
    strange_proxy: ssl.SSLContext


@pytest.fixture(scope="session")
def two_certs(tmp_path_factory: pytest.TempPathFactory) -> TwoCertificates:
    try:
        import trustme
    except ImportError:
        missing_server("trustme is not installed")

    folder = tmp_path_factory.mktemp("two-certs")
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")

    def issue(by: trustme.CA, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        by.issue_cert(name).configure_cert(context)
        return context

    return TwoCertificates(
        str(folder / "ca.pem"),
        *(issue(by, name) for by in (ca, stranger) for name in ("origin.test", "localhost")),
    )


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that refuses, for it is bound and does not listen."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture(autouse=True)
def no_proxies_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may need a proxy; the tests do not."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "request_method"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


# ---- ours


class Relay:
    """A proxy that does as it is asked, and what it has seen on the way."""

    def __init__(self, names: dict[str, int], user: bytes | None, established: bytes) -> None:
        self.server: Server
        self.heads: list[bytes] = []  # of the requests to it
        self.seen = bytearray()  # all that clients sent, in tunnels too
        self.tunnels: list[str] = []  # where to
        self._names = names  # "host:port" → the port of this machine where that is
        self._user = user
        self._established = established

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def requests(self) -> list[bytes]:
        """All that it has seen, for the canary; it is the proxy that did, whatever Host says."""
        return [bytes(self.seen).replace(b"\nHost:", b"\nTo:")]

    def url(
        self, path: str = "", *, user: str = "", password: str = "", host: str = "127.0.0.1"
    ) -> str:
        credentials = f"{user}:{password}@" if user else ""
        return self.server.url(path, host=host).replace("://", f"://{credentials}")

    async def handle(self, conn: Connection) -> None:
        """Serve one client: a tunnel, or requests to be sent on until it goes away."""
        while True:
            head = await conn.read_head()
            self.seen += head
            self.heads.append(head)
            method, target, _ = head.decode("latin-1").split(" ", 2)
            if self._user is not None and self._user not in head:
                await conn.send(DENIED)
                continue
            if method == "CONNECT":
                await self._tunnel(conn, target)
                return
            await self._forward(conn, head, target)

    async def _tunnel(self, conn: Connection, target: str) -> None:
        self.tunnels.append(target)
        reader, writer = await self._dial(target)
        try:
            await conn.send(self._established)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(conn.reader, writer, self.seen))
                group.create_task(self._pump(reader, conn.writer, bytearray()))
        finally:
            writer.transport.abort()

    async def _forward(self, conn: Connection, head: bytes, target: str) -> None:
        """Send a request on as proxies do: with a path, and without what was for us."""
        assert target.startswith("http://"), head
        authority, _, path = target.removeprefix("http://").partition("/")
        reader, writer = await self._dial(authority if ":" in authority else f"{authority}:80")
        try:
            head = head.replace(target.encode(), b"/" + path.encode(), 1)
            lines = [x for x in head.split(b"\r\n") if not x.lower().startswith(b"proxy-auth")]
            body = await conn.read_body(head)
            self.seen += body
            writer.write(b"\r\n".join(lines).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            writer.write(body)
            origin = Connection(conn.server, reader, writer)
            answer = await origin.read_head()
            await conn.send(answer + await origin.read_body(answer))
        finally:
            writer.transport.abort()

    async def _dial(self, authority: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self._names.get(authority) or int(authority.rpartition(":")[2])
        return await asyncio.open_connection("127.0.0.1", port)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray
    ) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(2**16):
                seen += data
                writer.write(data)
                await writer.drain()
        writer.close()


DENIED = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="ours"\r\n'
    b"Content-Length: 16\r\n\r\nnot the origin's"
)


@asynccontextmanager
async def relaying(
    names: dict[str, int] | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    user: bytes | None = None,
    established: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n",
) -> AsyncIterator[Relay]:
    """Run a proxy of our own; `user` is what has to be in the heads of those who may pass.

    `names` says at which port of this machine a "host:port" really is.
    """
    relay = Relay(names or {}, user, established)
    async with scripted(relay.handle, tls=tls) as relay.server:
        yield relay
