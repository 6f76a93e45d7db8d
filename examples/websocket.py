"""A WebSocket over a connection of fastreq, whose frames are made and read by `websockets`.

The handshake is a request like any other: the client's TLS, proxies, cookies, auth and timeouts
hold for it. From the 101 on, the transport is ours. Needs `pip install websockets`.

Run `python examples/websocket.py [URL]`, such as wss://echo.websocket.org/; by default it starts
a server of its own.
"""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

import fastreq


class WebSocket(asyncio.Protocol):
    """Text messages over a transport that was handed over; flow control is left out."""

    def __init__(self, frames: ClientProtocol, transport: asyncio.Transport) -> None:
        self._frames = frames  # knows the protocol, and touches no socket
        self._transport = transport
        self._messages: asyncio.Queue[str | None] = asyncio.Queue()  # None: there are no more
        self._parts: list[bytes] = []  # of a message that comes in several frames

    async def send(self, message: str) -> None:
        self._frames.send_text(message.encode())
        self._flush()

    async def receive(self) -> str | None:
        return await self._messages.get()

    async def close(self) -> None:
        if self._frames.state is State.OPEN:
            self._frames.send_close(1000)
            self._flush()
        while await self.receive() is not None:
            pass

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        self._frames.receive_data(data)
        self._flush()  # the answer to a ping, or to a close
        for event in self._frames.events_received():
            if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._parts.append(event.data)
                if event.fin:
                    self._messages.put_nowait(b"".join(self._parts).decode())
                    self._parts.clear()

    def eof_received(self) -> None:
        self._frames.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self._messages.put_nowait(None)

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                self._transport.write(data)
            else:  # that is how it says that there will be no more
                self._transport.close()


async def connect(client: fastreq.Client, url: str) -> WebSocket:
    """Have a connection of the client switch to WebSocket (RFC 6455)."""
    frames = ClientProtocol(parse_uri(url))
    asked = frames.connect()
    frames.send_request(asked)
    frames.data_to_send()  # not needed: it is fastreq who sends it
    ours = ("host", "connection", "upgrade")
    headers = [pair for pair in asked.headers.raw_items() if pair[0].lower() not in ours]
    response, transport, received = await client.upgrade(
        url.replace("ws", "http", 1), "websocket", headers=headers
    )
    socket = WebSocket(frames, transport)
    transport.set_protocol(socket)
    # The head of the response, whose key `websockets` checks, and what came behind it.
    head = [b"HTTP/1.1 101 Switching Protocols", *(b": ".join(f) for f in response.headers.raw)]
    socket.data_received(b"\r\n".join([*head, b"", received]))
    if frames.handshake_exc is not None:
        transport.abort()
        raise frames.handshake_exc
    transport.resume_reading()
    return socket


async def main(url: str) -> None:
    async with fastreq.Client() as client:
        socket = await connect(client, url)
        for message in ("hello", "ünïcode", "x" * 1_000_000):
            await socket.send(message)
            answer = await socket.receive()
            print("the same came back:", answer == message, len(message))
        await socket.close()


async def main_with_a_server() -> None:
    async def echo(socket):  # type: ignore[no-untyped-def]
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        await main(f"ws://127.0.0.1:{port}/")


if __name__ == "__main__":
    fastreq.run(main(sys.argv[1]) if len(sys.argv) > 1 else main_with_a_server())
