"""The bundled server, in its own process, as clients that are not ours see it."""

import contextlib
import gzip
import http.client
import json
import os
import re
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastreq.testing import Server
from fastreq.testing.routes import MAX_AT_ONCE, PERIOD
from fastreq.testing.server import MAX_HEAD, item, pattern

GIB = 2**30
HOST = "Host: localhost\r\n"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREQ_LOOP", request.param)
        with Server(tls="auto") as running:
            yield running


def connected(server: Server, *, tls: bool = False) -> socket.socket:
    if tls and not server.tls_url:
        pytest.skip("trustme is not installed")
    url = (tls and server.tls_url) or server.url
    host, port = url.rpartition("/")[2].split(":")
    plain = socket.create_connection((host, int(port)), timeout=10)
    if not tls:
        return plain
    context = ssl.create_default_context(cafile=server.ca_file)
    return context.wrap_socket(plain, server_hostname=host)


class Client(http.client.HTTPConnection):
    """http.client, plain or over TLS; closed at the end of a `with` block."""

    def __init__(self, server: Server, *, tls: bool = False) -> None:
        super().__init__("localhost")
        self.sock = connected(server, tls=tls)
        self.auto_open = 0  # one that was closed is an error

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: str, path: str, **more: object) -> http.client.HTTPResponse:
        self.request(method, path, **more)  # type: ignore[arg-type]
        return self.getresponse()


def answer(server: Server, sent: str) -> bytes:
    """All that the server says to these bytes; the last request has to close the connection."""
    with connected(server) as sock:
        sock.sendall(sent.encode("latin-1"))
        return b"".join(iter(lambda: sock.recv(65536), b""))


def resident(server: Server) -> int:
    """Bytes of memory that the server's process holds."""
    statm = Path(f"/proc/{server.pid}/statm")
    if not statm.exists():
        pytest.skip("no /proc here")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- bodies --------------------------------------------------------------------------------------


def test_pattern() -> None:
    whole = pattern(0, 3 * PERIOD)

    assert 3 * PERIOD == len(whole)
    assert b"000000000000000\n000000000000016\n" == whole[:32]
    assert whole[PERIOD - 5 : PERIOD + 400_000] == pattern(PERIOD - 5, 400_005)[: 2 * PERIOD + 5]
    assert pattern(7, 1000) == pattern(PERIOD * 10**9 + 7, 1000)


@pytest.mark.parametrize("shift", [1, 2, 15, 16, 17, 1024, 16384, 65536, 2**18, 2**20, 2**30])
def test_pattern_shows_shifts(shift: int) -> None:
    assert pattern(0, 100) != pattern(shift, 100)


def test_items_differ() -> None:
    items = [item(n) for n in range(1000)]

    assert 1000 == len(set(items))
    assert list(range(1000)) == [json.loads(body)["item"] for body in items]


# ---- routes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    ("path", "status", "kind", "body"),
    [
        ("/hello", 200, "text/plain", b"hello"),
        ("/hello?query", 200, "text/plain", b"hello"),
        ("/item/0", 200, "application/json", item(0)),
        ("/item/123456789", 200, "application/json", item(123456789)),
        *(
            (f"/{route}/{size}", 200, "text/plain", pattern(0, size))
            for route in ("bytes", "chunked", "close")
            for size in (0, 1, 3, 5, 10_000, MAX_AT_ONCE, MAX_AT_ONCE + 1, 3_000_001)
        ),
        ("/delay/0.05", 200, "text/plain", b"hello"),
        ("/redirect/0", 200, "text/plain", b"hello"),
        ("/status/200", 200, "text/plain", b"status 200\n"),
        ("/status/503", 503, "text/plain", b"status 503\n"),
        ("/status/799", 799, "text/plain", b"status 799\n"),
        ("/status/205", 205, "text/plain", b""),
        ("/status/204", 204, None, b""),
        ("/status/304", 304, None, b""),
        *(
            (path, 404, "text/plain", b"not found; / lists what there is\n")
            for path in (
                *("/none", "/hello/", "//", "/bytes", "/bytes/", "/bytes/*", "/bytes/1/2", "*"),
                *("/bytes/-1", "/bytes/1_0", "/bytes/" + "9" * 5000, "/bytes/9999999999999999"),
                *("/status/100", "/status/1000", "/delay/nan", "/delay/-1", "/delay/1e9"),
                "http://localhost/hello",
            )
        ),
    ],
)
def test_route(
    server: Server, tls: bool, path: str, status: int, kind: str | None, body: bytes
) -> None:
    with Client(server, tls=tls) as client:
        response = client.ask("GET", path)

        assert status == response.status
        assert kind == response.headers["content-type"]
        assert body == response.read()
        if path.startswith("/close"):
            assert "close" == response.headers["connection"]
        else:
            assert b"hello" == client.ask("GET", "/hello").read()


