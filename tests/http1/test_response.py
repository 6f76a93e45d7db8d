"""Heads, bodies and their ends: every case whole, cut at every byte, and one byte at a time.

TRUST sections 1b and 2: the rows are named in the docstrings.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tables import each_row

from fastreq.errors import BodyTooLarge, FastreqError, IncompleteBody, RemoteProtocolError
from fastreq.headers import Headers
from fastreq.http1 import framing, response
from fastreq.http1.body import DIRECT, SMALLEST, StreamedBody
from fastreq.http1.response import ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"


class Read(NamedTuple):
    """What was read of some bytes."""

    status: int
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: bytes
    rest: bytes
    persistent: bool


def feed(reader: ResponseReader, pieces: Iterator[bytes]) -> bytes:
    """Give a reader its bytes in pieces; what follows the response comes back."""
    rest = b""
    for piece in pieces:
        used = 0 if reader.ended else reader.receive(memoryview(piece))
        rest += piece[used:]
    return rest


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes as networks deliver them: whole, one by one, in two at every place."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for place in range(1, len(data)):
        yield [data[:place], data[place:]]


def read(
    data: bytes, method: str = "GET", *, closed: bool = False, limit: int | None = None
) -> Read:
    """Read a response in all the ways it can be cut; all must say the same."""
    seen = {_read(pieces, method, closed, limit) for pieces in cuts(data)}

    assert 1 == len(seen)
    return Read(*seen.pop())


def _read(pieces: list[bytes], method: str, closed: bool, limit: int | None) -> tuple:
    reader = ResponseReader(method, None, limit)
    rest = feed(reader, iter(pieces))
    if closed:
        reader.receive_eof(clean=True)
    assert reader.ended
    fields = tuple(Headers.received(reader.head.fields).raw)
    body = reader.take_content()
    assert type(body) is bytes
    return reader.head.status, fields, body, reader.trailers, rest, reader.persistent


def refuse(data: bytes, error: type[FastreqError] = RemoteProtocolError, **how: object) -> str:
    """Have a response refused in all the ways it can be cut; returns the text of the error."""
    texts = set()
    for pieces in cuts(data):
        with pytest.raises(error) as caught:
            _read(pieces, how.get("method", "GET"), bool(how.get("closed")), how.get("limit"))
        texts.add(str(caught.value))
    assert "None" not in texts, "an error says what was wrong"
    return sorted(texts)[0]


def refusal(data: bytes) -> str:
    """Have it refused, whole; returns the text of the error."""
    with pytest.raises(RemoteProtocolError) as caught:
        _read([data], "GET", False, None)
    assert "None" != str(caught.value), "an error says what was wrong"
    return str(caught.value)


# ---- heads


def test_a_plain_response():
    """Status, fields in order and case, and a body of known length (rows 1, 14, 24)."""
    got = read(OK + b"Server:  x \r\nX-a:\tb\r\nContent-Length: 5\r\n\r\nhello")

    assert 200 == got.status
    assert (b"Server", b"x") == got.fields[0]
    assert (b"X-a", b"b") == got.fields[1]
    assert b"hello" == got.body
    assert got.persistent


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 \xe4\t!",
        b"HTTP/1.2 200 OK",
        b"HTTP/1.9 200 x",
    ],
)
def test_status_lines_that_are_read(line):
    """The reason may be empty or absent, and a higher minor version is read as 1.1 (row 58)."""
    got = read(line + b"\r\nContent-Length: 0\r\n\r\n")

    assert 200 == got.status
    assert got.persistent


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/11 200 OK",
        b"HTTP/1.10 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 -20 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 O\rK",
        b"SSH-2.0-OpenSSH_9.2",
        b"<html>",
        b"",
    ],
)
def test_status_lines_that_are_refused(line):
    """What is no HTTP/1 status line is no response (1b: status line, version, code)."""
    refuse(line + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("status", [600, 999])
def test_statuses_above_599_are_kept(status):
    """They count as failures, as 5xx do (row 70)."""
    assert status == read(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status).status


@pytest.mark.parametrize(
    "field",
    [
        b"Name : x",
        b"Na me: x",
        b": x",
        b"Name",
        b"N\xe4me: x",
        b"Name(x): y",
        b"A: b\x00c",
        b"A: b\rc",
        b"A: b\x0bc",
        b"A: b\x7fc",
        b"A\x00: b",
    ],
)
def test_fields_that_are_refused(field):
    """Names are tokens, values have no control character (1b: space before colon, bare CR, NUL)."""
    assert "field" in refuse(OK + field + b"\r\nContent-Length: 0\r\n\r\n") or b"\r" in field


@each_row("control", [c for c in range(32) if c not in b"\t\r\n"] + [127])
@each_row("place", ["status", "reason", "name", "value"])
def test_no_control_character_anywhere(control, place):
    """Each control byte is refused at each place of a head (1b)."""
    parts = {"status": b"HTTP/1.1 200", "reason": b" OK", "name": b"Name", "value": b"value"}
    parts[place] += bytes([control])
    head = b"%b%b\r\n%b: %b\r\n\r\n" % tuple(parts.values())

    with pytest.raises(RemoteProtocolError):
        _read([head], "HEAD", False, None)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\rX",
        b"HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n",
    ],
)
def test_lines_end_in_crlf_alone(head):
    """A bare LF or CR is refused at once, and not after a time-out (settled)."""
    refuse(head)


def test_a_folded_line_becomes_a_space():
    """obs-fold is read as SP (row 13)."""
    got = read(OK + b"A: b\r\n  c\r\n\td\r\nContent-Length: 0\r\n\r\n")

    assert (b"A", b"b c d") == got.fields[0]


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length:\r\n 5\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Content-Length: 1\r\n 5\r\n",
        b" A: b\r\n",
        b"\tA: b\r\n",
    ],
)
def test_folds_that_are_refused(fields):
    """A framing field is never folded, and nothing stands before the first (row 4; 1b)."""
    refuse(OK + fields + b"\r\n")


def test_any_field_can_be_folded():
    """But for those of the framing, wherever they stand; and a control character is no blank."""
    got = read(OK + b"A: X \r\n X\r\nD: e\t\r\n\t f\t\r\nContent-Length: 0\r\n\r\n")

    assert [(b"A", b"X X"), (b"D", b"e f")] == list(got.fields[:2])
    assert "Content-Length: 1" in refuse(OK + b"A: b\r\nContent-Length: 1\r\n 5\r\n\r\n")
    for field in (b"A: b\x0b\r\n c", b"A: b\r\n c\x0b"):
        refuse(OK + field + b"\r\nContent-Length: 0\r\n\r\n")


def test_the_line_at_fault_is_shown():
    """Errors name it, and not its neighbours."""
    assert "'Na me: x'" in refusal(OK + b"A: b\r\nNa me: x\r\nC: d\r\n\r\n")
    assert "'HTTP/3'" in refusal(b"HTTP/3\r\nA: b\r\n\r\n")
    assert "'5, 6'" in refusal(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n")
    assert "gzip" in refusal(OK + b"Transfer-Encoding: gzip\r\n\r\n")


def test_what_came_of_a_head_is_shown():
    """A connection that ends in the middle of one says how it began."""
    reader = ResponseReader("GET", None)
    assert not reader.begun
    reader.receive(memoryview(b"HTTP/1.1 2"))
    assert reader.begun

    with pytest.raises(RemoteProtocolError, match=r"HTTP/1\.1 2"):
        reader.receive_eof(clean=True)


def test_a_bad_head_is_a_begun_response():
    """So the request was heard, and is not sent again as if nothing had come."""
    reader = ResponseReader("GET", None)
    with pytest.raises(RemoteProtocolError):
        reader.receive(memoryview(b"HTTP/3\r\n\r\n"))

    assert reader.begun


def test_interim_responses_are_passed_over():
    """100, 102 and 103 are no answers, however many fields they have (rows 19, 71)."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    got = read(interim + OK + b"Content-Length: 2\r\n\r\nhi")

    assert (200, b"hi") == (got.status, got.body)


