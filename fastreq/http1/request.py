"""Request → bytes (RFC 9112, sections 3 and 6), checked: no byte of it can become a second one."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing
from functools import lru_cache

from fastreq.content.sources import check_unspent, read_later, read_now, slices
from fastreq.errors import LocalProtocolError, quoted
from fastreq.headers import TOKEN_CHARACTER, Headers
from fastreq.messages import Request

PIECE = 64 * 1024
"""Bytes of a body that are handed to the transport at a time."""

AT_ONCE = 16 * 1024
"""Bytes of a body that are copied behind the head, so that both are one piece."""

_TOKEN = re.compile(f"{TOKEN_CHARACTER}+")
_NOT_IN_HOST = re.compile(r"[^A-Za-z0-9._~!$&'()*+,;=%\[\]:-]")
_EMPTY_LENGTH = frozenset({"POST", "PUT", "PATCH", "QUERY"})  # RFC 9110, section 8.6
_NO_BODY = frozenset({"TRACE", "CONNECT"})  # sections 9.3.6 and 9.3.8
_SPECIAL = frozenset(
    {"host", "content-length", "transfer-encoding", "te", "expect", "proxy-authorization"}
)
_PLAIN = frozenset({"GET", "HEAD", "DELETE"})  # they frame no body where they have none
_USUAL_TARGET = 512  # bytes; so that the heads that are kept take a MiB or two
_USUAL_BLOCK = 1024
_KNOWN = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "POST", "PUT", "PATCH", "QUERY", "TRACE"})


def check_method(method: str) -> str:
    """Check that a method is a token (RFC 9110, section 9.1); a known one comes in capitals.

    To a server, "get" is another method than "GET", and nobody means it.

    Raises:
        LocalProtocolError: it is none.
    """
    if method in _KNOWN:
        return method
    if not isinstance(method, str) or not _TOKEN.fullmatch(method):
        raise LocalProtocolError(f"method {method!r} is not a token, such as GET")
    capitals = method.upper()
    return capitals if capitals in _KNOWN or capitals == "CONNECT" else method


def encode_head(request: Request, target: bytes | None = None) -> bytes:
    """The head of a request; `target` is sent in place of the URL's path, as to a proxy.

    A Proxy-Authorization is for a proxy alone: without a `target` it is left out.

    Raises:
        LocalProtocolError: the fields contradict each other, or the body.
    """
    fields, body, url = request.fields, request.body, request.url
    block = fields.block
    if (
        fields.is_plain  # so there is no secret in it
        and request.method in _PLAIN
        and not (body or target)
        and 0 < len(url.target) <= _USUAL_TARGET
        and not url.query  # where there often is a token
        and len(block) <= _USUAL_BLOCK
    ):
        return _usual_head(request.method, url.target, url.host_field, block)
    names = fields.names
    tunnel = _tunnel(request) if request.method == "CONNECT" else None
    if _SPECIAL.isdisjoint(names) and not (body and request.method in _NO_BODY):
        host, framing = tunnel or url.host_field, _framing_of_body(request)
    else:
        to_proxy = tunnel is not None or target is not None
        host, framing, block = _host(request), _framing(request), _rest(fields, to_proxy)
    own = url.target or _asterisk(request)
    method, target = request.method.encode("ascii"), tunnel or target or own
    return b"".join(
        (method, b" ", target, b" HTTP/1.1\r\nHost: ", host, b"\r\n", block, framing, b"\r\n")
    )


@lru_cache(maxsize=1024)
def _usual_head(method: str, target: bytes, host: bytes, block: bytes) -> bytes:
    """The head of a request without a body, which is often sent again (benchmark: small, plain)."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method.encode("ascii"), target, host, block)


def _framing_of_body(request: Request) -> bytes:
    """The field that says how the body ends, where nobody has set one by hand."""
    body = request.body
    known = len(body) if isinstance(body, bytes) else request.length
    if known is None:
        return b"Transfer-Encoding: chunked\r\n"
    if known or request.method in _EMPTY_LENGTH:
        return b"Content-Length: %d\r\n" % known
    return b""


def _host(request: Request) -> bytes:
    """The Host field's value: the URL's, or the one that was set by hand (RFC 9110, 7.2)."""
    hosts = request.fields.get_list("host")
    if not hosts:
        return request.url.host_field
    if len(hosts) > 1:
        raise LocalProtocolError(f"{len(hosts)} Host fields; expected one, with one host[:port]")
    if bad := _NOT_IN_HOST.search(hosts[0]):  # there may be a password before an "@"
        raise LocalProtocolError(
            f"Host: {bad[0]!r} at position {bad.start()} of it; expected one host[:port]"
        )
    return hosts[0].encode("ascii")


def _tunnel(request: Request) -> bytes:
    """Where a CONNECT leads: host and port, and nothing else (RFC 9112, section 3.2.3)."""
    url = request.url
    if url.target != b"/":
        raise LocalProtocolError(f"CONNECT leads to host:port; {quoted(url.redacted)} has a path")
    port = b"" if url.port is not None else b":%d" % url.effective_port
    return url.host_field + port


def _asterisk(request: Request) -> bytes:
    """What stands for a server as a whole, in place of a path (RFC 9112, section 3.2.4)."""
    if request.method != "OPTIONS":
        raise LocalProtocolError(
            f"{request.method} is about a path; only OPTIONS can be about a whole server"
        )
    return b"*"