def test_json(server: Server) -> None:
    with Client(server) as client:
        body = client.ask("GET", "/json").read()

    assert 66 == len(body)
    assert {"id": 1, "name": "fastreq"}.items() <= json.loads(body).items()


@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_compressed(server: Server, size: int) -> None:
    with Client(server) as client:
        for coding, unpack in ("gzip", gzip.decompress), ("deflate", zlib.decompress):
            response = client.ask("GET", f"/{coding}/{size}")

            assert coding == response.headers["content-encoding"]
            assert pattern(0, size) == unpack(response.read())


def test_redirects(server: Server) -> None:
    path, hops = "/redirect/3", 0
    with Client(server) as client:
        while (response := client.ask("GET", path)).status == 302:
            response.read()
            path, hops = response.headers["location"], hops + 1
        assert b"hello" == response.read()

    assert 3 == hops
    assert "/hello" == path


def test_moved(server: Server) -> None:
    with Client(server) as client:
        response = client.ask("GET", "/moved")

        assert 301 == response.status
        assert "/hello" == response.headers["location"]
        assert int(response.headers["content-length"]) == len(response.read()) > 200


def test_index(server: Server) -> None:
    """Every route is listed, with what it does."""
    with Client(server) as client:
        lines = client.ask("GET", "/").read().decode().splitlines()

    assert len(lines) > 10
    assert all(re.fullmatch(r"/\S* +[A-Z66].+", line) for line in lines)
    assert any(line.startswith("/bytes/* ") for line in lines)


def test_delay(server: Server) -> None:
    started = time.monotonic()
    with Client(server) as client:
        client.ask("GET", "/delay/0.2").read()

    assert time.monotonic() - started >= 0.2


def test_events(server: Server) -> None:
    """Each once: who has seen them all gets a 204."""
    with Client(server) as client:
        assert 200 == client.ask("GET", "/events/2").status
    for seen, expected in [("0", [1, 2, 3]), ("2", [3])]:
        with Client(server) as client:
            response = client.ask("GET", "/events/3", headers={"Last-Event-ID": seen})
            assert "text/event-stream" == response.getheader("Content-Type")
            text = response.read().decode()
        ids = [int(line.partition(" ")[2]) for line in text.split("\n") if line.startswith("id")]
        assert expected == ids
    with Client(server) as client:
        assert 204 == client.ask("GET", "/events/3", headers={"Last-Event-ID": "3"}).status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "QUERY", "GET"])
def test_echo(server: Server, method: str) -> None:
    """The request comes back with each byte and each field."""
    body = bytes(range(256))
    with Client(server) as client:
        response = client.ask(method, "/echo?a=b", body=body, headers={"X-Name": "\xe9"})
        said = json.loads(response.read())

    assert method == said["method"]
    assert "/echo?a=b" == said["path"]
    assert {"X-Name": "\xe9", "Content-Length": "256"}.items() <= dict(said["headers"]).items()
    assert body == said["body"].encode("latin-1")


def test_echo_without_body(server: Server) -> None:
    with Client(server) as client:
        said = json.loads(client.ask("GET", "/echo").read())

    assert "GET" == said["method"]
    assert "" == said["body"]


def test_echo_chunked(server: Server) -> None:
    chunks = [b"one", b"x" * 100_000, b"two"]
    with Client(server) as client:
        client.request("POST", "/echo", body=iter(chunks), encode_chunked=True)
        said = json.loads(client.getresponse().read())
        assert b"hello" == client.ask("GET", "/hello").read()

    assert "chunked" == dict(said["headers"])["Transfer-Encoding"]
    assert b"".join(chunks) == said["body"].encode()


def test_echo_too_large(server: Server) -> None:
    with Client(server) as client:
        assert 413 == client.ask("POST", "/echo", body=bytes(17 * 2**20)).status


@pytest.mark.parametrize("tls", [False, True])
def test_upload(server: Server, tls: bool) -> None:
    body = pattern(0, 5_000_000)
    with Client(server, tls=tls) as client:
        said = json.loads(client.ask("PUT", "/upload", body=body).read())

    assert {"received": len(body), "crc32": zlib.crc32(body)} == said