@pytest.mark.parametrize(("status", "expected"), [(100, True), (102, False), (103, False)])
def test_100_is_told_apart(status, expected):
    """It is what a body with Expect waits for, and stays true whatever else follows."""
    reader = ResponseReader("POST", None)
    assert not reader.continued
    for number in (status, 103):
        reader.receive(memoryview(b"HTTP/1.1 %d X\r\n\r\n" % number))

    assert expected is reader.continued
    assert reader.begun
    assert not reader.ended


@pytest.mark.parametrize("step", [1, 999])
def test_101_ends_http(step):
    """Where an upgrade was asked for, 101 is the answer, and 103 still is none (row 62)."""
    reader = ResponseReader("GET", None)
    reader.switches = True
    data = b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 101 X\r\nContent-Length: 5\r\n\r\nhello"
    rest = feed(reader, (data[i : i + step] for i in range(0, len(data), step)))

    assert reader.switched
    assert (101, True, b"hello") == (reader.head.status, reader.ended, rest)


@pytest.mark.parametrize(
    ("status", "switched", "rest"),
    [(200, True, b"hello"), (299, True, b"hello"), (300, False, b"")],
)
def test_connect_begins_a_tunnel(status, switched, rest):
    """2xx does, and neither framing field counts; any other answer has a body (rule 2)."""
    reader = ResponseReader("CONNECT", None)
    reader.switches = True
    head = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status

    assert rest == feed(reader, iter([head + b"hello"]))
    assert reader.ended
    assert switched is reader.switched
    assert not reader.persistent


