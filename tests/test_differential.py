"""Our reading of responses against that of llhttp (httptools) and of h11 (TRUST, C14).

Where two accept the same bytes, they read the same status and the same body. Where one accepts
what the other refuses, it is for a reason that is written here, with the RFC's clause.
"""

import os
import random
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreq.errors import FastreqError
from fastreq.http1.response import ResponseReader

h11 = pytest.importorskip("h11")
httptools = pytest.importorskip("httptools")

CASES = int(os.environ.get("FASTREQ_DIFFERENTIAL_CASES", "500"))
MUTANTS = int(os.environ.get("FASTREQ_DIFFERENTIAL_MUTANTS", "9"))  # of each case


class Read(NamedTuple):
    """A response that was accepted."""

    status: int
    body: bytes


Verdict = Read | None  # None: refused, or not finished


# ---- the three readers


def ours(data: bytes, cut: random.Random) -> Verdict:
    """Ours, with the bytes cut anywhere."""
    reader = ResponseReader("GET", None)
    try:
        while data and not reader.ended:
            size = cut.randint(1, len(data))
            used = reader.receive(memoryview(data[:size]))
            data = data[used:] if reader.ended else data[size:]
        if not reader.ended:
            reader.receive_eof(clean=True)
    except FastreqError:
        return None
    assert reader.head is not None
    return Read(reader.head.status, reader.take_content())


def by_h11(data: bytes) -> Verdict:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    status, body, ended = 0, b"", False
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return Read(status, body)
            elif event is h11.NEED_DATA and not ended:
                connection.receive_data(b"")
                ended = True
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return None
    except (h11.RemoteProtocolError, ValueError):
        return None


class _Llhttp:
    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.names: set[bytes] = set()
        self.read: Verdict = None
        self.in_body = False

    def on_message_begin(self) -> None:
        self.body, self.in_body = b"", False
        self.names.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.names.add(name.lower())

    def on_headers_complete(self) -> None:
        self.in_body = True

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if self.read is None and status >= 200:
            self.read = Read(status, self.body)


def by_llhttp(data: bytes) -> Verdict:
    reader = _Llhttp()
    try:
        reader.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return None
    except httptools.HttpParserError:
        return reader.read
    status = reader.parser.get_status_code()
    framed = {b"content-length", b"transfer-encoding"} & reader.names
    if reader.read is None and reader.in_body and status >= 200 and not framed:
        return Read(status, reader.body)  # until the end
    return reader.read


# ---- what may differ, and why


def has(pattern: bytes) -> Callable[[bytes], object]:
    return re.compile(pattern, re.I | re.S | re.M).search


BOTH = rb"\A(?=.*^content-length)(?=.*^transfer-encoding)"

