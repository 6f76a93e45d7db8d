"""What the bundled server answers: a request in, the bytes of a reply out, no I/O.

Every body follows from the request, so a client can check each byte: `item` and `pattern` say
what is to come. There is no Date, so that a reply is the same each time. `ROUTES`, at the end, is
the list.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from http import HTTPStatus
from typing import NamedTuple

from fastreq.testing.request import BadRequest, Request, parse

PIECE = 256 * 1024  # bytes of a large body that are made, and held, at a time
MAX_AT_ONCE = 64 * 1024  # bytes of a body that is made whole, and kept with its head
MAX_PACKED_AT_ONCE = 1024 * 1024  # the same, before compression
MAX_LENGTH = 2**50  # bytes, in a path
MAX_DELAY = 3600  # seconds
MAX_EVENTS = 1000

JSON = b'{"id": 1, "name": "fastreq", "tags": ["http", "async", "uvloop"]}\n'
MOVED = (
    b'<HTML><HEAD><meta http-equiv="content-type" content="text/html;charset=utf-8">\n'
    b"<TITLE>301 Moved</TITLE></HEAD><BODY>\n<H1>301 Moved</H1>\nThe document has moved\n"
    b'<A HREF="/hello">here</A>.\r\n</BODY></HTML>\r\n'
)

PERIOD = 16 * 4099  # the prime keeps it from being a multiple of the size of any buffer
_PATTERN = b"".join(b"%015d\n" % offset for offset in range(0, PERIOD, 16))
_PATTERN *= 2 + PIECE // PERIOD  # so that a piece is a slice of it, wherever it starts


def pattern(offset: int, size: int) -> bytes:
    """What /bytes sends from `offset` on: lines of 16 bytes that tell their offset, modulo PERIOD.

    No two lines of a period are the same, so bytes lost, doubled or from another place are seen.
    """
    start = offset % PERIOD
    return (_PATTERN * (1 + (start + size) // len(_PATTERN)))[start : start + size]


def item(n: int) -> bytes:
    """The body of /item/<n>: its text and its length depend on `n`."""
    return b'{"item": %d, "square": %d, "filler": "%b"}' % (n, n * n, b"x" * (n % 97))


# ---- replies -------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What a route says. The body is as it goes out, with the framing of chunks."""

    status: int
    fields: tuple[str, ...] = ()
    body: bytes = b""
    rest: Callable[[], Iterator[bytes]] | None = None  # of the body, made while it goes out
    close: bool = False
    delay: float = 0.0


class Reply(NamedTuple):
    """What goes out."""

    start: bytes  # the head, and what there is of the body
    rest: Callable[[], Iterator[bytes]] | None
    close: bool
    delay: float  # seconds before it goes out


@lru_cache(maxsize=512)  # the benchmarks ask for the same again and again
def reply_at_once(head: bytes) -> Reply | None:
    """The reply to a request without a body; None: there is a body to be received first.

    Raises:
        BadRequest: it is none.
    """
    request = parse(head)
    return reply_to(request) if request.body.is_complete else None


def reply_to(request: Request) -> Reply:
    """The reply to a request whose body is complete."""
    root, *parts = request.target.partition("?")[0].split("/")
    route = ROUTES.get("/".join([root, *parts[:1], *("*" for _ in parts[1:])]))
    try:
        answer = route(request, *parts[1:]) if route else not_found()
    except ValueError:  # what stands for the * is no number, or too large a one
        answer = not_found()
    return _reply(answer, without_body=request.method == "HEAD", close=request.fields.close)


def refusal(error: BadRequest) -> Reply:
    """The reply to what is no request."""
    return _reply(whole(f"{error}\n".encode(), "text/plain", error.status), close=True)


def _reply(answer: Answer, *, without_body: bool = False, close: bool) -> Reply:
    close = close or answer.close
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {answer.status} {phrase}", "Server: fastreq-testing", *answer.fields]
    if close:
        lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode()
    if without_body:
        return Reply(head, None, close, answer.delay)
    return Reply(head + answer.body, answer.rest, close, answer.delay)


# ---- bodies --------------------------------------------------------------------------------------


def whole(body: bytes, kind: str = "application/json", status: int = 200, *more: str) -> Answer:
    """An answer whose body is there, with its length."""
    return Answer(status, (f"Content-Type: {kind}", f"Content-Length: {len(body)}", *more), body)


def made(size: int, make: Callable[[], Iterator[bytes]], *fields: str) -> Answer:
    """An answer whose body is made now if `size`, its bytes, are few, and else as it goes out."""
    fields = ("Content-Type: text/plain", *fields)
    if size <= MAX_AT_ONCE:
        return Answer(200, fields, b"".join(make()))
    return Answer(200, fields, rest=make)


def pieces(size: int, step: int = PIECE) -> Iterator[bytes]:
    for offset in range(0, size, step):
        yield pattern(offset, min(step, size - offset))


def packed(size: int, wbits: int) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=wbits)
    for piece in pieces(size):
        yield packer.compress(piece)
    yield packer.flush()


