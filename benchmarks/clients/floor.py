"""The floor: the least that a client in Python could do, and less than any may.

A raw `BufferedProtocol` that sends prepared bytes and looks for nothing but the length of what
comes: no parsing, no pool, no future, no deadline. What it takes is what uvloop, the transport and
the kernel take.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from array import array
from time import perf_counter
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from clients import base

if TYPE_CHECKING:
    from load import Load

RECEIVE_SIZE = 256 * 1024


class Adapter(base.Adapter):
    distribution = "uvloop"

    async def drive(self, load: Load) -> array[float]:
        """Send the first URL's request from as many connections as there are callers."""
        if not load.is_plain_get:
            raise base.LeftOut("knows nothing but one GET, again and again")
        parts = urlsplit(load.url)
        assert parts.hostname is not None and parts.port is not None
        request = (
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: */*\r\n"
            "Accept-Encoding: gzip, deflate\r\nUser-Agent: floor\r\n\r\n"
        ).encode()
        loop = asyncio.get_running_loop()
        tls = self.setup.tls if parts.scheme == "https" else None
        context = tls if isinstance(tls, ssl.SSLContext) else None
        size = await asyncio.to_thread(self.learn, parts.hostname, parts.port, context, request)
        course = Course(request, size, load, loop)
        for _ in range(load.concurrency):
            await loop.create_connection(
                lambda: Connection(course), parts.hostname, parts.port, ssl=context
            )
        return await course.run()

    def learn(self, host: str, port: int, context: ssl.SSLContext | None, request: bytes) -> int:
        """How many bytes an answer has; it is the same each time."""
        with socket.create_connection((host, port)) as plain:
            connection = context.wrap_socket(plain, server_hostname=host) if context else plain
            connection.sendall(request)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            connection.close()
        head = received[: received.index(b"\r\n\r\n")].lower()
        _, found, length = head.partition(b"\r\ncontent-length: ")
        if not found:
            raise base.LeftOut("knows nothing but answers that have a Content-Length")
        return len(head) + 4 + int(length.split(b"\r\n")[0])


class Course:
    """What the connections have in common."""

    def __init__(
        self, request: bytes, size: int, load: Load, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.request = request
        self.size = size
        self.latencies = array("d")
        self.buffer = memoryview(bytearray(RECEIVE_SIZE))
        self.connections: list[Connection] = []
        self.under_way = 0
        self.ended: asyncio.Future[None] = loop.create_future()
        self._load = load
        self.until = 0.0

    async def run(self) -> array[float]:
        """Ask until the time is over: once without looking, then measured."""
        for seconds in self._load.warm_up, self._load.seconds:
            self.ended = asyncio.get_running_loop().create_future()
            del self.latencies[:]
            if seconds == self._load.seconds:
                self._load.begin()
            self.until = perf_counter() + seconds
            for connection in self.connections:
                connection.ask()
            await self.ended
        self._load.end()
        for connection in self.connections:
            connection.transport.abort()
        await asyncio.sleep(0)
        return self.latencies


class Connection(asyncio.BufferedProtocol):
    """Sends, counts bytes, sends again."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.left = 0  # bytes of the answer
        self.since = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.course.connections.append(self)

    def ask(self) -> None:
        self.course.under_way += 1
        self.left = self.course.size
        self.since = perf_counter()
        self.transport.write(self.course.request)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.course.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.left -= nbytes
        if self.left:
            return
        course = self.course
        now = perf_counter()
        course.latencies.append(now - self.since)
        if now < course.until:
            self.since = now
            self.left = course.size
            self.transport.write(course.request)
        else:
            course.under_way -= 1
            if not course.under_way:
                course.ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.left and not self.course.ended.done():
            self.course.ended.set_exception(ConnectionError("the server closed a connection"))
