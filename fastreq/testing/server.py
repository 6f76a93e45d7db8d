"""The bundled HTTP/1.1 server: `python -m fastreq.testing.server --help`.

It keeps connections alive, answers pipelined requests in order, and makes a large body piece by
piece as the client takes it. What it answers is in `routes.py`, how it understands a request in
`request.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import ssl
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from fastreq.loop import run
from fastreq.testing.request import BadRequest, Request, parse
from fastreq.testing.routes import (
    Reply,
    item,
    pattern,
    refusal,
    reply_at_once,
    reply_to,
)

__all__ = ["Connection", "item", "main", "pattern", "serve"]

MAX_HEAD = 64 * 1024  # bytes; of what comes behind a request that is being answered, too
RECEIVE_SIZE = 256 * 1024
BACKLOG = 4096  # connections not accepted yet; the system may allow fewer

# Both loops ask for the buffer, read into it and hand it over in one go, so all connections can
# share one. Windows' proactor does not.
SHARED = memoryview(bytearray(RECEIVE_SIZE)) if sys.platform != "win32" else None


class Connection(asyncio.BufferedProtocol):
    """One client. `_step` is the state: the method that takes what is next off `_input`."""

    def __init__(self, connections: set[Connection]) -> None:
        self._connections = connections  # all that are open
        self._transport: asyncio.Transport
        # A memoryview: asyncio's TLS reads into slices of it, and a bytearray's are copies.
        self._buffer = SHARED or memoryview(bytearray(RECEIVE_SIZE))
        self._input = bytearray()  # received, and not understood yet
        self._step = self._receive_head  # gives whether there may be more to do
        self._request: Request  # its body is being received
        self._rest: Iterator[bytes] | None = None  # of the answer that is going out
        self._closes = False  # with that answer
        self._later: asyncio.Handle | None = None  # sends an answer, or the next piece of it
        self._may_write = True

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._step = self._wait
        if self._later:
            self._later.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        self._input += self._buffer[:size]
        self._advance()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._rest:
            self._send_soon()
        else:
            self._go_on()

    # In

    def _advance(self) -> None:
        try:
            while self._input and self._may_write and self._step():
                pass
        except BadRequest as error:
            self._answer(refusal(error))
        if len(self._input) > MAX_HEAD:
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._advance()

    def _receive_head(self) -> bool:
        end = self._input.find(b"\r\n\r\n", 0, MAX_HEAD) + 4
        if end < 4:
            if len(self._input) > MAX_HEAD:
                raise BadRequest(431, f"the head is over {MAX_HEAD} bytes")
            return False
        head = bytes(self._input[:end])
        del self._input[:end]
        reply = reply_at_once(head)
        if reply:
            self._answer(reply)
        else:
            self._request = parse(head)
            self._step = self._receive_body
            if self._request.fields.expects_continue and not self._input:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _receive_body(self) -> bool:
        if self._request.body.receive(self._input):
            self._answer(reply_to(self._request))
            return True
        return False

    def _wait(self) -> bool:
        """An answer is going out, or was the last."""
        return False

    # Out

    def _answer(self, reply: Reply) -> None:
        if reply.delay:
            self._step = self._wait
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(reply.delay, self._answer_late, reply)
            return
        self._transport.write(reply.start)
        if reply.rest:
            self._step = self._wait
            self._rest, self._closes = reply.rest(), reply.close
            self._send_soon()
        elif reply.close:
            self._step = self._wait
            self._transport.close()
        else:
            self._step = self._receive_head

    def _answer_late(self, reply: Reply) -> None:
        self._later = None
        self._answer(reply._replace(delay=0.0))
        self._go_on()

    def _send_soon(self) -> None:
        """Send a piece after the other connections have had their turn."""
        if not self._later:
            self._later = asyncio.get_running_loop().call_soon(self._send_piece)

    def _send_piece(self) -> None:
        self._later = None
        if not self._may_write or not self._rest:
            return
        if piece := next(self._rest, b""):
            self._transport.write(piece)
            if self._may_write:
                self._send_soon()
            return
        self._rest = None
        if self._closes:
            self._transport.close()
        else:
            self._step = self._receive_head
            self._go_on()


async def serve(
    host: str, port: int, tls_port: int, tls: ssl.SSLContext | None, ready: Callable[..., None]
) -> None:
    """Listen until SIGTERM, SIGINT or the end of stdin, unless that is /dev/null.

    `ready` is called with `port` and `tls_port`, the latter None without `tls`.

    Raises:
        OSError: one of the ports is not to be had.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    connections: set[Connection] = set()
    listen = partial(loop.create_server, partial(Connection, connections), host, backlog=BACKLOG)
    async with contextlib.AsyncExitStack() as stack:
        plain = await listen(port)
        stack.callback(plain.close)
        ports: dict[str, int | None] = {"port": _port(plain), "tls_port": None}
        if tls:
            secure = await listen(tls_port, ssl=tls)
            stack.callback(secure.close)
            ports["tls_port"] = _port(secure)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            loop.add_signal_handler(signal.SIGINT, stop.set)
        if sys.stdin and not is_null(sys.stdin.fileno()):
            at_end_of_stdin(lambda: loop.call_soon_threadsafe(stop.set))
        ready(**ports)
        await stop.wait()
    for connection in list(connections):
        connection._transport.abort()
    await asyncio.sleep(0)  # until they are gone


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def is_null(descriptor: int) -> bool:
    """Whether it is /dev/null, or its like: a device, and no terminal, which nobody closes."""
    return stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor)


def at_end_of_stdin(call: Callable[[], object]) -> None:
    """Call when stdin ends, as it does when the process that holds the other end is killed."""

    def watch() -> None:
        # os.read, since a sys.stdin that is being read cannot be closed when Python ends.
        while os.read(0, 4096):
            pass
        call()

    threading.Thread(target=watch, daemon=True).start()


def allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows this user."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str] | None = None) -> int:
    """Serve; print one line of JSON: {"host", "port", "tls_port", "pid"}, or {"error"}."""
    parser = argparse.ArgumentParser(
        prog="python -m fastreq.testing.server",
        description="A small HTTP/1.1 server; / lists what it answers. "
        "Prints its ports as a line of JSON, and ends at SIGTERM, or at the end of its input "
        "where that is a pipe or a terminal.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, is any free one")
    parser.add_argument("--tls-port", type=int, help="with --certfile; any free one by default")
    parser.add_argument("--certfile", help="certificate chain, PEM: serve TLS too")
    parser.add_argument("--keyfile", help="its key, where it is in a file of its own")
    options = parser.parse_args(arguments)
    if options.certfile is None and (options.tls_port, options.keyfile) != (None, None):
        parser.error("TLS needs a --certfile")

    def say(**what: object) -> None:
        print(json.dumps(what), flush=True)

    tls = None
    if options.certfile is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.set_alpn_protocols(["http/1.1"])
        try:
            tls.load_cert_chain(options.certfile, options.keyfile)
        except OSError as error:
            say(error=f"cannot use the certificate {options.certfile}: {error}")
            return 1
    allow_many_connections()
    ready = partial(say, host=options.host, pid=os.getpid())
    try:
        run(serve(options.host, options.port, options.tls_port or 0, tls, ready))
    except OSError as error:
        say(error=f"cannot listen on {options.host}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
