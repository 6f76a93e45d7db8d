"""What goes on the wire is one request, whatever a caller puts in (TRUST 1a, and section 2).

The oracle is a strict reading of the bytes: a request line with exactly two blanks, field lines,
an empty line, and nothing behind it that the framing does not announce.
"""

import re

import pytest
from tables import each_row

from fastreq.errors import FastreqError, InvalidURL, LocalProtocolError
from fastreq.headers import Headers
from fastreq.http1.request import OutgoingBody, check_method, encode_head, outgoing
from fastreq.messages import Request
from fastreq.url import parse_url

EVERY_BYTE = [chr(number) for number in range(256)]
LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/1\.1")
FIELD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
URL = "http://example.com/path?query"


def head(method: str = "GET", url: str = URL, fields=(), body=b"", length=None) -> bytes:
    """The head, as it is written, once it has been read strictly."""
    request = Request(check_method(method), parse_url(url), Headers(fields), body, length)
    written = encode_head(request)
    assert written.endswith(b"\r\n\r\n")
    line, *lines = written[:-4].split(b"\r\n")
    assert LINE.fullmatch(line)
    assert lines[0].startswith(b"Host: ")
    assert all(FIELD.fullmatch(each) for each in lines)
    names = [each.partition(b":")[0].lower() for each in lines]
    assert 1 == names.count(b"host")
    assert 1 >= names.count(b"content-length") + names.count(b"transfer-encoding")
    return written


def written_or_refused(error: type[FastreqError] = LocalProtocolError, **what: object) -> bool:
    """Whether it is written as one request; else it was refused as it should."""
    try:
        head(**what)
    except error:
        return False
    return True


def test_every_byte_in_a_method():
    """1a: a method is a token; nothing else is sent (CVE-2020-26116)."""
    token = {byte for byte in EVERY_BYTE if re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]", byte)}
    assert token == {byte for byte in EVERY_BYTE if written_or_refused(method=f"GE{byte}T")}


@pytest.mark.parametrize("method", ["", " ", "GET ", "GET\r\nA: b", "GÉT", "get it"])
def test_methods_that_are_none(method):
    with pytest.raises(LocalProtocolError):
        check_method(method)


@pytest.mark.parametrize("place", ["/{}z", "/a?{}z", "/a?b={}z", "/a/{}/c"])
def test_every_byte_in_a_target(place):
    """1a: controls are refused, or encoded as a blank is (CVE-2019-9740, CVE-2020-11078)."""
    passed = set()
    for byte in EVERY_BYTE:
        url = "http://example.com" + place.format(byte)
        if written_or_refused(InvalidURL, url=url):
            passed.add(byte)
    assert not passed & set(map(chr, [*range(0x20), 0x7F]))
    assert " " in passed


@pytest.mark.parametrize(
    "place", ["http://a{}b/", "http://u{}r@a/", "http://a:8{}0/", "http{}://a/"]
)
def test_every_byte_before_the_path(place):
    """1a: no control gets in by host, userinfo, port or scheme (CVE-2019-18348)."""
    for byte in map(chr, [*range(0x21), 0x7F]):
        assert not written_or_refused(InvalidURL, url=place.format(byte))


def test_every_byte_in_a_name():
    """1a: a name is a token, not empty, without colon or blank."""
    token = {byte for byte in EVERY_BYTE if re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]", byte)}
    named = {b for b in EVERY_BYTE if written_or_refused(fields=[(f"X{b}Y", "value")])}
    assert token == named
    assert not written_or_refused(fields=[("", "value")])


def test_every_byte_in_a_value():
    """1a: a value has no control but HTAB."""
    refused = {b for b in EVERY_BYTE if not written_or_refused(fields=[("X", f"a{b}b")])}
    assert set(map(chr, [*range(9), *range(10, 32), 127])) == refused


