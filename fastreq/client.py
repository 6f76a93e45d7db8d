"""The client: options in, a response out."""

from __future__ import annotations

import asyncio
import os
import re
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, Unpack

from fastreq.building import (
    REQUEST_OPTIONS,
    Builder,
    RequestOptions,
    SendOptions,
    URLTypes,
    check_options,
    to_retry,
)
from fastreq.bulk.crew import Crew, Results
from fastreq.bulk.progress import Meter, Progress
from fastreq.call import Exchanging, Policies, Transport, start
from fastreq.content.decode import accept_encoding
from fastreq.content.encode import JSONDumps
from fastreq.content.events import ServerSentEvent
from fastreq.engine import Engine
from fastreq.errors import ClientClosed, LocalProtocolError, RemoteProtocolError, quoted
from fastreq.eventsource import Events, follow_events
from fastreq.headers import TOKEN_CHARACTER, Headers, HeaderTypes
from fastreq.messages import BodyTypes, Request, Response
from fastreq.options import (
    UNSET,
    VERSION,
    Limits,
    Timeout,
    Unset,
    check_count,
    check_flag,
    check_type,
)
from fastreq.pacing import Pacing
from fastreq.policies.auth import AuthTypes, to_auth
from fastreq.policies.cookies import Cookies, CookieTypes
from fastreq.policies.guard import Address, guard
from fastreq.policies.hosts import Policy
from fastreq.policies.redirects import DEFAULT_SENSITIVE, field_names
from fastreq.policies.retries import Retry
from fastreq.pool import PoolStats
from fastreq.routing import Routes
from fastreq.trace import Hooks
from fastreq.url import URL

USER_AGENT: Final = f"fastreq/{VERSION.rpartition('.')[0]}"
DEFAULT_TIMEOUT: Final = Timeout()
DEFAULT_LIMITS: Final = Limits()
EVENTS_TIMEOUT: Final = Timeout(read=300)
"""A stream of events may be quiet; when it is so for minutes, its connection may be gone."""


_PROTOCOL: Final = re.compile(f"{TOKEN_CHARACTER}+(/{TOKEN_CHARACTER}+)?")


class Upgraded(NamedTuple):
    """A connection that speaks another protocol from here on, and is nobody's but yours."""

    response: Response
    transport: asyncio.Transport  # paused: set your protocol, then resume_reading()
    received: bytes  # what has come of that protocol already


