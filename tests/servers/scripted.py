"""A server that does exactly what a test says, over TCP, TLS or a unix socket.

    async def handler(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nhel")
        await conn.reset()

    async with scripted(handler) as server:
        await client.get(server.url("/"))

The handler runs once per connection, which is closed when it returns. What it raises comes out of
`async with scripted(...)`, except the errors of a client that went away.
"""

import asyncio
import itertools
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

Handler = Callable[["Connection"], Awaitable[None]]

CLIENT_WENT_AWAY = (ConnectionError, EOFError, ssl.SSLError)
MAX_HEAD_SIZE = 2**20

WATCHERS: list[Callable[["Server"], None]] = []
"""Told of each server that starts."""


class Connection:
    """The server's end of one connection."""

    def __init__(
        self, server: "Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    async def read_request(self) -> bytes:
        """One whole request, head and body; EOFError when the client closed instead."""
        head = await self.read_head()
        request = head + await self.read_body(head)
        self.server.requests.append(request)
        return request

    async def read_head(self) -> bytes:
        """A head alone, blank line included, to answer before the body comes."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def read_body(self, head: bytes) -> bytes:
        """The body that follows `head`, as it was sent: chunks stay chunks."""
        fields = parse_fields(head)
        if "chunked" in fields.get("transfer-encoding", ""):
            return await self._read_chunks()
        return await self.reader.readexactly(int(fields.get("content-length", 0)))

    async def _read_chunks(self) -> bytes:
        received = b""
        while True:
            line = await self.reader.readuntil(b"\r\n")
            received += line
            if size := int(line.partition(b";")[0], 16):
                received += await self.reader.readexactly(size + 2)
                continue
            while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
                received += line
            return received + line

    async def send(self, data: bytes, *, step: int | None = None) -> None:
        """Send `data`, whole or `step` bytes at a time, each in a packet of its own."""
        for start in range(0, len(data), step or len(data) or 1):
            if self.writer.is_closing():  # uvloop's transports take it badly
                raise ConnectionResetError("the client went away")
            self.writer.write(data[start : start + step] if step else data)
            await self.writer.drain()
            if step:
                await asyncio.sleep(0)

    async def half_close(self) -> None:
        """Send EOF and go on reading. Under TLS this is a cut: no close_notify is sent."""
        await self._flush()
        with self._socket() as sock:
            sock.shutdown(socket.SHUT_WR)

    async def reset(self) -> None:
        """Send RST after what was sent so far."""
        await self._flush()
        with self._socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        await self._wait_lost()

    async def close(self) -> None:
        """Close politely: what was sent arrives, and TLS says goodbye."""
        self.writer.close()
        await self._wait_lost()

    async def wait_closed(self) -> bytes:
        """Wait until the client closes; returns what it sent until then."""
        received = b""
        with suppress(*CLIENT_WENT_AWAY):
            while data := await self.reader.read(2**16):
                received += data
        return received

    @property
    def tls(self) -> ssl.SSLObject | None:
        """What was agreed on in the handshake: `version()`, `cipher()`, `getpeercert()`."""
        return self.writer.get_extra_info("ssl_object")

    async def _flush(self) -> None:
        while self.writer.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)

    def _socket(self) -> socket.socket:
        """The same socket under a descriptor of our own: uvloop hands out a mere image of it."""
        image = self.writer.get_extra_info("socket")
        if image is None:
            raise ConnectionResetError("the client went away")
        return socket.socket(fileno=os.dup(image.fileno()))

    async def _wait_lost(self) -> None:
        with suppress(*CLIENT_WENT_AWAY, TimeoutError):  # it may not say goodbye in time
            await self.writer.wait_closed()


class Server:
    """A running scripted server: where it is, and what has reached it."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None, path: Path | None) -> None:
        self.connections = 0  # accepted so far, after the handshake if there is one
        self.requests: list[bytes] = []  # what `read_request` returned, over all connections
        self.port = 0
        self._handler = handler
        self._tls = tls
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._listener: asyncio.Server

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str:
        """The URL of `path` on this server."""
        if self._path is not None:
            return f"http+unix://{quote(str(self._path), safe='')}{path}"
        return f"http{'s' if self._tls else ''}://{host}:{self.port}{path}"

    async def start(self, host: str) -> None:
        for watch in WATCHERS:
            watch(self)
        options = {"limit": MAX_HEAD_SIZE, "ssl": self._tls}
        if self._tls:
            # A client that is stuck must not hold up the end of the test.
            options |= {"ssl_handshake_timeout": 3.0, "ssl_shutdown_timeout": 1.0}
        if self._path is not None:
            self._listener = await asyncio.start_unix_server(self._accept, self._path, **options)
        else:
            self._listener = await asyncio.start_server(self._accept, host, 0, **options)
            self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything, then raise what a handler raised."""
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()
        if self._failures:
            raise self._failures[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(Connection(self, reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, conn: Connection) -> None:
        try:
            await self._handler(conn)
            await conn.close()
        except CLIENT_WENT_AWAY:
            pass
        except Exception as exc:
            self._failures.append(exc)
        finally:
            if not conn.writer.is_closing():  # Python 3.11.2 takes one abort, not two
                conn.writer.transport.abort()
            await conn._wait_lost()


@asynccontextmanager
async def scripted(
    handler: Handler,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    path: Path | None = None,
) -> AsyncIterator[Server]:
    """Run `handler` for each connection, on a free port of `host` or on the unix socket `path`."""
    server = Server(handler, tls, path)
    await server.start(host)
    try:
        yield server
    finally:
        await server.stop()


def serving(*responses: bytes, tls: ssl.SSLContext | None = None):  # type: ignore[no-untyped-def]
    """A scripted server with keep-alive that answers with `responses` in turn, then starts over.

    Every connection begins with the first; one that says `Connection: close` is the last.
    """

    async def answer(conn: Connection) -> None:
        for response in itertools.cycle(responses):
            await conn.read_request()
            await conn.send(response)
            if parse_fields(response).get("connection") == "close":
                return

    return scripted(answer, tls=tls)


def reply(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """A plain response: `reply(b"{}", "Content-Type: application/json")`."""
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def parse_fields(message: bytes) -> dict[str, str]:
    """The fields of a head, names and values in lower case; the last of a name counts."""
    lines = message.partition(b"\r\n\r\n")[0].decode("latin-1").lower().split("\r\n")[1:]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