def in_chunks(make: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    for piece in make():
        if piece:  # an empty chunk would be the end
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_LENGTH):
        raise ValueError(f"not a number up to {MAX_LENGTH}: {text}")
    return int(text)


# ---- routes --------------------------------------------------------------------------------------


def index(request: Request) -> Answer:
    """This list"""
    lines = [f"{path:12} {route.__doc__}\n" for path, route in ROUTES.items()]
    return whole("".join(lines).encode(), "text/plain")


def not_found() -> Answer:
    return whole(b"not found; / lists what there is\n", "text/plain", 404)


def hello(request: Request) -> Answer:
    """The word hello"""
    return whole(b"hello", "text/plain")


def json_(request: Request) -> Answer:
    """66 bytes of JSON"""
    return whole(JSON)


def item_(request: Request, n: str) -> Answer:
    """JSON made from the number"""
    return whole(item(number(n)))


def bytes_(request: Request, n: str) -> Answer:
    """So many bytes, with Content-Length"""
    size = number(n)
    return made(size, partial(pieces, size), f"Content-Length: {size}")


def chunked(request: Request, n: str) -> Answer:
    """So many bytes, in 4 or more chunks"""
    size = number(n)
    step = min(max(size // 4, 1), 64 * 1024)
    chunks = partial(in_chunks, partial(pieces, size, step))
    return made(size, chunks, "Transfer-Encoding: chunked")


def close(request: Request, n: str) -> Answer:
    """So many bytes, ended by closing the connection"""
    size = number(n)
    return made(size, partial(pieces, size))._replace(close=True)


def compressed(coding: str, wbits: int, n: str) -> Answer:
    size = number(n)
    make = partial(packed, size, wbits)
    if size > MAX_PACKED_AT_ONCE:
        chunks = partial(in_chunks, make)
        return made(size, chunks, f"Content-Encoding: {coding}", "Transfer-Encoding: chunked")
    return whole(b"".join(make()), "text/plain", 200, f"Content-Encoding: {coding}")


def gzip(request: Request, n: str) -> Answer:
    """So many bytes, compressed by gzip"""
    return compressed("gzip", zlib.MAX_WBITS + 16, n)


def deflate(request: Request, n: str) -> Answer:
    """So many bytes, compressed by deflate (zlib)"""
    return compressed("deflate", zlib.MAX_WBITS, n)


def redirect(request: Request, hops: str) -> Answer:
    """A 302, so many times, then /hello"""
    left = number(hops) - 1
    if left < 0:
        return hello(request)
    location = f"/redirect/{left}" if left else "/hello"
    return whole(b"", "text/plain", 302, f"Location: {location}")


def moved(request: Request) -> Answer:
    """A 301 to /hello, with a page"""
    return whole(MOVED, "text/html; charset=UTF-8", 301, "Location: /hello")


def status(request: Request, code: str) -> Answer:
    """An answer of this status"""
    asked = number(code)
    if not 200 <= asked <= 999:
        raise ValueError(f"not the status of an answer: {asked}")
    if asked in (204, 304):
        return Answer(asked)
    return whole(b"" if asked == 205 else b"status %d\n" % asked, "text/plain", asked)


def delay(request: Request, seconds: str) -> Answer:
    """The word hello, so many seconds later"""
    if not 0 <= float(seconds) <= MAX_DELAY:
        raise ValueError(f"not a time up to {MAX_DELAY} s: {seconds}")
    return hello(request)._replace(delay=float(seconds))


def events(request: Request, n: str) -> Answer:
    """So many server-sent events, each once: after Last-Event-ID come the rest, then a 204"""
    seen = [value for name, value in request.fields.all if name.lower() == "last-event-id"]
    first, last = number(seen[0] if seen else "0") + 1, min(number(n), MAX_EVENTS)
    if first > last:
        return Answer(204)
    lines = [f'id: {i}\ndata: {{"number": {i}}}\n\n' for i in range(first, last + 1)]
    return whole("".join(["retry: 10\n", *lines]).encode(), "text/event-stream")


def echo(request: Request) -> Answer:
    """The request as JSON; "body" has a character per byte"""
    body = request.body
    if body.received > len(body.content):
        text = f"a body of up to {len(body.content)} bytes is echoed, not {body.received}\n"
        return whole(text.encode(), "text/plain", 413)
    said = {
        "method": request.method,
        "path": request.target,
        "headers": request.fields.all,
        "body": body.content.decode("latin-1"),
    }
    return whole(json.dumps(said).encode())


def upload(request: Request) -> Answer:
    """Length and CRC-32 of the request's body, as JSON"""
    return whole(b'{"received": %d, "crc32": %d}' % (request.body.received, request.body.crc32))


ROUTES: dict[str, Callable[..., Answer]] = {
    "/": index,
    "/hello": hello,
    "/json": json_,
    "/item/*": item_,
    "/bytes/*": bytes_,
    "/chunked/*": chunked,
    "/close/*": close,
    "/gzip/*": gzip,
    "/deflate/*": deflate,
    "/redirect/*": redirect,
    "/moved": moved,
    "/status/*": status,
    "/delay/*": delay,
    "/events/*": events,
    "/echo": echo,
    "/upload": upload,
}
