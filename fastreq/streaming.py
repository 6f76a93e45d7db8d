"""StreamClient, as aioreq has it: the body of a response, chunk by chunk, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Self, Unpack

from fastreq.building import RequestOptions, URLTypes
from fastreq.client import Client
from fastreq.errors import StreamConsumed
from fastreq.messages import Request, Response


class ByteStream:
    """The body of one response, bytes as they come, never accumulated.

    The request is sent when it is entered, or when the first chunk is asked for:

        async for chunk in client.get(url):
            ...

        async with client.get(url) as response:
            async for chunk in response.iter_bytes():
                ...

    Leaving either early closes the connection. It is one response, of one request: whoever wants
    another asks the client again.
    """

    def __init__(self, request: Request, send: Callable[[Request], Awaitable[Response]]) -> None:
        self._request = request
        self._send: Callable[[Request], Awaitable[Response]] | None = send  # None: it was sent
        self._response: Response | None = None

    def __repr__(self) -> str:
        return f"<ByteStream of {self._request!r}>"

    def _open(self) -> Awaitable[Response]:
        send, self._send = self._send, None
        if send is None:
            error = StreamConsumed("this stream was asked for already; client.get() makes another")
            error.belongs_to(self._request, 1, 0.0)
            raise error
        return send(self._request)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The chunks of the body.

        Raises:
            StreamConsumed: it was iterated over, or entered, before; the first chunk says so.
        """
        return _Chunks(self._open)

    async def __aenter__(self) -> Response:
        self._response = await self._open()
        return self._response

    async def __aexit__(self, *exc: Any) -> None:
        if self._response is not None:
            await self._response.aclose()


class _Chunks:
    """The chunks, asked for one by one. No generator: a loop that is left early drops it at once,
    and with it the connection, where a generator would wait for the event loop to close it."""

    def __init__(self, send: Callable[[], Awaitable[Response]]) -> None:
        self._send = send
        self._pieces: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._pieces is None:
            self._pieces = (await self._send()).pieces()
        return await anext(self._pieces)


class StreamClient(Client):
    """A `Client` whose `get()` gives the body as it comes: `async for chunk in client.get(url)`."""

    def get(self, url: URLTypes, **options: Unpack[RequestOptions]) -> ByteStream:  # type: ignore[override]
        """A `ByteStream`, to be iterated over, or entered; options as of `Client.request()`."""
        request = self.build_request("GET", url, **options)
        return ByteStream(request, partial(self.send, stream=True))
