"""The seed's StreamClient: the body of a response, chunk by chunk, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

from fastreq.building import URLTypes
from fastreq.client import Client
from fastreq.messages import Response


class ByteStream:
    """The body of one response, bytes as they come, never accumulated.

    The request is sent when it is entered, or when the first chunk is asked for:

        async for chunk in client.get(url):
            ...

        async with client.get(url) as response:
            async for chunk in response.iter_bytes():
                ...

    Leaving either early closes the connection.
    """

    def __init__(self, send: Callable[[], Awaitable[Response]]) -> None:
        self._send = send
        self._response: Response | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Chunks(self._send)

    async def __aenter__(self) -> Response:
        self._response = await self._send()
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

    def get(self, url: URLTypes, **options: Any) -> ByteStream:  # type: ignore[override]
        """A `ByteStream`, to be iterated over, or entered; options as of `Client.request()`."""
        request = self.build_request("GET", url, **options)
        return ByteStream(lambda: self.send(request, stream=True))