def _framing(request: Request) -> bytes:
    """The field that says how the body ends: exactly one, or none (RFC 9112, section 6)."""
    fields, body = request.fields, request.body
    lengths, codings = fields.get_list("content-length"), fields.get_list("transfer-encoding")
    if body and request.method in _NO_BODY:
        raise LocalProtocolError(f"a {request.method} request has no body")
    known = len(body) if isinstance(body, bytes) else request.length
    if known == 0 and "100-continue" in fields.get("expect", "").lower():
        raise LocalProtocolError("Expect: 100-continue is for requests with a body")
    if codings and (lengths or [c.lower() for c in codings] != ["chunked"]):
        raise LocalProtocolError(
            f"Transfer-Encoding {quoted(', '.join(codings))}: only chunked can be sent, and not "
            "beside a Content-Length"
        )
    if codings:
        return b"Transfer-Encoding: chunked\r\n"
    if lengths and (len(lengths) > 1 or not _is_number(lengths[0])):
        raise LocalProtocolError(f"Content-Length {quoted(', '.join(lengths))} is not one number")
    if lengths and known is not None and int(lengths[0]) != known:
        raise LocalProtocolError(f"Content-Length {lengths[0]} for a body of {known} bytes")
    if lengths:
        return b"Content-Length: %d\r\n" % int(lengths[0])
    return _framing_of_body(request)


def _rest(fields: Headers, to_proxy: bool) -> bytes:
    """The other field lines."""
    rest = fields.copy()
    for name in ("host", "content-length", "transfer-encoding"):
        rest.pop(name, None)
    if not to_proxy:  # RFC 9110, section 11.7.2
        rest.pop("proxy-authorization", None)
    if "te" in rest:
        # RFC 9112, section 7.4: chunked is never named, and TE is listed in Connection.
        if "chunked" in _members(rest["te"]):
            raise LocalProtocolError("TE: chunked is understood by all, and must not be sent")
        if "te" not in _members(rest.get("connection", "")):
            rest.add("Connection", "TE")
    return rest.block


def _members(value: str) -> list[str]:
    """The members of a list in lower case, without their parameters (RFC 9110, section 5.6.1)."""
    return [member.partition(";")[0].strip(" \t").lower() for member in value.split(",")]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def outgoing(request: Request, head: bytes) -> tuple[bytes, bytes | OutgoingBody]:
    """What is written at once, which is the head and a small body, and what follows it.

    Raises:
        StreamConsumed: the body was sent before, and is no more.
    """
    body = request.body
    if isinstance(body, bytes) and len(body) <= PIECE and not _is_chunked(head):
        if len(body) <= AT_ONCE and "expect" not in request.fields.names:
            return head + body, b""  # one piece is one system call (benchmark: post)
        return head, body
    check_unspent(body)
    return head, OutgoingBody(request, head)


class OutgoingBody:
    """The bytes of a body that is sent piece by piece, each as it goes on the wire.

    It keeps to what the head announces: a source that gives more or less than its length is a
    `LocalProtocolError`, and the connection with half a request on it is closed.
    """

    def __init__(self, request: Request, head: bytes) -> None:
        self._source = request.body
        self._chunked = _is_chunked(head)
        self._missing = 0 if self._chunked else _announced(head)

    @classmethod
    def of(cls, body: bytes) -> OutgoingBody:
        """A small body that is not sent with its head."""
        outgoing = cls.__new__(cls)
        outgoing._source, outgoing._chunked, outgoing._missing = body, False, len(body)
        return outgoing

    async def pieces(self) -> AsyncGenerator[bytes | memoryview, None]:
        """The pieces, framed."""
        async with aclosing(_raw_pieces(self._source)) as raw:
            async for piece in raw:
                if self._chunked:
                    yield b"%x\r\n%b\r\n" % (len(piece), bytes(piece))
                    continue
                self._missing -= len(piece)
                if self._missing < 0:
                    raise LocalProtocolError(
                        f"the body is at least {-self._missing} bytes longer than its "
                        "Content-Length"
                    )
                yield piece
        if self._chunked:
            yield b"0\r\n\r\n"
        elif self._missing:
            raise LocalProtocolError(
                f"the body ended {self._missing} bytes short of its Content-Length"
            )

    async def content(self) -> bytes:
        """All of it at once, without the framing of chunks, for who stands in for the wire."""
        async with aclosing(_raw_pieces(self._source) if self._chunked else self.pieces()) as all_:
            return b"".join([bytes(piece) async for piece in all_])


def _is_chunked(head: bytes) -> bool:
    return head.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")


def _announced(head: bytes) -> int:
    match = re.search(rb"\r\nContent-Length: ([0-9]+)\r\n\r\n$", head)
    return int(match[1]) if match else 0


async def _raw_pieces(
    source: bytes | Iterable[bytes] | AsyncIterable[bytes],
) -> AsyncGenerator[memoryview, None]:
    """Pieces of any source, none of them empty (which would end a chunked body) or too large.

    A generator that is not asked for the rest is closed at once, and not some day.
    """
    if isinstance(source, bytes):
        source = (source,)
    if isinstance(source, AsyncIterable):
        async with read_later(source) as later:
            async for given in later:
                for piece in slices(given):
                    yield piece
    else:
        with read_now(source) as now:
            for given in now:
                for piece in slices(given):
                    yield piece
