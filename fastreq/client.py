"""The client: options in, a response out."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Any, Self, TypeAlias

from fastreq.connect import Route
from fastreq.content.decode import accept_encoding, codings_of, pieces
from fastreq.content.reading import too_large
from fastreq.deadline import NEVER
from fastreq.engine import Engine
from fastreq.errors import BodyTooLarge, ClientClosed, FastreqError
from fastreq.headers import Headers, HeaderTypes
from fastreq.http1.body import StreamedBody, WholeBody
from fastreq.http1.request import check_method
from fastreq.messages import BodyTypes, Request, Response, ResponseHead
from fastreq.options import UNSET, Limits, SendOptions, Timeout, Unset, unknown_keyword
from fastreq.pool import PoolStats
from fastreq.protocol import Exchange
from fastreq.tls import check, server_name, ssl_context
from fastreq.url import URL, parse_url

URLTypes: TypeAlias = str | URL

BREATH = 4 * 2**20
"""Bytes that are decoded before other tasks have their turn."""

MAX_ROUTES = 4096
"""Origins whose way is remembered."""


class Client:
    """An HTTP/1.1 client with a pool of connections.

    It is made without a running loop and opens nothing until the first request. One client may be
    used under several loops, one after the other: connections of a loop that is gone are dropped.

    Args:
        headers: fields of every request, beside or in place of the usual ones.
        timeout: seconds in all, or a `Timeout`; None: no limits.
        limits: how many connections are kept, and how long.
        follow_redirects: whether `Location` is followed.
        verify: True: certifi's authorities; "system": those of the operating system; a path: a
            file or folder of authorities; False: nobody is verified; or an `ssl.SSLContext`.
        cert: a client certificate: a path, (certificate, key), or (certificate, key, password).
        trust_env: whether `SSL_CERT_FILE` and `SSL_CERT_DIR` count.
        max_body: bytes that a buffered body may have, as sent and decoded; streams have no limit.

    Raises:
        TypeError: a keyword that there is not; the text says what was meant.
        ValueError: an option that cannot be.
    """

    def __init__(
        self,
        *,
        headers: HeaderTypes | None = None,
        timeout: float | Timeout | None = Timeout(),  # noqa: B008 (frozen)
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        follow_redirects: bool = True,
        verify: Any = True,
        cert: Any = None,
        trust_env: bool = True,
        max_body: int | None = 256 * 2**20,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise unknown_keyword("Client()", name, Client.__init__.__annotations__)
        usual = {"Accept": "*/*", "Accept-Encoding": accept_encoding(), "User-Agent": "fastreq/0.1"}
        self.headers = Headers(usual).merged(headers or {})
        self.max_body = max_body
        self.is_closed = False
        self._limits = limits
        self._defaults = SendOptions(Timeout.of(timeout), follow_redirects)
        check(verify, cert, trust_env)
        self._tls = (verify, cert, trust_env)
        self._routes: dict[str, Route] = {}  # by origin
        self._engine: Engine | None = None  # what is bound to the loop it was used on last

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        return f"<{type(self).__name__} {state} {self._engine.pool if self._engine else ''}>"

    # ---- requests

    async def request(
        self,
        method: str,
        url: URLTypes,
        *,
        headers: HeaderTypes | None = None,
        content: BodyTypes | None = None,
        timeout: float | Timeout | Unset | None = UNSET,
        follow_redirects: bool | Unset = UNSET,
        **unknown: Any,
    ) -> Response:
        """Send a request, and give its response with its whole body.

        Cancelling closes the connection that the request is on, and nothing else.

        Args:
            method: such as "GET".
            url: where to; anything whose `str()` is a URL.
            headers: fields beside, or in place of, the client's.
            content: the body: bytes, str (sent as UTF-8), or iterables of bytes.
            timeout: in place of the client's.
            follow_redirects: in place of the client's.

        Raises:
            InvalidURL, LocalProtocolError, TypeError: it cannot be sent; nothing was.
            TransportError: the response did not come.
            DecodingError, BodyTooLarge: its body could not be read.
        """
        for name in unknown:
            raise unknown_keyword("request()", name, Client.request.__annotations__)
        return await self.send(
            self._build(method, url, headers, content, timeout, follow_redirects)
        )

    def build_request(self, method: str, url: URLTypes, **options: Any) -> Request:
        """Make a request as `request()` would, to be changed, and sent by `send()`."""
        for name in options:
            if name not in _REQUEST_OPTIONS:
                raise unknown_keyword("build_request()", name, _REQUEST_OPTIONS)
        return self._build(method, url, *(options.get(n, d) for n, d in _REQUEST_OPTIONS.items()))

    def _build(
        self,
        method: str,
        url: URLTypes,
        headers: HeaderTypes | None,
        content: BodyTypes | None,
        timeout: float | Timeout | Unset | None,
        follow_redirects: bool | Unset,
    ) -> Request:
        fields = self.headers.snapshot()
        if headers is not None:
            fields = fields.merged(headers)
        request = Request(check_method(method), parse_url(url), fields)
        if content is not None:
            request.body = _body(content)
        if timeout is not UNSET or follow_redirects is not UNSET:
            request.options = self._options(timeout, follow_redirects)
        return request

    def _options(
        self, timeout: float | Timeout | Unset | None, follow_redirects: bool | Unset
    ) -> SendOptions:
        default = self._defaults
        return SendOptions(
            default.timeout if isinstance(timeout, Unset) else Timeout.of(timeout),
            default.follow_redirects if isinstance(follow_redirects, Unset) else follow_redirects,
        )

    async def send(self, request: Request, *, stream: bool = False) -> Response:
        """Send a request that `build_request()` made.

        Args:
            request: may be sent again, unless its body is a stream.
            stream: give the response as soon as its head is here; its body is read from it, and
                it must be closed by `aclose()`.

        Raises:
            TransportError: the response did not come.
            DecodingError, BodyTooLarge: its body could not be read.
        """
        started = monotonic()
        options = request.options or self._defaults
        try:
            engine = self._running_engine()
            if stream:
                return await self._open_stream(engine, request, options, started)
            return await self._exchange(engine, request, options, started)
        except FastreqError as exc:
            exc.request = exc.request or request
            exc.attempts = exc.attempts or 1
            exc.elapsed = monotonic() - started
            raise

    async def _exchange(
        self, engine: Engine, request: Request, options: SendOptions, started: float
    ) -> Response:
        """One request, and its whole response."""
        body = WholeBody(self.max_body)
        timeout = options.timeout
        due = NEVER if timeout.total is None else started + timeout.total
        route = self._route(request.url)
        exchange = await engine.exchange(request, route, timeout, body, due, started)
        head = exchange.final_head
        content = body.value()
        if head.content_encoding and content:
            content = await self._decode(content, head)
        return Response.received(request, head, exchange, content)

    async def _open_stream(
        self, engine: Engine, request: Request, options: SendOptions, started: float
    ) -> Response:
        """One request, and its response up to the body."""
        timeout = options.timeout
        total = timeout.total_of_stream
        due = NEVER if total is None else started + total
        route = self._route(request.url)
        exchange = await engine.exchange(request, route, timeout, StreamedBody(), due, started)
        response = Response.received(request, exchange.final_head, exchange)
        response.attach(exchange, self.max_body)
        return response

    async def _decode(self, content: bytes, head: ResponseHead) -> bytes:
        """Decode a body, letting others have their turn in a long one."""
        decoded, size, breath = [], 0, BREATH
        for piece in pieces(content, codings_of(head.content_encoding)):
            decoded.append(piece)
            size += len(piece)
            if self.max_body is not None and size > self.max_body:
                raise BodyTooLarge(too_large(self.max_body))
            if size > breath:
                breath += BREATH
                await asyncio.sleep(0)
        return decoded[0] if len(decoded) == 1 else b"".join(decoded)

    def _route(self, url: URL) -> Route:
        """The pool's key for this URL: what makes two connections interchangeable."""
        route = self._routes.get(url.origin)
        if route is None:
            tls = url.scheme.startswith("https")
            route = Route(
                scheme=url.scheme,
                host=url.host,
                port=url.effective_port,
                socket_path=url.socket_path,
                tls=ssl_context(*self._tls) if tls else None,
                server_hostname=server_name(url.host) if tls else None,
            )
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[url.origin] = route
        return route

    async def get(self, url: URLTypes, **options: Any) -> Response:
        """`request("GET", ...)`."""
        return await self.request("GET", url, **options)

    async def head(self, url: URLTypes, **options: Any) -> Response:
        """`request("HEAD", ...)`."""
        return await self.request("HEAD", url, **options)

    async def options(self, url: URLTypes, **options: Any) -> Response:
        """`request("OPTIONS", ...)`."""
        return await self.request("OPTIONS", url, **options)

    async def delete(self, url: URLTypes, **options: Any) -> Response:
        """`request("DELETE", ...)`."""
        return await self.request("DELETE", url, **options)

    async def post(self, url: URLTypes, **options: Any) -> Response:
        """`request("POST", ...)`."""
        return await self.request("POST", url, **options)

    async def put(self, url: URLTypes, **options: Any) -> Response:
        """`request("PUT", ...)`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: URLTypes, **options: Any) -> Response:
        """`request("PATCH", ...)`."""
        return await self.request("PATCH", url, **options)

    async def query(self, url: URLTypes, **options: Any) -> Response:
        """`request("QUERY", ...)`: a safe method with a body."""
        return await self.request("QUERY", url, **options)

    def stream(
        self, method: str, url: URLTypes, **options: Any
    ) -> AbstractAsyncContextManager[Response]:
        """Send a request, and read the body of its response as it comes.

            async with client.stream("GET", url) as response:
                async for chunk in response.iter_bytes():
                    ...

        Leaving the block early closes the connection.
        """
        return self._streaming(self.build_request(method, url, **options))

    @asynccontextmanager
    async def _streaming(self, request: Request) -> AsyncIterator[Response]:
        response = await self.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    # ---- the client itself

    def stats(self) -> PoolStats:
        """Per origin, how many connections there are, and what for."""
        return self._engine.pool.stats() if self._engine is not None else PoolStats()

    def _running_engine(self) -> Engine:
        """What is bound to the running loop; made where the loop is another than last time."""
        engine, loop = self._engine, asyncio.get_running_loop()
        if engine is not None and engine.loop is loop and not engine.is_closed:
            return engine
        if self.is_closed:
            raise ClientClosed("this client was closed; make another, or keep it open")
        if engine is not None and engine.loop is not loop:
            if engine.loop.is_running():
                raise RuntimeError(f"{self!r} is in use on another running event loop")
            engine.drop()
        self._engine = Engine(loop, self._limits)
        return self._engine

    async def aclose(self) -> None:
        """Close every connection, and wait until they are closed; what is under way fails."""
        self.is_closed = True
        if self._engine is not None and not self._engine.is_closed:
            await self._engine.aclose()

    async def __aenter__(self) -> Self:
        if self.is_closed:
            raise ClientClosed("this client was closed; make another")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        engine: Engine | None = getattr(self, "_engine", None)
        if engine is not None and engine.has_open_connections:
            warnings.warn(
                f"{self!r} was not closed: use `async with`, or `await client.aclose()`",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
            engine.loop.call_soon_threadsafe(engine.drop)


def _body(content: BodyTypes) -> bytes | Iterable[bytes] | AsyncIterable[bytes]:
    if isinstance(content, str):
        return content.encode()
    return bytes(content) if isinstance(content, (bytearray, memoryview)) else content


_REQUEST_OPTIONS: dict[str, Any] = {
    "headers": None,
    "content": None,
    "timeout": UNSET,
    "follow_redirects": UNSET,
}
"""What `request()` takes, in the order of `_build()`, with the value of what is not given."""
