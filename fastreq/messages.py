"""Requests and responses."""

from __future__ import annotations

import copy
import json as json_codec
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from http import HTTPStatus
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias, TypeVar

from fastreq.content.charset import TextDecoder, charset_of, marked
from fastreq.content.events import EventParser, EventReader, ServerSentEvent
from fastreq.content.links import links
from fastreq.content.reading import (
    DecodedStream,
    Deferred,
    Made,
    Maker,
    Resizer,
    Stream,
    TextLines,
    Whole,
)
from fastreq.errors import FastreqError, HTTPStatusError, StreamConsumed, printable
from fastreq.headers import Headers, HeaderTypes
from fastreq.options import check_count
from fastreq.url import URL, parse_url

T = TypeVar("T")

BodyTypes: TypeAlias = bytes | bytearray | memoryview | str | Iterable[bytes] | AsyncIterable[bytes]


class Timings(NamedTuple):
    """How long each phase took, in seconds; 0.0 where it did not take place."""

    queue: float = 0.0
    dns: float = 0.0
    connect: float = 0.0
    tls: float = 0.0
    ttfb: float = 0.0
    body: float = 0.0
    total: float = 0.0


class Request:
    """What is asked of a server."""

    sign_again: Callable[[Request], Request] | None = None
    """Signs this once more for another try, where a scheme has to: its nonce counts, say."""

    def __init__(
        self,
        method: str,
        url: URL,
        fields: Headers,
        body: bytes | Iterable[bytes] | AsyncIterable[bytes] = b"",
        length: int | None = None,
    ) -> None:
        self.method = method
        self.url = url
        self.fields = fields  # not to be changed here: see `headers`
        self.body = body  # as it is sent: bytes, or what gives them piece by piece
        self.length = length  # of a body that is not bytes, where it is known
        self.options: Any = None  # the client's own, and nobody else's; None: all as it has them
        self._own = False  # the fields are this request's alone

    @property
    def headers(self) -> Headers:
        """The fields that are sent, beside Host and those that frame the body."""
        if not self._own:
            self.fields = self.fields.copy()
            self._own = True
        return self.fields

    def with_field(self, name: str, value: str) -> Request:
        """A copy that has this field, in place of those of the same name."""
        twin = copy.copy(self)
        twin.headers[name] = value
        return twin

    @property
    def content(self) -> bytes:
        """The body; `StreamConsumed` where it is a stream, of which nothing is kept."""
        if not isinstance(self.body, bytes):
            raise StreamConsumed("the body of this request is a stream; nothing of it is kept")
        return self.body

    def __repr__(self) -> str:
        url = self.url.redacted if self.url.userinfo else self.url.given
        return f"<Request {self.method} {url}>"

    def without_options(self) -> Request:
        """A copy that says what was asked, and not how it was to be sent, which is its client's
        own: there may be a password in it, or a function."""
        twin = copy.copy(self)
        twin.options = None
        return twin

    def __copy__(self) -> Request:
        """It may be changed without changing this one; a body that streams is shared."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.fields, twin._own = self.fields.copy(), True
        return twin

    def __getstate__(self) -> dict[str, Any]:
        body = self.body if isinstance(self.body, bytes) else b""
        state = {**self.__dict__, "body": body}
        state.pop("sign_again", None)  # which knows a password
        return state


class ResponseHead:
    """The head of a response: read once, looked at for the fields that matter, never changed."""

    __slots__ = (
        "body_length",
        "content_encoding",
        "content_length",
        "fields",
        "keep_alive_seconds",
        "lowered",
        "minor_version",
        "persistent",
        "reason",
        "says_keep_alive",
        "sets_cookies",
        "status",
        "transfer_encoding",
    )

    def __init__(self, minor_version: int, status: int, reason: bytes, fields: bytes) -> None:
        self.minor_version = minor_version
        self.status = status
        self.reason = reason
        self.fields = fields  # the lines, each with its CRLF
        self.lowered = b"\r\n" + fields.lower()  # so that a look-up is one search
        # What the framing of the message and the fate of its connection hang on;
        # http1.response fills them in.
        self.content_length: int | None = None
        self.body_length: int | None = None  # where the length alone says how the body ends
        self.transfer_encoding: bytes | None = None
        self.content_encoding: tuple[str, ...] = ()  # as the field lines have it
        self.persistent = False  # neither side said close (RFC 9112, section 9.3)
        self.says_keep_alive = False  # in so many words
        self.sets_cookies = False
        self.keep_alive_seconds: int | None = None

    def has(self, name: bytes) -> bool:
        """Whether there is a field of this name (in lower case)."""
        return self.lowered.find(b"\r\n" + name + b":") >= 0  # `in` takes thrice the time

    def values(self, name: bytes) -> list[bytes]:
        """The values of all fields of this name (in lower case), themselves in lower case."""
        values = []
        start = self.lowered.find(b"\r\n" + name + b":")
        while start >= 0:
            start += len(name) + 3
            end = self.lowered.index(b"\r\n", start)
            values.append(self.lowered[start:end].strip(b" \t"))
            start = self.lowered.find(b"\r\n" + name + b":", end)
        return values

    @property
    def http_version(self) -> str:
        """ "HTTP/1.0" or "HTTP/1.1"."""
        return f"HTTP/1.{self.minor_version}"


class Course(Protocol):
    """What an exchange knows of its own course, as a `Response` asks for it."""

    @property
    def remote_address(self) -> Any: ...
    @property
    def trailers(self) -> bytes: ...
    def timings(self) -> Timings: ...
    def take_transport(self) -> tuple[Any, bytes]: ...


class _Past(NamedTuple):
    """The course of an exchange that is over, or never was."""

    remote_address: Any = ""
    trailers: bytes = b""
    measured: Timings = Timings()

    def timings(self) -> Timings:
        return self.measured

    def take_transport(self) -> tuple[Any, bytes]:
        return None, b""


_MOST_SHOWN = 2000  # bytes of a body, for 200 characters of it
_REASONS = {int(status): status.phrase for status in HTTPStatus}


def _check_made(status: Any, content: Any) -> None:
    """Refuse what no response can be made of by hand."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"Response({status!r}): the status comes first, and is a number")
    if not isinstance(content, (bytes, bytearray, memoryview, str)):
        kind = type(content).__name__
        raise TypeError(f"Response(content=...) is {kind}; expected bytes or str")


