"""What a request is on the wire, to the byte: its head, and the pieces of its body."""

from array import array
from collections.abc import AsyncIterator, Iterator

import pytest
from tables import each_row

from fastreq.content.sources import sent_once
from fastreq.errors import LocalProtocolError, StreamConsumed
from fastreq.headers import Headers
from fastreq.http1.request import (
    AT_ONCE,
    PIECE,
    OutgoingBody,
    _usual_head,
    check_method,
    encode_head,
    outgoing,
)
from fastreq.messages import Request
from fastreq.policies.redirects import DEFAULT_SENSITIVE
from fastreq.url import URL, parse_url

A = "http://a/x"
SECRET = ("Proxy-Authorization", "p")
SENSITIVE = sorted(DEFAULT_SENSITIVE)
STREAM = (b"hel", b"lo")  # an iterable is of unknown length, however short


def request(method="GET", url=A, fields=(), body=b"", length=None) -> Request:
    url = parse_url(url) if isinstance(url, str) else url
    return Request(method, url, Headers(fields), body, length)


def lines(*of_head: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*of_head, "")).encode("ascii")


# ---- heads


@each_row(
    ("asked", "expected"),
    [
        (request(), ["GET /x HTTP/1.1", "Host: a"]),
        (request(body=b"hello"), ["GET /x HTTP/1.1", "Host: a", "Content-Length: 5"]),
        (request("POST", body=b"hello"), ["POST /x HTTP/1.1", "Host: a", "Content-Length: 5"]),
        (
            request("POST", fields=[("Host", "b"), ("A", "b")], body=b"hello"),
            ["POST /x HTTP/1.1", "Host: b", "A: b", "Content-Length: 5"],
        ),
        (request(body=STREAM), ["GET /x HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"]),
        (request(body=STREAM, length=5), ["GET /x HTTP/1.1", "Host: a", "Content-Length: 5"]),
        (request("TRACE"), ["TRACE /x HTTP/1.1", "Host: a"]),
        (
            request("OPTIONS", URL("http://a/x").whole_server()),
            ["OPTIONS * HTTP/1.1", "Host: a"],
        ),
    ],
)
def test_heads(asked, expected):
    """Request line, Host, the fields, and one that frames the body, if there is one."""
    assert lines(*expected) == encode_head(asked)


@each_row(
    ("asked", "target", "expected"),
    [
        (request(fields=[SECRET]), None, ["GET /x HTTP/1.1", "Host: a"]),
        (
            request(fields=[SECRET]),
            b"http://a/x",
            ["GET http://a/x HTTP/1.1", "Host: a", "Proxy-Authorization: p"],
        ),
        (request(), b"http://a/x", ["GET http://a/x HTTP/1.1", "Host: a"]),
        (
            request("CONNECT", "http://a:8080/", [SECRET]),
            None,
            ["CONNECT a:8080 HTTP/1.1", "Host: a:8080", "Proxy-Authorization: p"],
        ),
        (request("CONNECT", "https://a/"), None, ["CONNECT a:443 HTTP/1.1", "Host: a:443"]),
    ],
)
def test_heads_for_a_proxy(asked, target, expected):
    """Its credentials go where a target for it goes, and to a tunnel (RFC 9110, 11.7.2)."""
    assert lines(*expected) == encode_head(asked, target)


@each_row(
    ("fields", "body", "length", "expected"),
    [
        ([("Transfer-Encoding", "Chunked")], b"hello", None, "Transfer-Encoding: chunked"),
        ([("transfer-encoding", "chunked")], STREAM, 5, "Transfer-Encoding: chunked"),
        ([("Content-Length", "05")], b"hello", None, "Content-Length: 5"),
        ([("Content-Length", "5")], STREAM, None, "Content-Length: 5"),
        ([("Content-Length", "9" * 19)], STREAM, None, "Content-Length: " + "9" * 19),
        ([("Host", "a")], STREAM, 5, "Content-Length: 5"),
        ([("Host", "a")], STREAM, None, "Transfer-Encoding: chunked"),
        ([("Expect", "100-continue")], b"hello", None, "Content-Length: 5"),
    ],
)
def test_the_framing_that_was_set_by_hand(fields, body, length, expected):
    """It is kept where it is right, and written once."""
    written = encode_head(request("POST", fields=fields, body=body, length=length))

    assert written.endswith(f"\r\n{expected}\r\n\r\n".encode())
    assert 1 == written.lower().count(b"content-length") + written.lower().count(b"chunked")
    assert 1 == written.count(b"Host: ")


@each_row(
    ("asked", "words"),
    [
        (request("CONNECT", "http://a:8080/x"), "http://a:8080/x"),
        (request("GET", URL("http://a/x").whole_server()), "GET"),
        (request("POST", fields=[("Content-Length", "9" * 20)], body=STREAM), "9" * 20),
        (request("POST", fields=[("Content-Length", "5")], body=STREAM, length=6), "6"),
        (request("POST", fields=[("Content-Length", "5")] * 2, body=b"hello"), "5, 5"),
        (request("POST", fields=[("Transfer-Encoding", "gzip")], body=STREAM), "gzip"),
        (request("POST", fields=[("Transfer-Encoding", "a")] * 2, body=STREAM), "a, a"),
        (request(fields=[("TE", "CHUNKED")]), "TE"),
        (request(fields=[("Host", "b"), ("Host", "c")]), "2 Host fields"),
        (request(fields=[("Host", "user@b")]), "Host: '@' at position 4 of it"),
        (request(fields=[("Expect", "100-continue")]), "Expect: 100-continue"),
        (request("TRACE", body=b"x"), "TRACE"),
    ],
)
def test_contradictions(asked, words):
    """They are refused before a byte is sent, with the value at fault."""
    with pytest.raises(LocalProtocolError) as caught:
        encode_head(asked)
    assert words in str(caught.value)