def test_101_needs_an_upgrade():
    """Nobody asked for another protocol (row 62)."""
    assert "101" in refuse(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")


# ---- how bodies end


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(status):
    """204 and 304 have none, whatever the fields say (row 19)."""
    got = read(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)

    assert b"" == got.body
    assert got.persistent


@pytest.mark.parametrize("framed", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_head_has_no_body(framed):
    """The answer to HEAD ends with its head (row 19)."""
    got = read(OK + framed + b"\r\n", "HEAD")

    assert b"" == got.body


@pytest.mark.parametrize("value", [b"5", b"5, 5", b"5,5", b"05", b" 5 "])
def test_lengths_that_are_read(value):
    """One number, or the same one repeated (row 23)."""
    assert b"hello" == read(OK + b"Content-Length:" + value + b"\r\n\r\nhello").body


def test_a_length_said_twice():
    """Equal repeated Content-Length fields count as one (settled)."""
    assert b"hi" == read(OK + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\nhi").body


@pytest.mark.parametrize(
    "value",
    [
        b"+5", b"-1", b"5_0", b"0x5", b"5 0", b"5,6", b"5;", b"", b",", b"5,", b"1e1", b"5.0",
        "５".encode(), b"\xb2", b"1" + b"0" * 30, b"five", b"5\t5",
    ],
)  # fmt: skip
def test_lengths_that_are_refused(value):
    """Anything but one decimal number is an error (rows 23, 27; 1b)."""
    assert "Content-Length" in refuse(OK + b"Content-Length: " + value + b"\r\n\r\nhello")


def test_two_lengths():
    """Two answers to one question are none."""
    refuse(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!")


@pytest.mark.parametrize("order", [1, -1])
def test_length_beside_chunked(order):
    """Both framings in one head are an error (settled; row 21)."""
    fields = [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"][::order]
    text = refuse(OK + b"".join(fields) + b"\r\n0\r\n\r\n")
    assert "Transfer-Encoding and Content-Length" in text


@pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b" \tchunked\t "])
def test_chunked_however_it_is_spelt(value):
    """The coding's name is case-insensitive."""
    head = OK + b"Transfer-Encoding:" + value + b"\r\n\r\n"

    assert b"hello" == read(head + b"5\r\nhello\r\n0\r\n\r\n").body


@pytest.mark.parametrize(
    "value",
    [
        b"xchunked", b"chunkedx", b"chunked, identity", b"identity, chunked", b"chunked, chunked",
        b"gzip, chunked", b"gzip", b"identity", b"\"chunked\"", b"chunked;q=1", b"chunked,",
        b",chunked", b"", b"chun ked", b"chunked\x0b", b"c\xe7hunked", b"trailers", b"deflate",
        b"chunked chunked", b"identity;chunked",
    ],
)  # fmt: skip
def test_codings_that_are_refused(value):
    """Only exactly chunked is understood: we offer no other (row 22; 1b)."""
    refuse(OK + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n")


def test_transfer_encoding_said_twice():
    """Two fields make a list of two codings."""
    refuse(OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n")


def test_transfer_encoding_of_http_1_0():
    """HTTP/1.0 has none, so its framing is faulty (row 17)."""
    refuse(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")


def test_until_close():
    """Nothing was said, so the body ends with the connection (rule 8)."""
    got = read(OK + b"\r\nhello", closed=True)

    assert b"hello" == got.body
    assert not got.persistent


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Content-Length: 5\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_short_body_never_looks_whole(data):
    """Fewer bytes than announced, or no last chunk: incomplete (rows 24, 31)."""
    refuse(data, IncompleteBody, closed=True)


def test_a_cut_connection_ends_no_body():
    """Only a clean close ends a body that has no other end (row 44)."""
    reader = ResponseReader("GET", None)
    reader.receive(memoryview(OK + b"\r\nhello"))

    with pytest.raises(IncompleteBody, match="cut"):
        reader.receive_eof(clean=False)


@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 2", OK, OK + b"A: b\r\n"])
def test_a_connection_that_ends_within_a_head(part):
    """No response is delivered (row 32)."""
    refuse(part, closed=True)


def test_a_body_that_is_shorter_than_announced_is_waited_for():
    """By however much."""
    for length in range(6, 200):
        reader = ResponseReader("GET", None)
        reader.receive(memoryview(OK + b"Content-Length: %d\r\n\r\nhello" % length))
        assert not reader.ended


@pytest.mark.parametrize("size", [*range(-2, 3), 5000])
def test_head_and_body_in_one_read(size):
    """However much is looked at for a head, the body is all that came."""
    size += response.USUAL_HEAD - len(OK + b"Content-Length: 4044\r\n\r\n")
    body = bytes(range(256)) * 40

    assert (
        body[:size]
        == _read([OK + b"Content-Length: %d\r\n\r\n%b" % (size, body[:size])], "GET", False, None)[
            2
        ]
    )


@each_row(
    ("method", "pieces"),
    [
        ("GET", [OK + b"Content-Length: 5\r\n\r\n", b"hello"]),
        ("GET", [OK + b"Content-Length: 5\r\n\r\nhello"]),
        ("GET", [OK + b"Content-Length: 0\r\n\r\n"]),
        ("GET", [OK + b"Content-Length: 0\r\n\r\nmore"]),
        ("HEAD", [OK + b"Content-Length: 4\r\n\r\nmore"]),
        ("GET", [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n", b"hello", b"\r\n0\r\n\r\n"]),
        ("GET", [OK + b"\r\n", b"hello"]),
    ],
)
def test_a_stream_has_no_empty_pieces(method, pieces):
    """They would say nothing to its reader; and what follows a body is no part of it."""
    reader = ResponseReader(method, StreamedBody())
    feed(reader, iter(pieces))

    assert list(reader.body.pieces) == ([b"hello"] if b"hello" in b"".join(pieces) else [])


def test_only_a_known_length_has_a_window():
    """Before the head, in chunks, and until the connection ends, nothing is received in place."""
    for start in (b"H", OK + b"Transfer-Encoding: chunked\r\n\r\n", OK + b"\r\n"):
        reader = ResponseReader("GET", None)
        assert reader.window() is None
        reader.receive(memoryview(start))
        assert reader.window() is None


def test_what_follows_is_left():
    """Bytes after the end belong to nobody (row 26)."""
    got = read(OK + b"Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n")

    assert (b"hi", b"HTTP/1.1 200 OK\r\n\r\n") == (got.body, got.rest)


# ---- chunks

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"05\r\nhello\r\n00\r\n\r\n",
        b'5;a=b;c="d"\r\nhello\r\n0;x\r\n\r\n',
        b"5 ; a\r\nhello\r\n0\r\n\r\n",
        b"1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0000\r\n\r\n",
    ],
)
def test_chunks(chunks):
    """The body is the same however it is chunked; extensions are passed over (row 28)."""
    got = read(CHUNKED + chunks)

    assert (b"hello", b"") == (got.body, got.rest)
    assert got.persistent


def test_hexadecimal_sizes():
    """Sizes are hexadecimal, in either case."""
    body = bytes(range(256)) * 11

    for size in (b"b00", b"B00", b"0b00"):
        assert (
            body
            == _read([CHUNKED + size + b"\r\n" + body + b"\r\n0\r\n\r\n"], "GET", False, None)[2]
        )


@each_row(
    "size",
    [
        b"", b" 5", b"5 ", b"\t5", b"5\t", b"+5", b"-5", b"5_0", b"0x5", b"x5", b"g", b"5h", b"5.",
        b"5,", b"5 5", b"\"5\"", "５".encode(), b"\xb2", b"0" * 17, b"1" * 17, b"f" * 17, b"5\x00",
        b"5\x0b", b"5\r", b";a", b"5 a", b"5:a", b"5;a\x00", b"5;a\x7f", b"5;\ra", b"5\n", b"0x",
        b"5;\n", b"\n", b"\r", b"h5", b"5l", b"5L", b"NaN", b"1e+1",
    ],
)  # fmt: skip
def test_sizes_that_are_refused(size):
    """Only 1*HEXDIG and well-formed extensions are taken (1b: a table of 40)."""
    refuse(CHUNKED + size + b"\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"XX", b"\n\r", b"0\r", b"\x00\x00", b"\rX"])
def test_data_is_followed_by_crlf(end):
    """Whatever else follows a chunk's data is an error (h11 CVE-2025-43859)."""
    refuse(CHUNKED + b"5\r\nhello" + end + b"0\r\n\r\n")


def test_sizes_beside_extensions_are_hexadecimal():
    """As those without."""
    for size in (b"10;a", b"0A ; b=c"):
        body = b"x" * int(size[:2], 16)
        assert body == read(CHUNKED + size + b"\r\n" + body + b"\r\n0\r\n\r\n").body


def test_what_follows_chunks_is_left():
    """After the last of them there are none, whatever it looks like (row 26)."""
    for end in (b"0\r\n", b"0\r\nA: b\r\n"):
        got = read(CHUNKED + end + b"\r\n5\r\nhello\r\n0\r\n\r\n")

        assert (b"", b"5\r\nhello\r\n0\r\n\r\n") == (got.body, got.rest)


def test_trailers_are_kept_apart():
    """They are there, and never among the headers (row 29)."""
    got = read(CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n")

    assert [(b"X-Sum", b"1"), (b"Content-Length", b"9")] == Headers.received(got.trailers).raw
    assert [(b"Transfer-Encoding", b"chunked")] == list(got.fields)


@pytest.mark.parametrize(
    "trailer", [b"A b: c", b"A: b\x00", b" A: b", b"nothing", b"A: b\n", b"A: b\r"]
)
def test_trailers_that_are_refused(trailer):
    """A trailer is a field, or an error."""
    refuse(CHUNKED + b"0\r\n" + trailer + b"\r\n\r\n")


# ---- limits (TRUST, section 5)


def repeat(start: bytes, endless: bytes, most: int = 2**20) -> tuple[int, str]:
    """Feed something endless until it is refused; returns the bytes taken, and the error's text."""
    reader = ResponseReader("GET", None)
    taken = 0
    try:
        taken += reader.receive(memoryview(start))
        while taken < most:
            taken += reader.receive(memoryview(endless))
    except RemoteProtocolError as exc:
        return taken, str(exc)
    raise AssertionError(f"{taken} bytes were taken")


@each_row("piece", [1, 7, 4096, 65536])
@each_row(
    ("start", "endless", "most"),
    [
        (b"HTTP/1.1 200 ", b"x" * 16, response.MAX_HEAD),
        (OK + b"A: ", b"x" * 16, response.MAX_HEAD),
        (OK, b"A: b\r\n", response.MAX_HEAD),
        (b"HTTP/1.1 100 Continue\r\n", b"\r\nHTTP/1.1 100 Continue\r\n", response.MAX_HEAD),
        (CHUNKED + b"5;", b"x" * 16, framing.MAX_CHUNK_LINE),
        (CHUNKED, b"1;%b\r\nx\r\n" % (b"e" * 99), 2 * framing.MAX_EXTENSIONS),
        (CHUNKED + b"0\r\n", b"A: b\r\n", framing.MAX_TRAILERS),
        (CHUNKED + b"0\r\nA: ", b"x" * 16, framing.MAX_TRAILERS),
        (CHUNKED, b"0" * 16, framing.MAX_CHUNK_LINE),
    ],
    ids="status field fields 1xx extension extensions trailers trailer zeros".split(),
)  # fmt: skip
def test_floods(start, endless, most, piece):
    """Each of the eight floods is stopped, soon after its limit, however it is cut (section 0)."""
    flood = (endless * (piece // len(endless) + 2))[: piece - piece % len(endless) or len(endless)]
    pieces = [flood] if piece >= len(endless) else [flood[i : i + 1] for i in range(len(flood))]
    reader, taken = ResponseReader("GET", None), 0

    with pytest.raises(RemoteProtocolError) as caught:
        taken += reader.receive(memoryview(start))
        while taken < 2**20:
            for part in pieces:
                taken += reader.receive(memoryview(part))

    assert taken <= most + 1024 + 65536
    assert len(str(caught.value)) < 1024


def test_as_many_fields_as_allowed():
    """256 fields are a head; 257 are not."""
    assert (
        200 == _read([OK + b"A: b\r\n" * 255 + b"Content-Length: 0\r\n\r\n"], "GET", False, None)[0]
    )

    with pytest.raises(RemoteProtocolError, match="256 fields"):
        _read([OK + b"A: b\r\n" * 256 + b"Content-Length: 0\r\n\r\n"], "GET", False, None)


def test_as_many_trailers_as_allowed():
    """64 fields are, 65 are not."""
    trailers = CHUNKED + b"0\r\n" + b"A: b\r\n" * 64

    assert b"A: b\r\n" * 64 == _read([trailers + b"\r\n"], "GET", False, None)[3]
    assert "64 fields" in refusal(trailers + b"A: b\r\n\r\n")


def test_as_large_trailers_as_allowed():
    """16 KiB are, one byte more is not; be it in a line or in two."""
    for lines in (b"A: %b\r\n", b"A: b\r\nA: %b\r\n"):
        size = framing.MAX_TRAILERS - len(lines) + len(b"%b")
        fields = lines % (b"x" * size)

        assert fields == _read([CHUNKED + b"0\r\n" + fields + b"\r\n"], "GET", False, None)[3]
        refusal(CHUNKED + b"0\r\nA" + fields + b"\r\n")


def test_as_many_extensions_as_allowed():
    """1 KiB in a line and 16 KiB in a body are; one byte more is not."""
    line = b"1" + b";" * (framing.MAX_CHUNK_LINE - len(b"1\r\n")) + b"\r\n"
    chunk = b"1" + b";" * 512 + b"\r\nx\r\n"
    chunks = chunk * (framing.MAX_EXTENSIONS // 512)
    last = b"0\r\n\r\n"

    assert b"x" == _read([CHUNKED + line + b"x\r\n" + last], "GET", False, None)[2]
    assert "1024 bytes" in refusal(CHUNKED + line.replace(b"1;", b"1;;") + b"x\r\n" + last)
    assert 32 == len(_read([CHUNKED + chunks + last], "GET", False, None)[2])
    assert "extensions" in refusal(CHUNKED + chunks + b"0;\r\n\r\n")


@pytest.mark.parametrize("at_once", [True, False])
def test_the_limit_of_heads_is_of_all_together(at_once):
    """The final head counts with the interim ones before it, to the byte."""
    interim = b"HTTP/1.1 103 Early Hints\r\nA: %b\r\n\r\n"
    final = OK + b"Content-Length: 0\r\n\r\n"
    size = response.MAX_HEAD - 2 * (len(interim) - len(b"%b")) - len(final)

    for more in (0, 1):
        heads = interim % (b"x" * (size - 99)) + interim % (b"x" * (99 + more))
        pieces = [heads, final] if at_once else [heads + final]
        if not more:
            assert 200 == _read(pieces, "GET", False, None)[0]
        else:
            with pytest.raises(RemoteProtocolError, match="larger than 65536"):
                _read(pieces, "GET", False, None)


def test_a_large_head_is_not_remembered():
    """As small ones are: a server that sends many of them would fill the memory."""
    before = list(response.known_heads)
    head = OK + b"A: %b\r\nContent-Length: 5\r\n\r\n" % (b"x" * response.USUAL_HEAD)
    assert b"hello" == _read([head, b"hello"], "GET", False, None)[2]

    assert before == list(response.known_heads)


@each_row(
    ("field", "is_remembered"),
    [
        (b"A: b", True),
        (b"Vary: Cookie", True),
        (b"Set-Cookie: sid=secret", False),
        (b"SET-COOKIE: sid=secret", False),
        (b"X-Subject-Token: secret", False),
        (b"Location: /?code=secret", False),
    ],
)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_no_head_with_a_secret_is_remembered(monkeypatch, field, is_remembered, in_pieces):
    """What a server says again and again is read once, but for what is somebody's own."""
    monkeypatch.setattr(response, "known_heads", response.KnownHeads())
    head = OK + field + b"\r\nContent-Length: 5\r\n\r\n"
    pieces = [head[:-1], head[-1:] + b"hello"] if in_pieces else [head + b"hello"]
    for _ in range(2):
        assert b"hello" == _read(pieces, "GET", False, None)[2]

    assert ([head[:-2]] if is_remembered else []) == list(response.known_heads)


def test_a_limited_number_of_heads_is_remembered(monkeypatch):
    """The next one is; it is those before that are forgotten."""
    monkeypatch.setattr(response, "known_heads", response.KnownHeads())
    for number in range(response.MAX_KNOWN_HEADS + 1):
        _read([OK + b"A: %d\r\nContent-Length: 0\r\n\r\n" % number], "GET", False, None)
        assert len(response.known_heads) <= response.MAX_KNOWN_HEADS

    assert [OK + b"A: %d\r\nContent-Length: 0\r\n" % number] == list(response.known_heads)


@each_row(
    ("minor", "value", "persistent"),
    [
        (1, b"x, close", False),
        (1, b"x,\tclose", False),
        (1, b"close\t,x", False),
        (1, b"x\r\nConnection:\tclose", False),
        (1, b"clo se", True),
        (0, b"x,\tkeep-alive", True),
        (0, b"keep -alive", False),
    ],
)
def test_the_options_of_a_connection(minor, value, persistent):
    """Blanks and tabs stand around them, and not in them (RFC 9110, section 5.6.1; row 36)."""
    head = b"HTTP/1.%d 200 OK\r\nContent-Length: 0\r\nConnection: %b\r\n" % (minor, value)

    assert persistent is response.parse_head(head).persistent


def test_a_head_that_trickles_in():
    """Its bytes are counted once, however they come."""
    head = OK + b"A: %b\r\nContent-Length: 0\r\n\r\n" % (b"x" * 1000)

    assert 200 == _read([head[i : i + 1] for i in range(len(head))], "GET", False, None)[0]


def test_as_large_a_head_as_allowed():
    """64 KiB are a head; one byte more is not."""
    filler = response.MAX_HEAD - len(OK + b"A: \r\nContent-Length: 0\r\n\r\n")
    head = OK + b"A: " + b"x" * filler + b"\r\nContent-Length: 0\r\n\r\n"

    assert 200 == _read([head], "GET", False, None)[0]
    with pytest.raises(RemoteProtocolError, match="larger than 65536"):
        _read([head.replace(b"A: ", b"A:  ")], "GET", False, None)


def test_as_many_interim_responses_as_allowed():
    """16 of them are passed over, the 17th is refused."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    final = OK + b"Content-Length: 0\r\n\r\n"

    assert 200 == _read([interim * 16 + final], "GET", False, None)[0]
    with pytest.raises(RemoteProtocolError, match="16 interim"):
        _read([interim * 17 + final], "GET", False, None)


def test_an_error_shows_little_of_a_peers_data():
    """Texts are escaped, and cut (1b: Go CVE-2026-42507)."""
    text = refusal(b"\x1b[31m" + b"x" * 5000 + b"\r\n\r\n")

    assert "\x1b" not in text
    assert len(text) < 300


# ---- bodies


@pytest.mark.parametrize("limit", [4, 0])
@pytest.mark.parametrize(
    "data", [OK + b"Content-Length: 5\r\n\r\nhello", CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"]
)
def test_a_body_over_the_limit(data, limit):
    """`max_body` is kept, by what is announced and by what comes."""
    assert "max_body=" in refuse(data, BodyTooLarge, limit=limit)


def test_a_body_of_the_limit():
    """Exactly `max_body` bytes are a body."""
    assert b"hello" == read(OK + b"Content-Length: 5\r\n\r\nhello", limit=5).body


@pytest.mark.parametrize("size", [2**18, 2**18 + 1, 2**20, 2**24 + 3, 2**25 + 2**19])
def test_a_long_body_is_received_in_place(size):
    """Its bytes go where they stay, but for the last, so that what follows is seen."""
    body = bytes(range(251)) * (size // 251 + 1)
    data = memoryview(body)[:size]
    reader = ResponseReader("GET", None)
    reader.receive(memoryview(OK + b"Content-Length: %d\r\n\r\n" % size))
    position = in_place = 0
    while not reader.ended:
        if (window := reader.window()) is not None:
            count = min(len(window), 100_003, size - position)
            window[:count] = data[position : position + count]
            window.release()
            reader.filled(count)
            in_place += count
        else:
            count = reader.receive(data[position : position + 100_003])
        position += count

    assert bytes(data) == reader.take_content()
    expected = max(0, size - DIRECT)
    assert expected - SMALLEST < in_place <= expected


def test_an_announced_length_costs_nothing():
    """10^15 bytes that never come take no memory (CPython CVE-2025-13836)."""
    import tracemalloc

    tracemalloc.start()
    reader = ResponseReader("GET", StreamedBody())
    reader.receive(memoryview(OK + b"Content-Length: 1000000000000000\r\n\r\nx"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    with pytest.raises(IncompleteBody):
        reader.receive_eof(clean=True)
    assert peak < 2**20


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (OK + b"Content-Length: 0\r\n", True),
        (OK + b"Connection: close\r\nContent-Length: 0\r\n", False),
        (OK + b"Connection: Foo, CLOSE\r\nContent-Length: 0\r\n", False),
        (OK + b"Connection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n", False),
    ],
)
def test_persistence(head, expected):
    """Close wins, and 1.0 persists only where it says so (rows 36, 41)."""
    assert expected is read(head + b"\r\n").persistent


def test_the_servers_hint():
    """`Keep-Alive: timeout=` is read, among other parameters."""
    reader = ResponseReader("HEAD", None)
    reader.receive(memoryview(OK + b"Keep-Alive: max=5, timeout=7\r\n\r\n"))

    assert 7 == reader.head.keep_alive_seconds


@each_row(
    ("status", "fields", "length"),
    [
        (200, b"Content-Length: 5\r\n", 5),
        (299, b"Content-Length: 0\r\n", 0),
        (304, b"Content-Length: 5\r\n", None),
        (204, b"Content-Length: 5\r\n", None),
        (205, b"Content-Length: 5\r\n", 5),
        (305, b"Content-Length: 5\r\n", 5),
        (199, b"Content-Length: 5\r\n", None),
        (200, b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
        (200, b"", None),
    ],
)
def test_what_a_length_alone_ends(status, fields, length):
    """Such a response is read in one step."""
    head = response.parse_head(b"HTTP/1.1 %d X\r\n%b" % (status, fields))

    assert length == head.body_length


def test_what_is_read_of_a_head():
    """The fields that others ask for, once and for all."""
    head = response.parse_head(
        b"HTTP/1.2 200 OK\r\nSet-Cookie: a=b\r\nContent-Encoding: GZIP\r\n"
        b"Content-Encoding: \xe4\r\nKeep-Alive: max=5\r\nKeep-Alive: timeout=7\r\n"
    )
    assert ("HTTP/1.1", 200, b"OK") == (head.http_version, head.status, head.reason)
    assert head.sets_cookies
    assert ("gzip", "\xe4") == head.content_encoding
    assert 7 == head.keep_alive_seconds

    head = response.parse_head(b"HTTP/1.0 200\r\n")
    assert ("HTTP/1.0", b"") == (head.http_version, head.reason)
    assert head.sets_cookies is False
    assert () == head.content_encoding
    assert head.keep_alive_seconds is None


def test_the_regex_of_a_head_is_linear():
    """A large head that fails at its end is refused in one pass: the pattern cannot backtrack."""
    assert "*+" in response._HEAD.pattern.decode("latin-1")
    assert not re.search(r"\)\*[^+]", response._HEAD.pattern.decode("latin-1"))