class Response:
    """What the server answered.

    The names of aioreq (`status`, `status_message`, `body`) come first; httpx's are aliases. One
    may be made by hand, to stand for a server's: `Response(200, json={"ok": True})`.

    Attributes:
        status: the status code.
        request: the request that this answers.
        attempts: how many times the request was sent: retries, and what its auth needed.
    """

    # What most responses leave as it is stands on the class (benchmark: small, plain).
    _history: list[Response] | None = None
    _stream: DecodedStream | None = None
    _headers: Headers | None = None  # made when somebody asks
    _encoding: str | None = None
    _cookies: Any = None

    jar: ClassVar[Callable[[URL, Iterable[str]], Any]]
    """Makes a `Cookies` of Set-Cookie fields; put here by policies.cookies, which stands above."""

    def __init__(
        self,
        status: int = 200,
        *,
        headers: HeaderTypes | None = None,
        content: bytes | str = b"",
        json: Any = None,
        request: Request | None = None,
    ) -> None:
        _check_made(status, content)
        fields = Headers(headers)
        if json is not None:
            content = json_codec.dumps(json)
            fields.setdefault("Content-Type", "application/json")
        body = content.encode() if isinstance(content, str) else content
        reason = _REASONS.get(status, "").encode()
        head = ResponseHead(1, status, reason, fields.block)
        self.status = status
        self.request = request or Request("GET", parse_url("http://localhost/"), Headers())
        self._head = head
        self._course: Course = _Past()
        self._body: bytes | None = bytes(body)  # decoded, and whole
        self._headers = fields
        self.attempts = 1

    @classmethod
    def received(
        cls, request: Request, head: ResponseHead, course: Course, body: bytes | None = None
    ) -> Self:
        """A response from the wire; without a `body`, `attach()` one that is to be read."""
        response = cls.__new__(cls)
        response.status = head.status
        response.request = request
        response._head = head
        response._course = course
        response._body = body
        response.attempts = 1
        return response

    def attach(self, stream: Stream, max_body: int | None) -> None:
        """Let the body be read from `stream`; `aread()` holds at most `max_body` bytes of it."""
        request, course, attempts = self.request, self._course, self.attempts

        def blame(error: FastreqError) -> None:  # no method: dropping us has to drop the stream
            error.phase = error.phase or "body"
            error.belongs_to(request, attempts, course.timings().total)

        self._stream = DecodedStream(stream, self._head.content_encoding, max_body, blame)

    def __repr__(self) -> str:
        return f"<Response {self.status} {printable(self.status_message)}>"

    def table(self) -> str:
        """A table for a terminal: status, URL, times, fields without secrets, how it begins."""
        from fastreq.showing import as_text  # here, for hardly anybody asks

        return as_text(self)

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        from fastreq.showing import as_html

        return as_html(self)

    def __getstate__(self) -> dict[str, Any]:
        course = _Past(self.remote_address, self._course.trailers, self.timings)
        state = {**self.__dict__, "request": self.request.without_options(), "_course": course}
        state["_headers"] = copy.copy(self._headers)  # a copy may be changed
        state["_history"] = copy.copy(self._history)
        return {**state, "_cookies": None, "_stream": None}

    # ---- the head

    @property
    def status_message(self) -> str:
        """The reason phrase, such as "OK"; it may be empty."""
        return self._head.reason.decode("latin-1")

    @property
    def status_code(self) -> int:
        """`status`, as httpx and requests spell it."""
        return self.status

    @property
    def reason_phrase(self) -> str:
        """`status_message`, as httpx spells it."""
        return self.status_message

    @property
    def http_version(self) -> str:
        """ "HTTP/1.1" or "HTTP/1.0"."""
        return self._head.http_version

    @property
    def headers(self) -> Headers:
        """The header fields; trailers are kept apart."""
        if self._headers is None:
            self._headers = Headers.received(self._head.fields)
        return self._headers

    @property
    def history(self) -> list[Response]:
        """The responses that redirected here, oldest first."""
        if self._history is None:
            self._history = []
        return self._history

    @history.setter
    def history(self, responses: list[Response]) -> None:
        self._history = responses

    @property
    def url(self) -> URL:
        """Where this came from: after redirects, the last URL."""
        return self.request.url

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    @property
    def remote_address(self) -> Any:
        """(address, port) of the peer, or the path of its socket."""
        return self._course.remote_address

    @property
    def timings(self) -> Timings:
        """How long each phase took, in seconds."""
        return self._course.timings()

    @property
    def elapsed(self) -> float:
        """Seconds from the call to the last byte of the body."""
        return self.timings.total

    @property
    def trailers(self) -> Headers:
        """The trailer fields of a chunked body; empty until it has been read."""
        return Headers.received(self._course.trailers)

    @property
    def sets_cookies(self) -> bool:
        """Whether there is a Set-Cookie field; makes no `headers` to see it."""
        made = self._headers  # which may have one that no head had
        return self._head.sets_cookies or (made is not None and "set-cookie" in made)

    @property
    def cookies(self) -> Any:
        """The cookies that this response set, as a `Cookies` of their own."""
        if self._cookies is None:
            self._cookies = Response.jar(self.url, self.headers.get_list("set-cookie"))
        return self._cookies

    @property
    def links(self) -> dict[str, dict[str, str]]:
        """The Link fields by their relation: `response.links["next"]["url"]` (RFC 8288)."""
        return links(self.headers.get_list("link"), self.url)

    def take_transport(self) -> tuple[Any, bytes]:
        """The transport of a connection that was switched to another protocol, paused, and what
        has come of that; (None, b"") where nothing was switched, or it was taken."""
        return self._course.take_transport()

    def read_through(self, wrap: Callable[[Stream], Stream]) -> bool:
        """Have a body that streams be read from what `wrap` makes of it; False: it is whole."""
        if self._stream is None or self.is_read:
            return False
        self._stream.read_through(wrap)
        return True

    def when_ended(self, call: Callable[[FastreqError | None], None]) -> None:
        """Have `call` called once the body has ended, or has failed: at once, if it has."""
        if self._stream is None or self.is_read:
            call(None)
        else:
            self._stream.when_ended = call

    def raise_for_status(self) -> Self:
        """Give this response back, if its status is below 400.

        Raises:
            HTTPStatusError: it is 400 or above; the error has this `response`.
        """
        if self.ok:
            return self
        said = (self._body or b"")[:_MOST_SHOWN].decode(self.encoding, "replace")[:200]
        error = HTTPStatusError(
            f"{self.status} {printable(self.status_message)} for {self.request.method} "
            f"{self.url.redacted}" + (f": {printable(said)}" if said else "")
        )
        error.request = self.request
        error.response = self
        error.attempts = self.attempts
        error.elapsed = self.elapsed
        raise error

    # ---- the body

    @property
    def is_read(self) -> bool:
        """Whether the whole body is here; else this response streams."""
        return self._body is not None

    @property
    def body(self) -> bytes:
        """The whole body, decoded.

        Raises:
            StreamConsumed: this response streams, and its body was not read by `aread()`.
        """
        if self._body is None:
            raise self._consumed(
                "the body of this response is a stream: `await response.aread()`, or "
                "`async for chunk in response.iter_bytes()`"
            )
        return self._body

    @property
    def content(self) -> bytes:
        """`body`, as httpx and requests spell it."""
        return self.body

    @property
    def encoding(self) -> str:
        """The charset of `text`: a byte order mark, the Content-Type's charset, else UTF-8."""
        if self._encoding is not None:
            return self._encoding
        encoding = marked(self._body or b"") or charset_of(self.headers.get("Content-Type", ""))
        if self._body is not None:  # else it may begin with a mark
            self._encoding = encoding
        return encoding

    @encoding.setter
    def encoding(self, name: str) -> None:
        self._encoding = name

    @property
    def text(self) -> str:
        """The body as text; what is not in its charset becomes U+FFFD."""
        return self.body.decode(self.encoding, "replace")

    def json(self, *, loads: Callable[[bytes], Any] | None = None) -> Any:
        """The body, read as JSON by `loads` (any function of bytes).

        Raises:
            ValueError: it is no JSON.
        """
        return (loads or json_codec.loads)(self.body)

    async def aread(self) -> bytes:
        """Read what is left of the body, and keep it as `body`.

        Raises:
            StreamConsumed: some of it was read or dropped before.
            BodyTooLarge: it is more than the client's `max_body`.
        """
        if self._body is None:
            self._body = await self._opened().whole()
        return self._body

    # Of all of these, a read that is cancelled may be repeated; an end is an end of the body.

    def iter_raw(self) -> AsyncIterator[bytes]:
        """The body as it was sent, neither decoded nor kept."""
        return Deferred(self._as_sent)

    def iter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """The decoded body as it comes; `chunk_size` asks for pieces of just so many bytes.

        Raises:
            ValueError: `chunk_size` is no whole number from 1.
        """
        if chunk_size is None:
            return Deferred(self.pieces)
        check_count("chunk_size", chunk_size)
        return self._made(Resizer(chunk_size))

    def iter_lines(self) -> AsyncIterator[str]:
        """The lines of the body as they come, without their ends (CRLF, LF or CR)."""
        return self._made(TextLines(TextDecoder(self.encoding, marks=self._encoding is None)))

    def iter_events(self, parser: EventParser | None = None) -> AsyncIterator[ServerSentEvent]:
        """The server-sent events of the body as they come; see `Client.events()` for one that
        reconnects. A `parser` of one's own knows afterwards what to reconnect with."""
        return self._made(EventReader(EventParser() if parser is None else parser))

    aiter_bytes = iter_bytes
    aiter_raw = iter_raw
    aiter_lines = iter_lines

    async def aclose(self) -> None:
        """Drop what was not read of the body; its connection is closed, unless all was read."""
        if self._stream is not None:
            await self._stream.aclose()

    def pieces(self, holds_back: bool = False) -> AsyncIterator[bytes]:
        """The decoded body as it comes; dropping the iterator drops the rest of the body."""
        if self._body is not None:
            return Whole(self._body)
        return self._opened().begin(holds_back)

    def _as_sent(self) -> AsyncIterator[bytes]:
        if self._body is not None and not (self._body and self._head.content_encoding):
            return Whole(self._body)  # made by hand, or as it was sent
        return self._opened().undecoded()

    def _made(self, maker: Maker[T]) -> AsyncIterator[T]:
        return Made(lambda: self.pieces(holds_back=True), maker, self._fail)

    def _fail(self, error: FastreqError) -> None:
        """Note that the body is none that could be read as it was asked for."""
        if self._stream is not None:
            self._stream.fail(error)
        else:
            error.at("body").belongs_to(self.request, self.attempts, self.elapsed)

    def _opened(self) -> DecodedStream:
        if self._stream is None:
            raise self._consumed(
                "what was sent as the body of this response is not kept; client.stream() gives it"
            )
        return self._stream

    def _consumed(self, text: str) -> StreamConsumed:
        error = StreamConsumed(text)
        error.at("body").belongs_to(self.request, self.attempts, self.elapsed)
        return error