class Client:
    """An HTTP/1.1 client with a pool of connections.

    It is made without a running loop and opens nothing until the first request. One client may be
    used under several loops, one after the other: connections of a loop that is gone are dropped.

    Args:
        base_url: what a relative URL is added to.
        headers: fields of every request, beside or in place of the usual ones.
        params: query parameters of every request.
        cookies: cookies to begin with, or a `Cookies` jar to share.
        auth: (user, password), or an `Auth`; for the origin that was asked for alone.
        timeout: seconds in all, or a `Timeout`; None: no limits.
        limits: how many connections are kept, and how long.
        retry: how often, or a `Retry`.
        follow_redirects: whether `Location` is followed.
        max_redirects: how often in a row.
        verify: True: certifi's authorities; "system": those of the operating system; a path: a
            file or folder of authorities; False: nobody is verified; or an `ssl.SSLContext`.
        cert: a client certificate: a path, (certificate, key), or (certificate, key, password).
        proxy: the URL of a proxy for every request: http://user:password@host:port, or https,
            socks5 (names are looked up here), socks5h (by the proxy). None: what HTTP_PROXY,
            HTTPS_PROXY, ALL_PROXY and NO_PROXY say in the environment when the client is made.
        trust_env: whether proxies and authorities from the environment count.
        max_body: bytes that a buffered body may have, as sent and decoded; streams have no limit.
        sensitive_headers: fields that no redirect takes to another origin, beside Authorization,
            Cookie and Proxy-Authorization, in place of the usual names of API keys; what is added
            to the client's `sensitive_headers` is so beside them.
        allow: "public", or what says of an address whether it may be connected to.
        policy: how hosts are treated: all, or by origin.
        max_in_flight: bytes of all bodies that are being buffered at once; over them, connections
            wait, but for the oldest, and what one read brings.
        json_dumps: encodes `json=` in place of the standard library: a function of the value that
            gives bytes or str, such as `orjson.dumps`.
        hooks: what is told as requests advance.
        transport: what stands in for pool and wire.

    Raises:
        TypeError: a keyword that there is not; the text says what was meant.
        ValueError: an option that cannot be.
    """

    def __init__(
        self,
        *,
        base_url: URLTypes = "",
        headers: HeaderTypes | None = None,
        params: Any = None,
        cookies: CookieTypes | None = None,
        auth: AuthTypes = None,
        timeout: float | Timeout | None = DEFAULT_TIMEOUT,
        limits: Limits = DEFAULT_LIMITS,
        retry: int | Retry = 0,
        follow_redirects: bool = True,
        max_redirects: int = 10,
        verify: Any = True,
        cert: Any = None,
        proxy: URLTypes | None = None,
        trust_env: bool = True,
        max_body: int | None = 256 * 2**20,
        sensitive_headers: Iterable[str] = DEFAULT_SENSITIVE,
        allow: Callable[[Address], bool] | Literal["public"] | None = None,
        policy: Policy | Mapping[str, Policy] | None = None,
        max_in_flight: int | None = None,
        json_dumps: JSONDumps | None = None,
        hooks: Hooks | None = None,
        transport: Transport | None = None,
        **unknown: Any,
    ) -> None:
        check_options("Client()", unknown, _OF_CLIENT)
        _check_parts(hooks, transport)
        usual = {"Accept": "*/*", "Accept-Encoding": accept_encoding(), "User-Agent": USER_AGENT}
        self._builder = Builder(
            base_url,
            Headers(usual).merged(headers or {}),
            params,
            SendOptions(
                Timeout.of(timeout),
                check_flag("follow_redirects", follow_redirects),
                to_retry(retry),
                to_auth(auth),
            ),
            json_dumps,
        )
        self.is_closed = False
        self._limits = check_type("limits", limits, Limits)
        self._policies = Policies(
            routes=Routes(verify, cert, check_flag("trust_env", trust_env), proxy),
            cookies=_jar(cookies),
            pacing=Pacing(policy) if policy is not None else None,
            max_redirects=check_count("max_redirects", max_redirects, least=0, optional=False),
            sensitive=field_names(sensitive_headers),
            max_body=check_count("max_body", max_body),
            hooks=hooks,
            transport=transport,
        )
        self._allowed = guard(allow)
        self._max_in_flight = check_count("max_in_flight", max_in_flight)
        self._engine: Engine | None = None  # what is bound to the loop it was used on last

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open"
        pool = f" {self._engine.pool}" if self._engine is not None else ""
        return f"<{type(self).__name__} {state}{pool}>"

    if not TYPE_CHECKING:  # to a type checker, a class with a __setattr__ has every name there is

        def __setattr__(self, name: str, value: Any) -> None:
            if name in _SETTLED:
                raise AttributeError(
                    f"{name} is settled when a client is made; make another with "
                    f"{type(self).__name__}({name}=...)"
                    + (f", or say {name}= with each request" if name in REQUEST_OPTIONS else "")
                )
            object.__setattr__(self, name, value)

    @property
    def headers(self) -> Headers:
        """The fields of every request; they may be changed."""
        return self._builder.headers

    @headers.setter
    def headers(self, fields: HeaderTypes) -> None:
        self._builder.headers = Headers(fields)

    @property
    def cookies(self) -> Cookies:
        """The jar: what servers have set, and what is sent; another may be put in its place."""
        return self._policies.cookies

    @cookies.setter
    def cookies(self, cookies: CookieTypes | None) -> None:
        self._policies.cookies = _jar(cookies)

    @property
    def sensitive_headers(self) -> set[str]:
        """Fields that no redirect takes to another origin; they may be added to, or replaced."""
        return self._policies.sensitive

    @sensitive_headers.setter
    def sensitive_headers(self, names: Iterable[str]) -> None:
        self._policies.sensitive = field_names(names)

    @property
    def base_url(self) -> URL:
        """What a relative URL is added to; "" where nothing is."""
        return self._builder.base_url

    # ---- requests

    async def request(
        self,
        method: str,
        url: URLTypes,
        *,
        params: Any = None,
        headers: HeaderTypes | None = None,
        cookies: CookieTypes | None = None,
        content: BodyTypes | None = None,
        data: Any = None,
        json: Any = None,
        files: Any = None,
        auth: AuthTypes | Unset = UNSET,
        timeout: float | Timeout | Unset | None = UNSET,
        follow_redirects: bool | Unset = UNSET,
        retry: int | Retry | Unset = UNSET,
        compress: Literal["gzip", "deflate"] | None = None,
        **unknown: Any,
    ) -> Response:
        """Send a request, and give its response with its whole body.

        Cancelling closes the connection that the request is on, and nothing else.

        Args:
            method: such as "GET".
            url: where to; anything whose `str()` is a URL.
            params: query parameters, added to the client's and the URL's.
            headers: fields beside, or in place of, the client's.
            cookies: cookies for this request alone, beside the client's.
            content: the body: bytes, str (sent as UTF-8), a binary file, or iterables of bytes.
            data: a form.
            json: anything that JSON has.
            files: files to upload, with the fields of `data`.
            auth: in place of the client's; None: no credentials.
            timeout: in place of the client's.
            follow_redirects: in place of the client's.
            retry: in place of the client's.
            compress: compress the body.

        Raises:
            InvalidURL, LocalProtocolError, TypeError: it cannot be sent; nothing was.
            TransportError: the response did not come.
            TooManyRedirects: they lead too far, or in a circle.
            DecodingError, BodyTooLarge: its body could not be read.
        """
        given = locals()  # by name, rather than all of them once more
        check_options("request()", unknown)
        options = {
            name: given[name] for name, usual in REQUEST_OPTIONS.items() if given[name] is not usual
        }
        return await self._call(method, url, options)

    def _call(self, method: str, url: URLTypes, options: Mapping[str, Any]) -> Exchanging:
        return self._start(self._builder.build(method, url, options))

    def _start(self, request: Request, streams: bool = False) -> Exchanging:
        engine = self._engine
        if engine is None or engine.is_closed or engine.loop is not asyncio.get_running_loop():
            engine = self._running_engine()
        options = request.options or self._builder.defaults
        return start(self._policies, engine, request, options, streams)

    def build_request(
        self, method: str, url: URLTypes, **options: Unpack[RequestOptions]
    ) -> Request:
        """Make a request as `request()` would, to be changed, and sent by `send()`.

        Raises:
            InvalidURL, LocalProtocolError, TypeError: it cannot be sent.
        """
        return self._builder.build(method, url, options)

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
        check_type("request", request, Request)
        return await self._start(request, streams=stream)

    async def get(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("GET", ...)`."""
        return await self._call("GET", url, options)

    async def head(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("HEAD", ...)`."""
        return await self._call("HEAD", url, options)

    async def options(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("OPTIONS", ...)`."""
        return await self._call("OPTIONS", url, options)

    async def delete(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("DELETE", ...)`."""
        return await self._call("DELETE", url, options)

    async def post(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("POST", ...)`."""
        return await self._call("POST", url, options)

    async def put(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("PUT", ...)`."""
        return await self._call("PUT", url, options)

    async def patch(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("PATCH", ...)`."""
        return await self._call("PATCH", url, options)

    async def query(self, url: URLTypes, **options: Unpack[RequestOptions]) -> Response:
        """`request("QUERY", ...)`: a safe method with a body."""
        return await self._call("QUERY", url, options)

    def stream(
        self, method: str, url: URLTypes, **options: Unpack[RequestOptions]
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

    def events(
        self, url: URLTypes, *, method: str = "GET", **options: Unpack[RequestOptions]
    ) -> AsyncIterator[ServerSentEvent]:
        """The server-sent events of a URL, for as long as one iterates: a stream that ends or
        breaks is opened again with `Last-Event-ID`. Options as of `request()`.

        A stream may be silent for five minutes, unless a timeout was given, here or to the client.

        Raises:
            HTTPStatusError, RemoteProtocolError: what came is no stream of events.
            ClientClosed: the client is closed, or was meanwhile.
        """
        if self._builder.defaults.timeout is DEFAULT_TIMEOUT:
            options = {"timeout": EVENTS_TIMEOUT, **options}
        return Events(
            follow_events(
                lambda: self.build_request(method, url, **options),
                lambda request: self.send(request, stream=True),
                lambda: self._policies.waits.until_closed("waited to go on with its events"),
            )
        )

    async def upgrade(
        self, url: URLTypes, protocol: str, **options: Unpack[RequestOptions]
    ) -> Upgraded:
        """Ask for another protocol on the connection (RFC 9110, section 7.8), and hand it over.

        Raises:
            LocalProtocolError: `protocol` is not the name of one, or of several with commas.
            RemoteProtocolError: the server does not switch, or to another one; the text has its
                status.
        """
        offered = _protocols(protocol)
        if not offered or not all(map(_PROTOCOL.fullmatch, offered)):
            raise LocalProtocolError(
                f"upgrade to {protocol!r}: expected the name of a protocol, such as 'websocket'"
            )
        request = self.build_request("GET", url, **options)
        request.headers["Connection"] = "Upgrade"
        request.headers["Upgrade"] = protocol
        response = await self.send(request, stream=True)
        transport, received = response.take_transport()
        wanted = response.headers.get("Upgrade", "")
        if transport is not None and (taken := _protocols(wanted)) and taken <= offered:
            return Upgraded(response, transport, received)
        if transport is not None:
            transport.abort()
        await response.aclose()
        raise _not_switched(response, protocol, wanted)

    def map(
        self,
        requests: Iterable[URLTypes | Request] | AsyncIterable[URLTypes | Request],
        *,
        concurrency: int = 100,
        ordered: bool = False,
        progress: bool | Callable[[Progress], None] = False,
        total: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> Results:
        """Send many requests, and give their results as they come.

            async with client.map(urls, concurrency=200) as results:
                async for result in results:
                    print(result.given, result.response or result.error)

        `requests` is pulled lazily, and at most `concurrency` of them are held, under way or done
        and not yet consumed: a slow consumer holds back the rest. Leaving the block, by break, an
        exception or cancelling, cancels what is under way, and waits for that.

        Args:
            requests: URLs to get, or Requests; an iterable, or an asynchronous one.
            concurrency: requests at once.
            ordered: give the results in the order of the requests, rather than as they finish.
            progress: True: a line on stderr now and then; or a function, called for each result.
            total: how many there are, for `progress`.
            options: as of `request()`, for each URL.

        Raises:
            TypeError: `requests` is no iterable, or an option is unknown.
            ValueError: `concurrency` is not a whole number from 1.
        """
        check_count("concurrency", concurrency, optional=False)
        check_options("map()", options)

        def build(given: URLTypes | Request) -> Request:
            if isinstance(given, Request):
                return given
            return self._builder.build("GET", given, options)

        def send(request: Request) -> Exchanging:
            return self._start(request, streams=False)

        crew = Crew(requests, build, send, concurrency, ordered)
        return Results(crew, Meter(progress, total) if progress else None)

    async def download(
        self,
        url: URLTypes,
        path: str | os.PathLike[str],
        *,
        resume: bool = True,
        checksum: str | None = None,
        progress: bool | Callable[[Progress], None] = False,
        segments: int = 1,
        **options: Unpack[RequestOptions],
    ) -> Response:
        """Save what a URL gives in a file, which appears under its name only once it is complete.

        What has come is kept in `path`.part when it breaks off, or is cancelled; the next download
        goes on from there, if the server still has the same file (`Range` and `If-Range`).

        Args:
            url: what to get.
            path: where to put it.
            resume: go on with an earlier download; False begins anew.
            checksum: what it has to hash to, as in "sha256:9f86d0...".
            progress: True: a line on stderr; or a function, called as bytes come.
            segments: how many ranges of it are fetched at once, if the server gives a strong
                validator and obeys `Range`; else it comes in one piece.
            options: as of `request()`; a `total` that was given is for all of it.

        Raises:
            HTTPStatusError: the server does not give it.
            TransportError: it does not come; what came is kept for the next time.
            DecodingError: it is not what the checksum says; nothing is kept.
            OSError: it cannot be written, or another download writes it.
            ValueError: the checksum is none, or `segments` no whole number from 1.
        """
        from fastreq.bulk.download import Download, as_callback  # benchmark: import

        check_count("segments", segments, optional=False)
        headers = Headers(options.get("headers"))
        given = options.get("timeout", UNSET)
        usual = self._builder.defaults.timeout
        timeout = usual if isinstance(given, Unset) else Timeout.of(given)
        total = timeout.total_of_stream
        due = None if total is None else monotonic() + total

        def open_url(fields: dict[str, str]) -> AbstractAsyncContextManager[Response]:
            options["headers"] = headers.merged(fields)
            if due is not None:
                options["timeout"] = replace(timeout, total=max(due - monotonic(), 0.001))
            return self.stream("GET", url, **options)

        job = Download(open_url, os.fsdecode(path), checksum, as_callback(progress), segments)
        return await job.run(resume)

    # ---- the client itself

    def stats(self) -> PoolStats:
        """Per origin, how many connections there are, and what for."""
        return self._engine.pool.stats() if self._engine is not None else PoolStats()

    def _running_engine(self) -> Engine | None:
        """What is bound to the running loop; made where the loop is another than last time.

        None: a transport stands in.
        """
        engine, loop, policies = self._engine, asyncio.get_running_loop(), self._policies
        if self.is_closed:
            raise ClientClosed("this client was closed; make another, or keep it open")
        if policies.transport is not None:
            return None
        if engine is not None and engine.loop is not loop:
            if engine.loop.is_running():
                raise RuntimeError(f"{self!r} is in use on another running event loop")
            engine.drop()
        self._engine = Engine(
            loop,
            self._limits,
            hooks=policies.hooks,
            allowed=self._allowed,
            max_connections=policies.pacing.max_connections if policies.pacing else None,
            max_in_flight=self._max_in_flight,
        )
        return self._engine

    async def aclose(self) -> None:
        """Close every connection, and wait until they are closed; what is under way fails."""
        self.is_closed = True
        self._policies.waits.close()
        engine = self._engine
        if engine is not None and not engine.is_closed:
            if engine.loop is asyncio.get_running_loop():
                await engine.aclose()
            elif engine.loop.is_running():
                engine.loop.call_soon_threadsafe(engine.drop)
            else:  # nobody is there to close anything properly
                engine.drop()
        if self._policies.transport is not None:
            await self._policies.transport.aclose()

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


def _check_parts(hooks: object, transport: object) -> None:
    """Refuse what could not play its part, before there is a request to fail."""
    if hooks is not None and not isinstance(hooks, Hooks):
        raise TypeError(f"hooks={hooks!r}: expected fastreq.Hooks(...)")
    for name in ("send", "aclose"):
        if transport is not None and not callable(getattr(transport, name, None)):
            raise TypeError(
                f"transport={transport!r} has no method {name}(); it takes `async def "
                "send(request)` and `async def aclose()`, as fastreq.testing.MockTransport has them"
            )


def _protocols(field: str) -> set[str]:
    """The protocols that an Upgrade names; their case does not count (RFC 9110, section 7.8)."""
    return {name for part in field.lower().split(",") if (name := part.strip(" \t"))}


def _not_switched(response: Response, protocol: str, named: str) -> RemoteProtocolError:
    text = f"{response.url.redacted} did not switch to {protocol}: {response!r}"
    error = RemoteProtocolError(f"{text}, Upgrade: {quoted(named)}" if named else text)
    error.phase = "head"
    error.belongs_to(response.request, response.attempts, response.elapsed)
    return error


_OF_CLIENT: Final = frozenset(Client.__init__.__kwdefaults__ or ())
_SETTLED: Final = _OF_CLIENT - {"headers", "cookies", "sensitive_headers"}
"""What cannot be changed once a client is made."""


def _jar(cookies: CookieTypes | None) -> Cookies:
    return cookies if isinstance(cookies, Cookies) else Cookies(cookies)