@pytest.mark.parametrize("path", ["/hello", "/bytes/3000000", "/chunked/9", "/gzip/9", "/moved"])
def test_head_is_as_of_get(server: Server, path: str) -> None:
    with Client(server) as client:
        of_head = client.ask("HEAD", path)
        assert b"" == of_head.read()
        of_get = client.ask("GET", path)
        of_get.read()

    assert of_get.status == of_head.status
    assert of_get.headers.items() == of_head.headers.items()


# ---- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
def test_keep_alive(server: Server, tls: bool) -> None:
    """One connection serves many requests."""
    with Client(server, tls=tls) as client:
        for n in range(300):
            assert item(n) == client.ask("GET", f"/item/{n}").read()


def test_connection_close_is_obeyed(server: Server) -> None:
    said = answer(server, f"GET /hello HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n" + "rest")

    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in said
    assert said.endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_pipelined(server: Server, step: int) -> None:
    """Requests in one packet, or cut anywhere, are answered in order, whatever each takes."""
    asked = [
        ("GET /item/1", "", pattern(0, 0) + item(1)),
        ("GET /delay/0.05", "", b"hello"),
        ("POST /upload", "hello", b'{"received": 5, "crc32": %d}' % zlib.crc32(b"hello")),
        ("GET /bytes/300000", "", pattern(0, 300_000)),
        ("GET /status/404", "", b"status 404\n"),
        ("GET /item/2", "", item(2)),
        ("GET /close/100000", "", pattern(0, 100_000)),
        ("GET /never", "", None),
    ]
    sent = "".join(
        f"{line} HTTP/1.1\r\n{HOST}Content-Length: {len(body)}\r\n\r\n{body}"
        for line, body, _ in asked
    ).encode()
    with connected(server) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), step):
            sock.sendall(sent[start : start + step])
        with sock.makefile("rb") as file:
            said = file.read()

    for _, _, body in asked[:-1]:
        head, _, said = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 ")
        assert body is not None
        assert body == said[: len(body)]
        said = said[len(body) :]
    assert b"" == said


def test_continue(server: Server) -> None:
    """A client that waits for 100 Continue gets it; one that does not is not kept either."""
    head = f"PUT /upload HTTP/1.1\r\n{HOST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with connected(server) as sock:
        sock.sendall(head.encode())
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == sock.recv(1000)
        sock.sendall(b"hello" + head.encode() + b"hello")
        said = b""
        while said.count(b'"received": 5') < 2:
            said += sock.recv(1000) or pytest.fail("closed")

    assert b"100 Continue" not in said


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, "hello\r\n\r\n"),
        (400, f"GET /hello HTTP/1.0\r\n{HOST}\r\n"),
        (400, f"POST /echo HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"),
        (431, f"GET /hello HTTP/1.1\r\n{HOST}X: " + "x" * MAX_HEAD),
    ],
)
def test_refused(server: Server, status: int, sent: str) -> None:
    """What is not HTTP/1.1 is answered, in its turn, and ends the connection."""
    said = answer(server, f"GET /hello HTTP/1.1\r\n{HOST}\r\n" + sent)

    first, _, second = said.partition(b"hello")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in second


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("route", ["bytes", "chunked", "close", "gzip"])
def test_large_body_is_made_as_it_is_read(server: Server, route: str, tls: bool) -> None:
    """A client that stops reading 1 GiB stops its making: memory stays flat."""
    with Client(server, tls=tls) as client:
        before = resident(server)
        response = client.ask("GET", f"/{route}/{GIB}")
        for offset in range(0, 2**20, 2**16):
            part = response.read(2**16)
            assert route == "gzip" or pattern(offset, 2**16) == part
        time.sleep(0.1)

        assert resident(server) - before < 8 * 2**20
        with Client(server) as other:
            assert b"hello" == other.ask("GET", "/hello").read()


def test_client_that_never_reads(server: Server) -> None:
    """Answers do not pile up for a client that asks on and on; all come once it reads."""
    request = f"GET /bytes/60000 HTTP/1.1\r\n{HOST}X: {'x' * 4000}\r\n\r\n".encode()
    flood = memoryview(request * 10_000)
    sent, before = 0, resident(server)
    with connected(server) as sock:
        sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while sent < len(flood):
                sent += sock.send(flood[sent : sent + 65536])
        asked, grown = sent // len(request), resident(server) - before
        sock.settimeout(10)
        with sock.makefile("rb") as file:
            for _ in range(asked):
                head = list(iter(file.readline, b"\r\n"))
                assert head[0].startswith(b"HTTP/1.1 200")
                assert pattern(0, 60_000) == file.read(60_000)

    assert 100 < asked < 10_000
    assert grown < 8 * 2**20
