"""How the bundled server reads a request."""

import zlib

import pytest

from fastreq.testing.request import MAX_KEPT, MAX_LINE, BadRequest, Body, parse

CHUNKED = b'5\r\nhello\r\n6 ;name="a value"\r\n world\r\n000\r\nExpires: never\r\n\r\n'


def head(*fields: str, line: str = "POST /echo HTTP/1.1", host: str = "Host: a") -> bytes:
    return "".join(f"{part}\r\n" for part in (line, *filter(None, [host]), *fields, "")).encode()


def test_head() -> None:
    request = parse(head("X-Twice:  one ", "x-twice:two", "Content-Length: 3"))

    assert "POST" == request.method
    assert "/echo" == request.target
    expected = [("Host", "a"), ("X-Twice", "one"), ("x-twice", "two"), ("Content-Length", "3")]
    assert expected == request.fields.all
    assert not request.fields.close
    assert not request.body.is_complete


@pytest.mark.parametrize("value", ["close", "Close", "keep-alive, close", "te , close"])
def test_connection_close(value: str) -> None:
    assert parse(head(f"Connection: {value}")).fields.close


@pytest.mark.parametrize("fields", [(), ("Content-Length: 0",)])
def test_no_body(fields: tuple[str, ...]) -> None:
    assert parse(head(*fields)).body.is_complete


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (400, head(line="GET / HTTP/1.0")),
        (400, head(line="GET / HTTP/2.0")),
        (400, head(line="GET /a b HTTP/1.1")),
        (400, head(line="GET  / HTTP/1.1")),
        (400, head(line="GET /#fragment HTTP/1.1")),
        (400, head(line="GET /\xe9 HTTP/1.1")),
        (400, head(line="G(T / HTTP/1.1")),
        (400, head(host="")),
        (400, head("host: b")),
        (400, head("Name : value")),
        (400, head("no colon")),
        (400, head(" folded: value")),
        (400, head("Name: line\nfeed")),
        (400, head("Name: nul\0")),
        (400, head("Content-Length: 1", "Content-Length: 1")),
        (400, head("Content-Length: 1, 1")),
        (400, head("Content-Length: +1")),
        (400, head("Content-Length: 1_0")),
        (400, head("Content-Length: \xb2")),
        (400, head("Content-Length:")),
        (400, head("Content-Length: 5", "Transfer-Encoding: chunked")),
        (501, head("Transfer-Encoding: gzip, chunked")),
        (501, head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
    ],
)
def test_refused(status: int, refused: bytes) -> None:
    """What a careful client never sends."""
    with pytest.raises(BadRequest) as caught:
        parse(refused)

    assert status == caught.value.status


@pytest.mark.parametrize(
    ("length", "sent", "expected"),
    [(5, b"hello", b"hello"), (None, CHUNKED, b"hello world"), (None, b"0\r\n\r\n", b"")],
)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_body(length: int | None, sent: bytes, expected: bytes, step: int) -> None:
    """A body is the same however it is cut, and what comes after it is left alone."""
    body, data = Body(length), bytearray()
    for start in range(0, len(sent), step):
        data += sent[start : start + step]
        is_last = start + step >= len(sent)
        data += b"GET" if is_last else b""
        assert is_last == body.receive(data)

    assert b"GET" == data
    assert expected == body.content
    assert len(expected) == body.received
    assert zlib.crc32(expected) == body.crc32


@pytest.mark.parametrize(
    "sent",
    [
        b"5\r\nhello!\r\n",
        b"\r\n",
        b"-5\r\n",
        b"0x5\r\n",
        b"5\nhello\r\n",
        b"1" * 16 + b"\r\n",
        b"5;" + b"x" * MAX_LINE,
        b"0\r\n" + b"x" * MAX_LINE + b"x\r\n",
    ],
)
def test_chunks_refused(sent: bytes) -> None:
    with pytest.raises(BadRequest):
        Body(None).receive(bytearray(sent))


def test_long_body_is_counted() -> None:
    """Of a long body the front is kept, and all of it counted."""
    body = Body(MAX_KEPT + 10)

    for _ in range(2):
        body.receive(bytearray(MAX_KEPT // 2 + 5))

    assert MAX_KEPT + 10 == body.received
    assert MAX_KEPT == len(body.content)
    assert zlib.crc32(bytes(MAX_KEPT + 10)) == body.crc32