@pytest.mark.parametrize("text", ["\u010d\u010a", "\ud800", "\uff11", "\u2028", "\u560d\u560a"])
def test_what_truncates_to_crlf(text):
    """1a: what is not Latin-1 is refused, never cut down to it."""
    assert not written_or_refused(fields=[("X", text)])
    assert not written_or_refused(fields=[(text, "x")])


@each_row("byte", [chr(n) for n in [*range(0x21), 0x7F, 0xE9]] + ["/", "@", "?", "#"])
def test_every_byte_in_a_host_of_ones_own(byte):
    """1a: a Host that was set by hand is a host (CVE-2023-29406)."""
    assert not written_or_refused(fields=[("Host", f"exa{byte}mple.com")])


def test_a_host_of_ones_own():
    """It is sent in place of the URL's, once, and first (row 59)."""
    assert head(fields=[("Host", "other.example:8080")]).split(b"\r\n")[1] == (
        b"Host: other.example:8080"
    )
    assert not written_or_refused(fields=[("Host", "a"), ("Host", "b")])


FRAMINGS = [
    [("Content-Length", "6")],
    [("Content-Length", "+5")],
    [("Content-Length", "0x5")],
    [("Content-Length", "5_0")],
    [("Content-Length", "5, 5")],
    [("Content-Length", "")],
    [("Content-Length", "5"), ("Content-Length", "5")],
    [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
    [("Transfer-Encoding", "gzip, chunked")],
    [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
    [("Transfer-Encoding", "xchunked")],
    [("Transfer-Encoding", "identity")],
    [("TE", "chunked")],
]


@pytest.mark.parametrize("fields", FRAMINGS, ids=str)
def test_framings_that_are_refused(fields):
    """1a: a length that is not the body's, two of them, another coding (rows 15, 18, 30)."""
    assert not written_or_refused(method="POST", fields=fields, body=b"hello")


@pytest.mark.parametrize("fields", [[], [("Content-Length", "5")]])
def test_the_length_is_the_bodys(fields):
    """Rows 18 and 25: one Content-Length, right."""
    assert b"\r\nContent-Length: 5\r\n" in head("POST", fields=fields, body=b"hello")


def test_a_body_of_unknown_length_is_chunked_once():
    """Rows 15 and 25."""
    written = head("POST", body=iter([b"hello"]))
    assert 1 == written.count(b"chunked")
    assert b"Content-Length" not in written


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_no_body_is_a_length_of_0(method):
    """Row 64."""
    assert b"\r\nContent-Length: 0\r\n" in head(method)


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_no_body_is_no_length(method):
    """Row 64."""
    assert b"Content-Length" not in head(method)


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_without_a_body(method):
    """Row 65."""
    assert not written_or_refused(method=method, url="http://a/", body=b"hello")


def test_te_is_listed_in_connection():
    """Rows 30 and 61."""
    assert b"\r\nConnection: TE\r\n" in head(fields=[("TE", "trailers")])


def test_expect_is_for_bodies():
    """Row 66."""
    assert not written_or_refused(fields=[("Expect", "100-continue")])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_credentials_for_proxies(method):
    """Row 73 and 1d: without a proxy that is sent the request, there is nobody to read them."""
    assert b"secret" not in head(method, fields=[("Proxy-Authorization", "secret")])


def test_userinfo_stays_here():
    """Rows 5 and 49: neither target nor Host has it."""
    assert b"secret" not in head(url="http://user:secret@example.com/")


def test_the_whole_head():
    """Rows 3, 6, 7 and 59: Host first, an empty path is "/", no line too many."""
    assert b"GET / HTTP/1.1\r\nHost: example.com\r\nA: b\r\n\r\n" == head(
        url="http://example.com", fields=[("A", "b")]
    )


async def test_an_empty_piece_ends_no_body():
    """1a: in chunks, an empty piece would be the last one."""
    request = Request("POST", parse_url(URL), Headers(), iter([b"a", b"", b"b"]), None)
    _, body = outgoing(request, encode_head(request))
    assert isinstance(body, OutgoingBody)
    assert b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n" == b"".join([bytes(p) async for p in body.pieces()])
