"""What is fuzzed: each target takes bytes, and may raise nothing.

A target asserts what always holds; an error that is none of ours is a crash, and so is a hang.
The seeds are cases of the tests; what the fuzzer adds to them stays out of the repository.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from fastreq.content.decode import pieces
from fastreq.errors import FastreqError
from fastreq.headers import Headers
from fastreq.http1.request import check_method, encode_head
from fastreq.http1.response import ResponseReader
from fastreq.messages import Request
from fastreq.policies.cookies import Cookies
from fastreq.url import parse_url

Target = Callable[[bytes], None]

CODINGS = [["gzip"], ["deflate"], ["gzip", "gzip"], ["deflate", "gzip"]]
MOST = 2**20  # bytes that a body may have


def _read(data: bytes, step: int) -> object:
    """What a response is read as, in pieces of `step` bytes."""
    reader = ResponseReader("GET", None, MOST)
    try:
        for start in range(0, len(data), step):
            if reader.ended:
                break
            reader.receive(memoryview(data[start : start + step]))
        if not reader.ended:
            reader.receive_eof(clean=True)
    except FastreqError:
        return None
    assert reader.head is not None
    return reader.head.status, reader.head.fields, reader.trailers, reader.take_content()


def head(data: bytes) -> None:
    """A response is read or refused, and the same however it is cut."""
    step = 1 + zlib.crc32(data) % 16  # as random as the data, and the same the next time
    assert _read(data, max(1, len(data))) == _read(data, step)


def chunks(data: bytes) -> None:
    """The same of a body in chunks."""
    head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data)


def url(data: bytes) -> None:
    """What is read as a URL is clean on the wire, and the same when it is read again."""
    try:
        read = parse_url(data.decode("latin-1"))
        again = parse_url(str(read))
    except FastreqError:
        return
    assert read == again
    assert all(0x20 < byte < 0x7F for byte in read.target + read.host_field)


def set_cookie(data: bytes) -> None:
    """A field sets at most one cookie, and what goes back has no control character."""
    jar, origin = Cookies(), parse_url("https://www.example.com/a/b")
    jar.store(origin, [data.decode("latin-1")])
    assert len(jar) <= 1
    value = jar.header_for(origin, "", unscoped=True) or ""
    assert not any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in value)


def content_encoding(data: bytes) -> None:
    """A body is decoded or refused; what is decoded comes in small pieces."""
    codings = CODINGS[data[0] % len(CODINGS)] if data else CODINGS[0]
    size = 0
    try:
        for piece in pieces(data[1:], codings):
            assert len(piece) <= 64 * 1024
            size += len(piece)
            if size > 16 * MOST:
                return
    except FastreqError:
        return


def request(data: bytes) -> None:
    """Whatever a caller gives, one request is written, or none."""
    text = data.decode("latin-1")
    method, _, rest = text.partition("|")
    path, _, fields = rest.partition("|")
    pairs = [tuple(field.partition("=")[::2]) for field in fields.split("|") if field]
    try:
        asked = Request(
            check_method(method), parse_url("http://a/" + path), Headers(pairs), data[:9]
        )
        written = encode_head(asked)
    except FastreqError:
        return
    assert written.count(b"\r\n\r\n") == 1
    assert written.count(b"\n") == written.count(b"\r") == written.count(b"\r\n")
    line = written.partition(b"\r\n")[0]
    assert line.count(b" ") == 2
    assert written.lower().count(b"\r\ncontent-length:") <= 1


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (head, chunks, url, set_cookie, content_encoding, request)
}

_OK = b"HTTP/1.1 200 OK\r\n"
_PACKED = zlib.compressobj(9, zlib.DEFLATED, 31)

SEEDS: dict[str, list[bytes]] = {
    "head": [
        _OK + b"Content-Length: 5\r\n\r\nhello",
        _OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.0 204 No Content\r\n\r\n",
        _OK + b"A: b\r\n c\r\nConnection: close\r\n\r\nuntil the end",
        _OK + b"Content-Length: 5, 5\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\nhello",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    "chunks": [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n00\r\nA: b\r\n\r\n",
        b"0000000000000005 ;a\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"ffffffffffffffff\r\nhello",
    ],
    "url": [
        b"http://user:pass@example.com:8080/a/../b?c=d#e",
        b"https://[::1%25lo]:443/",
        b"http://xn--mnchen-3ya.example/%7e%41 b",
        b"http+unix://%2Frun%2Fsocket/path",
        b"http://127.0.0.1\\@example.com/",
    ],
    "set_cookie": [
        b"a=b; Path=/a; Domain=example.com; Secure; HttpOnly; Max-Age=10",
        b'__Host-a="b c"; Path=/; Secure; Expires=Wed, 21 Oct 2037 07:28:00 GMT',
        b"=nameless; SameSite=None",
        b"a=b%0D%0A; domain=.com",
    ],
    "content_encoding": [
        b"\x00" + _PACKED.compress(b"hello " * 100) + _PACKED.flush(),
        b"\x01" + zlib.compress(b"hello " * 100),
        b"\x00\x1f\x8b\x08\x00",
    ],
    "request": [
        b"GET|path?query|A=b|C=d",
        b"POST|a b|Content-Length=9",
        b"PUT||Transfer-Encoding=chunked|Host=other:80",
    ],
}