def test_a_method_that_is_none():
    """The error shows it."""
    with pytest.raises(LocalProtocolError, match="'GE T'"):
        check_method("GE T")


@each_row(
    ("given", "expected"),
    [
        ([], ["Connection: TE"]),
        ([("Connection", "close")], ["Connection: close", "Connection: TE"]),
        ([("Connection", "Te, close")], ["Connection: Te, close"]),
        ([("Connection", "close,\tte")], ["Connection: close,\tte"]),
        ([("Connection", "X-State")], ["Connection: X-State", "Connection: TE"]),
    ],
)
def test_te_is_listed_once(given, expected):
    """TE is named in Connection, if it is not yet (RFC 9112, section 7.4)."""
    written = encode_head(request(fields=[("TE", "trailers"), *given]))

    assert expected == [n for n in written.decode().split("\r\n") if n.startswith("Connection")]


@each_row("name", ["Authorization", "Cookie", "Proxy-Authorization", "X-Nobody-Knows", *SENSITIVE])
def test_no_head_with_a_secret_is_remembered(name):
    """What is kept, so as to be sent again, has nothing in it but fields that are none."""
    before = _usual_head.cache_info()
    encode_head(request(fields=[("Accept", "*/*"), (name, "secret")]))

    assert before == _usual_head.cache_info()


def test_no_query_is_remembered():
    """It may well have a token in it; the head without it is kept."""
    before = _usual_head.cache_info()
    encode_head(request(url="http://a/no-query-is?token=secret"))
    assert before == _usual_head.cache_info()

    encode_head(request(url="http://a/no-query-is"))
    assert before.misses + 1 == _usual_head.cache_info().misses


# ---- what follows the head


def split(body, fields=()) -> tuple[bytes, bytes, bytes | OutgoingBody]:
    """The head of a POST, what is written with it, and what follows."""
    asked = request("POST", fields=fields, body=body)
    head = encode_head(asked)
    first, rest = outgoing(asked, head)
    assert first.startswith(head)
    return head, first[len(head) :], rest


@each_row("size", [0, 1, AT_ONCE])
def test_a_small_body_goes_with_its_head(size):
    """One piece is one system call."""
    _, first, rest = split(b"x" * size)

    assert (b"x" * size, b"") == (first, rest)


@each_row(
    ("size", "fields"),
    [(AT_ONCE + 1, []), (PIECE, []), (1, [("Expect", "100-continue")])],
)
def test_a_body_that_follows_its_head_in_one_piece(size, fields):
    """It is too large to be copied, or waits until the server asks for it."""
    _, first, rest = split(b"x" * size, fields)

    assert (b"", b"x" * size) == (first, rest)


async def test_bodies_that_follow_in_pieces():
    """Whatever is longer than a piece, or is in chunks."""
    for size, fields, expected in (
        (2 * PIECE + 1, [], [PIECE, PIECE, 1]),
        (1, [("Transfer-Encoding", "chunked")], [len(b"1\r\nx\r\n"), len(b"0\r\n\r\n")]),
    ):
        _, first, rest = split(b"x" * size, fields)

        assert b"" == first
        assert expected == [len(piece) async for piece in rest.pieces()]


def test_a_body_that_was_sent():
    """An iterator that is spent is not sent as an empty body."""
    body = sent_once(iter([b"a"]))
    assert [b"a"] == list(body)

    with pytest.raises(StreamConsumed):
        split(body)


async def taken(body: OutgoingBody) -> bytes:
    return b"".join([bytes(piece) async for piece in body.pieces()])


def announced(length: int, body) -> OutgoingBody:
    asked = request("GET", body=body, length=length)
    return outgoing(asked, encode_head(asked))[1]


async def test_a_body_keeps_to_its_length():
    """A byte more or less than announced is an error, and the text says how many."""
    assert b"hello" == await taken(announced(5, STREAM))
    assert b"" == await taken(announced(0, iter(())))
    with pytest.raises(LocalProtocolError, match="at least 2 bytes longer"):
        await taken(announced(3, STREAM))
    with pytest.raises(LocalProtocolError, match="at least 3 bytes longer"):
        await taken(announced(0, STREAM))
    with pytest.raises(LocalProtocolError, match="ended 1 bytes short"):
        await taken(announced(6, STREAM))


async def test_a_body_of_its_own():
    """The body of a request that waited for 100 (Continue) is as it was."""
    assert b"hello" == await taken(OutgoingBody.of(b"hello"))


async def test_items_of_an_array_are_not_bytes():
    """A piece is as long as its memory is."""
    piece = array("I", [1, 2])
    size = len(piece.tobytes())

    assert b"%x\r\n%b\r\n0\r\n\r\n" % (size, piece.tobytes()) == await taken(
        announced(None, [piece])
    )


async def test_a_piece_that_is_none():
    """The error names its type."""
    with pytest.raises(LocalProtocolError, match="the body gave str"):
        await taken(announced(None, ["hello"]))


async def test_sources_are_closed_at_once():
    """A generator that is not asked for the rest ends where it is, and not some day."""
    ended = []

    def now() -> Iterator[bytes]:
        try:
            yield b"now"
        finally:
            ended.append("now")

    async def later() -> AsyncIterator[bytes]:
        try:
            yield b"later"
        finally:
            ended.append("later")

    for source in (now(), later()):
        pieces = announced(None, source).pieces()
        await anext(pieces)
        await pieces.aclose()

    assert ["now", "later"] == ended