WE_REFUSE = {
    "something other than HTTP/1 in the status line (9112, 4)": has(
        rb"\A(?!HTTP/1\.[0-9] [1-9][0-9]{2}( |\r\n))"
    ),
    "both framings (RFC 9112, 6.3, rule 3: ought to be handled as an error)": has(BOTH),
    "a bare LF or CR (9112, 2.2: a recipient MAY take LF; we do not)": has(rb"(?<!\r)\n|\r(?!\n)"),
    "blank lines before the status line (9112, 2.2 is about requests)": has(rb"\A[\r\n]"),
    "a coding other than chunked (9112, 6.1 and 6.3, rule 4)": has(
        rb"^transfer-encoding(?!:[ \t]*chunked[ \t]*\r\n)"
    ),
    "Transfer-Encoding twice (9112, 6.1: chunked is applied once)": has(
        rb"^transfer-encoding.*^transfer-encoding"
    ),
    "Transfer-Encoding in HTTP/1.0 (9112, 6.1: faulty framing)": has(
        rb"\AHTTP/1\.0.*^transfer-encoding"
    ),
    "a status outside of 100 to 999 (9110, 15)": has(rb"\AHTTP/1.[0-9] 0"),
    "101 without an Upgrade (9110, 7.8)": has(rb"^HTTP/1.[0-9] 101"),
    "a control character (9110, 5.5; 9112, 4)": has(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
    "a folded framing field (9112, 5.2)": has(rb"^(content-length|transfer-encoding)[^\n]*\n[ \t]"),
    "Content-Length with more than 19 digits, or odd (9110, 8.6)": has(
        rb"^content-length:(?![ \t]*\d{1,19}[ \t]*\r\n)"
    ),
    "two lengths (9112, 6.3, rule 5)": has(rb"^content-length.*^content-length"),
    "a blank behind a chunk size, or an odd extension (9112, 7.1 and 7.1.1)": has(
        rb"^[0-9a-f]+[ \t]*(;|[ \t]\r)"
    ),
    "a trailer that is none (9112, 7.1.2)": has(rb"^0+\r\n(?!\r\n)"),
    "a field line that is none (9112, 5)": has(
        rb"^(?!HTTP/)(?![!#$%&'*+\-.^_`|~0-9A-Z]+:)[^\r\n]+\r\n"
    ),
}

WE_ACCEPT = {
    "a minor version above 1 (9110, 6.2: read as 1.1)": has(rb"\AHTTP/1\.[2-9]"),
    "a minor version above 1 in a 1xx": has(rb"^HTTP/1\.[2-9]"),
    "equal lengths (9112, 6.3, rule 5: MAY be taken for one)": has(
        rb"^content-length:[^\n]*(,|.*^content-length)"
    ),
    "an obs-fold (9112, 5.2: replaced by SP)": has(rb"\r\n[ \t]"),
    "no reason, nor the blank before it (9112, 4, as servers send it)": has(
        rb"^HTTP/1\.[0-9] [0-9]{3}\r\n"
    ),
    "a status from 600 (9110, 15: treated as 5xx)": has(rb"\AHTTP/1\.[0-9] [6-9]"),
    "a length of up to 16 hexadecimal digits, with leading zeros (9112, 7.1)": has(rb"^0[0-9a-f]+"),
    "chunk extensions are passed over (9112, 7.1.1)": has(rb"^[0-9a-f]+[ \t]*;"),
    "no content with 204 and 304, whatever the fields say (9112, 6.3, rule 1)": has(
        rb"^HTTP/1\.[0-9] (204|304)[ \r]"
    ),
    "an odd Connection (9110, 7.6.1: options that nobody knows)": has(rb"^(connection|upgrade)"),
    "trailers (9112, 7.1.2)": has(rb"^0+\r\n(?!\r\n)"),
    "a tab around chunked (9112, 5: white space around a value is no part of it)": has(
        rb"^transfer-encoding:[ \t]*chunked[ \t]*\t"
    ),
}


# ---- what is read

STATUS = st.sampled_from(
    "200 OK|200|200 |404 Not Found|204 No Content|304 Not Modified|599 \xe9|100 Continue|"
    "103 Early Hints|101 Switching|600 Odd|099 No|1000 No".split("|")
)
VERSION = st.sampled_from(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9"])
FIELDS = st.lists(
    st.sampled_from(
        "A: b|A:b|A:|A: b |B: c,d|A : b|: b|A: b\r\n c|\xe9: a|A: \xe9|Connection: close|"
        "Connection: keep-alive|Content-Type: text/plain".split("|")
    ),
    max_size=4,
)
FRAMINGS = st.sampled_from(
    ["Content-Length: 5"] * 4
    + ["Transfer-Encoding: chunked"] * 4
    + ["", "", "Content-Length: 5, 5", "Content-Length: +5", "Content-Length: 05"]
    + ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6"]
    + ["Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked"]
    + ["Transfer-Encoding: chunked, chunked", "Transfer-Encoding: xchunked", "Content-Length: 0x5"]
)
CHUNKS = st.lists(
    st.sampled_from(["5\r\nhello\r\n", "1\r\nx\r\n", "5;a=b\r\nhello\r\n", "05\r\nhello\r\n"]),
    max_size=3,
)
ENDS = st.sampled_from(["0\r\n\r\n"] * 4 + ["0\r\nA: b\r\n\r\n", "00\r\n\r\n", "", "0\r\n"])
ODD = [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b";", b",", b"0", b"f", b"\xff"]


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A response, nearly right or quite."""
    framing = draw(FRAMINGS)
    lines = [f"{draw(VERSION)} {draw(STATUS)}", *draw(FIELDS), *([framing] if framing else [])]
    body = "".join(draw(CHUNKS)) + draw(ENDS) if "chunked" in framing else "hello"
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The same with a fault or two or three."""
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data))
        odd = rng.choice([*ODD, b"", data[place : place + rng.randint(1, 12)]])
        data = data[:place] + odd + data[place + rng.randint(0, 1) :]
    return data


def each_of(data: bytes, rng: random.Random) -> Iterator[bytes]:
    """A response, and mutants of it."""
    yield data
    for _ in range(MUTANTS):
        yield mutated(data, rng)


def reason(data: bytes, reasons: dict[str, Callable[[bytes], object]]) -> str | None:
    return next((text for text, applies in reasons.items() if applies(data)), None)


def compare(data: bytes, rng: random.Random, other: Callable[[bytes], Verdict]) -> None:
    mine, theirs = ours(data, rng), other(data)
    if mine is not None and theirs is not None:
        assert mine == theirs, data
    elif theirs is not None:
        assert reason(data, WE_REFUSE), (data, theirs)
    elif mine is not None:
        assert reason(data, WE_ACCEPT), (data, mine)


@pytest.mark.parametrize("other", [by_h11, by_llhttp])
@settings(max_examples=CASES)
@given(data=responses(), seed=st.integers(0, 2**32))
def test_same_verdict(other, data, seed):
    """C14: the same status and body where both accept; else a difference that is on the list."""
    rng = random.Random(seed)
    for each in each_of(data, rng):
        compare(each, rng, other)


@settings(max_examples=CASES)
@given(data=responses(), seed=st.integers(0, 2**32))
def test_however_it_is_cut(data, seed):
    """The same verdict, whatever the network does."""
    rng = random.Random(seed)
    for each in each_of(data, rng):
        assert ours(each, rng) == ours(each, rng), each
