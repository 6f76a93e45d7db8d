"""multipart.py: what is uploaded comes out of other people's parsers as it went in, or raises."""

import io
import os
import re
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable
from email import policy
from email.parser import BytesParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.content.multipart import encode_multipart
from fastreq.content.sources import PIECE, Encoded, replayable
from fastreq.errors import LocalProtocolError
from fastreq.headers import Headers
from fastreq.http1.request import OutgoingBody, encode_head
from fastreq.messages import Request
from fastreq.url import parse_url

LARGE = 2**28
BINARY = bytes(range(256)) * 3 + b"\r\n--\r\n\n--b--"
CONTROLS = {*range(0x20), 0x7F}
TOKEN = set(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")

# Names that all parsers read alike: some decode "%", some take a backslash off.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='%"\\'))


class Part(NamedTuple):
    """What a parser saw."""

    name: str
    filename: str | None
    headers: dict[str, str]  # beside Content-Disposition
    content: bytes


def whole(encoded: Encoded) -> bytes:
    body = encoded.body if isinstance(encoded.body, bytes) else b"".join(encoded.body)
    assert encoded.length in (None, len(body))
    return body


async def later(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def gathered(encoded: Encoded) -> bytes:
    return b"".join([piece async for piece in encoded.body])


def strictly(body: bytes, content_type: str) -> list[Part]:
    """The parts as the strict parser of PyPI's `multipart` sees them."""
    multipart = pytest.importorskip("multipart", reason="a strict parser that is not ours")
    options = multipart.parse_options_header(content_type)[1]
    seen: list[tuple[Any, bytearray]] = []
    parser = multipart.PushMultipartParser(
        options["boundary"], content_length=len(body), max_header_size=2**20, strict=True
    )
    with parser:
        for event in parser.parse(body):
            if isinstance(event, multipart.MultipartSegment):
                seen.append((event, bytearray()))
            elif event is not None:
                seen[-1][1].extend(event)
    return [
        Part(segment.name, segment.filename, dict(segment.headerlist[1:]), bytes(content))
        for segment, content in seen
    ]


def as_mail(body: bytes, content_type: str) -> list[Part]:
    """The parts as the standard library sees them, which reads quoted pairs and bare newlines."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=policy.compat32).parsebytes(head + body)
    assert message.is_multipart()
    assert not message.defects
    return [
        Part(
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            {name: str(value) for name, value in part.items()[1:]},
            part.get_payload(decode=True),
        )
        for part in message.get_payload()
    ]


each_parser = pytest.mark.parametrize("parse", [strictly, as_mail])


# --- what is sent ---


def test_every_byte_of_a_body():
    """As browsers send it: fields first and without a type, then files."""
    encoded = encode_multipart(
        {"field": "value"}, {"file": ("a.txt", b"text", "text/plain", {"X-A": "1"})}, boundary="b"
    )

    assert encoded.content_type == "multipart/form-data; boundary=b"
    assert encoded.body == (
        b"--b\r\n"
        b'Content-Disposition: form-data; name="field"\r\n'
        b"\r\n"
        b"value\r\n"
        b"--b\r\n"
        b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n"
        b"X-A: 1\r\n"
        b"\r\n"
        b"text\r\n"
        b"--b--\r\n"
    )
    assert encoded.length == len(encoded.body)


def test_no_parts_are_just_the_end():
    assert b"--b--\r\n" == encode_multipart({}, None, boundary="b").body


@each_parser
@pytest.mark.parametrize("kind", [dict, list])
def test_parts_keep_their_order(parse, kind):
    data, files = {"d": [1, "ä", None], "c": True}, {"b": ("2", b"B"), "a": ("1", b"A")}
    encoded = encode_multipart(
        data if kind is dict else list(data.items()), files if kind is dict else list(files.items())
    )

    wanted = [
        ("d", b"1"),
        ("d", "ä".encode()),
        ("d", b""),
        ("c", b"true"),
        ("b", b"B"),
        ("a", b"A"),
    ]
    assert wanted == [(p.name, p.content) for p in parse(whole(encoded), encoded.content_type)]


@each_parser
def test_names_may_be_repeated(parse):
    encoded = encode_multipart(None, [("f", ("1", b"A")), ("f", ("2", b"B"))])

    parts = parse(whole(encoded), encoded.content_type)
    assert [("f", "1", b"A"), ("f", "2", b"B")] == [(p.name, p.filename, p.content) for p in parts]


CONTENTS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: BINARY,
    "bytearray": lambda: bytearray(BINARY),
    "memoryview": lambda: memoryview(BINARY),
    "list": lambda: [BINARY[:5], b"", BINARY[5:]],
    "file": lambda: io.BytesIO(BINARY),
    "generator": lambda: (BINARY[i : i + 7] for i in range(0, len(BINARY), 7)),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_of_every_kind_arrives_as_it_was(kind):
    encoded = encode_multipart(None, {"f": ("name", CONTENTS[kind]()), "g": ("name", b"after")})

    parts = strictly(whole(encoded), encoded.content_type)
    assert [BINARY, b"after"] == [part.content for part in parts]
    assert (kind == "generator") == (encoded.length is None)


@pytest.mark.parametrize("kind", CONTENTS)
async def test_async_content_arrives_as_it_was_beside_all_others(kind):
    encoded = encode_multipart(
        {"d": b"data"}, [("f", ("1", later([b"a", b"b"]))), ("g", ("2", CONTENTS[kind]()))]
    )

    assert encoded.length is None
    parts = strictly(await gathered(encoded), encoded.content_type)
    assert [b"data", b"ab", BINARY] == [part.content for part in parts]


def test_text_is_sent_as_utf8():
    encoded = encode_multipart({"a": "ä"}, {"b": ("ü.txt", "ö")})

    wanted = [("a", None, "ä".encode()), ("b", "ü.txt", "ö".encode())]
    parts = strictly(whole(encoded), encoded.content_type)
    assert wanted == [(part.name, part.filename, part.content) for part in parts]


@given(
    data=st.lists(st.tuples(texts, st.binary())),
    files=st.lists(st.tuples(texts, st.tuples(texts | st.none(), st.binary()))),
)
def test_parts_are_read_back_as_they_were(data, files):
    encoded = encode_multipart(data, files)

    wanted = [(name, None, content) for name, content in data]
    wanted += [(name, filename, content) for name, (filename, content) in files]
    parts = strictly(whole(encoded), encoded.content_type)
    assert wanted == [(part.name, part.filename, part.content) for part in parts]


# --- filename, type and headers ---


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("a.txt", "a.txt"),
        ("a.txt", "/tmp/some where/a.txt"),
        ("a.txt", b"/tmp/a.txt"),
        ("ä.txt", "ä.txt"),
        ("upload", "<stdin>"),
        ("upload", ""),
        ("upload", "/tmp/"),
        ("upload", 5),
        ("upload", None),
    ],
)
def test_a_filename_is_guessed_from_the_file(filename, name):
    file = io.BytesIO(b"content")
    file.name = name
    encoded = encode_multipart(None, {"f": file})

    assert [filename] == [p.filename for p in strictly(whole(encoded), encoded.content_type)]


def test_a_real_file_has_its_name_and_type(tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(b"<p>")
    with path.open("rb") as file:
        encoded = encode_multipart(None, {"f": file})
        parts = strictly(whole(encoded), encoded.content_type)

    assert [Part("f", "page.html", {"Content-Type": "text/html"}, b"<p>")] == parts


@pytest.mark.parametrize("content", [b"content", "content", [b"content"]])
def test_content_without_a_name_is_still_a_file(content):
    """A part without a filename is a field to a server, and files= is for files."""
    given_ = content if not isinstance(content, list) else iter(content)
    encoded = encode_multipart(None, {"f": given_})

    wanted = Part("f", "upload", {"Content-Type": "application/octet-stream"}, b"content")
    assert [wanted] == strictly(whole(encoded), encoded.content_type)


def test_a_filename_of_none_makes_a_field():
    files = {"f": (None, b"1"), "g": (None, b"{}", "application/json")}
    encoded = encode_multipart(None, files)

    wanted = [
        Part("f", None, {}, b"1"),
        Part("g", None, {"Content-Type": "application/json"}, b"{}"),
    ]
    assert wanted == strictly(whole(encoded), encoded.content_type)


@pytest.mark.parametrize(
    ("expected", "filename"),
    [
        ("text/plain", "a.txt"),
        ("image/png", "a.b.PNG"),
        ("application/octet-stream", "a"),
        ("application/octet-stream", "a.unheard-of"),
        ("application/octet-stream", ""),
        # Packed: a type of what is inside would be wrong.
        ("application/octet-stream", "a.txt.gz"),
        ("application/octet-stream", "a.tgz"),
        # A URL to mimetypes, which reads the type out of it.
        ("application/octet-stream", "data:text/html,a"),
        ("text/plain", "data:text/html;b,a.txt"),
        ("application/octet-stream", "data:text/x\r\nX-Evil: 1,a"),
    ],
)
def test_a_type_is_guessed_from_the_filename(expected, filename):
    encoded = encode_multipart(None, {"f": (filename, b"")})

    parts = strictly(whole(encoded), encoded.content_type)
    assert [{"Content-Type": expected}] == [part.headers for part in parts]


@pytest.mark.parametrize(
    ("expected", "rest"),
    [
        ({"Content-Type": "image/png"}, ["image/png"]),
        ({"Content-Type": "text/plain", "X-A": "1"}, [None, {"X-A": "1"}]),
        ({"Content-Type": "a/b", "X-A": "ä"}, ["a/b", [("X-A", "ä")]]),
        ({"Content-Type": "a/b"}, [None, {"content-type": "a/b"}]),
        ({"Content-Type": "a/b"}, [None, Headers({"Content-Type": "a/b"})]),
        ({"Content-Type": "text/plain"}, [None, {}]),
        ({"Content-Type": "text/plain"}, [None, None]),
    ],
)
def test_a_part_has_the_fields_it_was_given(expected, rest):
    encoded = encode_multipart(None, {"f": ("a.txt", b"", *rest)})

    parts = strictly(whole(encoded), encoded.content_type)
    assert [expected] == [part.headers for part in parts]


@pytest.mark.parametrize(
    "rest",
    [
        [None, {"Content-Disposition": "form-data"}],
        [None, {"content-disposition": "form-data"}],
        ["a/b", {"content-type": "a/b"}],
        [None, [("Content-Type", "a/b"), ("CONTENT-TYPE", "a/b")]],
    ],
)
def test_a_field_that_would_be_there_twice_is_refused(rest):
    with pytest.raises(LocalProtocolError, match=r"files\['f'\]: its Content-Disposition"):
        encode_multipart(None, {"f": ("a.txt", b"", *rest)})


@pytest.mark.parametrize(
    ("part", "files"),
    [
        ("files= is a str", "a.txt"),
        ("files= is a BytesIO", io.BytesIO(b"a")),
        ("files= is a set", {"a"}),
        ("files= holds str where", ["ab"]),
        ("files['f'] is a list; for several, write files=[", {"f": [b"a", b"b"]}),
        ("files['f'] is a tuple of 1", {"f": ("a",)}),
        ("files['f'] is a tuple of 5", {"f": ("a", b"", None, None, None)}),
        ("files['f'] is a int; expected bytes", {"f": 5}),
        ("files['f'] is a NoneType", {"f": ("a", None)}),
        ("files['f'] is a file that reads text", {"f": io.StringIO("a")}),
        ("files['f']: its filename is a bytes", {"f": (b"a", b"")}),
        ("files['f']: its filename is a PosixPath", {"f": (Path("a"), b"")}),
        ("files[5]: its name is a int", {5: b""}),
        ("files['f'] headers is a str", {"f": ("a", b"", None, "X-A: 1")}),
        ("header 'X-A': expected str, not a int", {"f": ("a", b"", None, {"X-A": 1})}),
        ("header 'Content-Type': expected str, not a int", {"f": ("a", b"", 5)}),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="names the path class of this system")
def test_what_is_no_file_is_refused_by_place(part, files):
    with pytest.raises(TypeError) as caught:
        encode_multipart(None, files)
    assert part in str(caught.value)


# --- injection (TRUST 1a: multipart name, filename, type, part headers) ---


PLACES: dict[str, Callable[[str], tuple[Any, Any]]] = {
    "name of data": lambda text: ({text: b"content"}, None),
    "name": lambda text: (None, {text: ("file", b"content")}),
    "filename": lambda text: (None, {"field": (text, b"content")}),
    "type": lambda text: (None, {"field": ("file", b"content", text)}),
    "header name": lambda text: (None, {"field": ("file", b"content", None, {text: "value"})}),
    "header value": lambda text: (None, {"field": ("file", b"content", None, {"X-A": text})}),
}


def refused(place: str, code: int) -> bool:
    """Whether a character cannot stand there: a control, or what is no token."""
    if place == "header name":
        return code not in TOKEN
    escaped = {ord("\r"), ord("\n")} if "name" in place else set()
    return code in CONTROLS - {ord("\t")} - escaped


@each_parser
@each_row("place", PLACES)
@each_row("form", ["a{}b", "{}", "a{}", '{}"', "{0}{0}X-Evil: 1{0}{0}"])
def test_no_character_makes_two_parts_of_one(place, form, parse):
    """Each of 0 to 255 comes out in one part with the same fields as any other, or raises."""
    for code in range(256):
        text = form.format(chr(code))
        try:
            encoded = encode_multipart(*PLACES[place](text))
        except LocalProtocolError:
            continue
        assert not refused(place, code), f"{text!r} should have been refused"
        if parse is strictly and place == "header name" and not re.fullmatch(r"[\w-]+", text):
            continue  # a token, which this parser does not take as a name
        parts = parse(whole(encoded), encoded.content_type)
        assert [b"content"] == [part.content for part in parts], repr(text)
        assert set(parts[0].headers) <= {"Content-Type", "X-A", text, text.title()}, repr(text)


@pytest.mark.parametrize("place", PLACES)
def test_just_what_cannot_stand_there_is_refused(place):
    for code in range(256):
        arguments = PLACES[place](f"a{chr(code)}b")
        if refused(place, code):
            with pytest.raises(LocalProtocolError):
                encode_multipart(*arguments)
        else:
            encode_multipart(*arguments)


@each_row("place", ["name of data", "name", "filename"])
@each_row(
    "text",
    [
        *(f"a{chr(code)}b" for code in range(256) if not refused("name", code)),
        "a\r\nX-Evil: 1\r\n\r\ncontent",
        'a"; filename="evil',
        "a; filename=evil",
        "\\a\\\\b",
        "č\u010a\u010d",  # whose lowest bytes are \r and \n
        "\u2028\u2029\x85",
        "＂\uff0d",
        "--boundary--",
        "=?utf-8?q?a?=",
        "a" * 5000,
    ],
)
def test_a_name_is_read_back_as_it_was(place, text):
    encoded = encode_multipart(*PLACES[place](text))

    (part,) = strictly(whole(encoded), encoded.content_type)
    assert text == (part.filename if place == "filename" else part.name)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (b"%0D%0A%22", '\r\n"'),
        (b"a\\b", "a\\b"),
        (b"%", "%"),
        (b"%0D", "%0D"),
        ("ä\t'".encode(), "ä\t'"),
        (b"a\\%5C", "a\\\\"),
    ],
)
def test_names_are_escaped_as_browsers_do(expected, text):
    """And a backslash before the closing quote, which is no letter to everybody."""
    body = encode_multipart(None, {text: (text, b"")}, boundary="b").body

    assert b'form-data; name="%b"; filename="%b"\r\n' % (expected, expected) in body


@each_parser
def test_a_backslash_does_not_swallow_the_closing_quote(parse):
    """Else a name could hide the filename, or give one."""
    encoded = encode_multipart(None, {"a\\": ("; name=x\\", b"")})

    (part,) = parse(whole(encoded), encoded.content_type)
    assert ("a%5C", "; name=x%5C") == (part.name, part.filename)


@pytest.mark.parametrize("place", [place for place in PLACES if place != "header name"])
def test_half_a_character_is_refused(place):
    with pytest.raises(ValueError, match=r"'\\ud80a' at position 1 is half a character"):
        encode_multipart(*PLACES[place]("a\ud80a"))


# --- the boundary ---


def test_a_boundary_is_random():
    first, second = (encode_multipart({"a": "b"}, None).content_type for _ in range(2))

    assert first != second
    assert re.fullmatch("multipart/form-data; boundary=[0-9a-f]{32}", first)


@each_parser
@pytest.mark.parametrize(
    "boundary", ["b", "a b", "0" * 70, "'()+_,-./:=?", "----WebKitFormBoundaryABC", "a.b"]
)
def test_a_boundary_may_be_given(boundary, parse):
    encoded = encode_multipart({"a": "b"}, None, boundary)

    assert [Part("a", None, {}, b"b")] == parse(whole(encoded), encoded.content_type)


@pytest.mark.parametrize(
    "boundary",
    ["", " ", "a ", "0" * 71, "a\r\n", "a\n", 'a"', "a;b", "a\\", "ä", "٣", "a@b", "a\0", b"a", 5],
)
def test_a_boundary_outside_the_grammar_is_refused(boundary):
    """RFC 2046, section 5.1.1."""
    with pytest.raises(LocalProtocolError, match="boundary"):
        encode_multipart({"a": "b"}, None, boundary)


# --- memory and length ---


def request(encoded: Encoded) -> Request:
    headers = Headers({"Content-Type": encoded.content_type})
    return Request("POST", parse_url("http://host/"), headers, encoded.body, encoded.length)


async def sent(request: Request) -> tuple[bytes, int]:
    """The head, and how many bytes follow it."""
    head = encode_head(request)
    return head, sum([len(piece) async for piece in OutgoingBody(request, head).pieces()])


async def test_a_large_file_is_streamed_in_little_memory(tmp_path):
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, LARGE)
    with path.open("rb") as file:
        encoded = encode_multipart({"a": "b"}, {"f": file})
        tracemalloc.start()
        try:
            head, size = await sent(request(encoded))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert size == encoded.length > LARGE
    assert b"\r\nContent-Length: %d\r\n" % size in head
    assert peak < 2**20


async def test_a_file_that_is_shorter_than_it_was_is_an_error():
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.seek(2)
        encoded = encode_multipart(None, {"f": file})
        file.truncate(5)

        with pytest.raises(LocalProtocolError, match="5 bytes short"):
            await sent(request(encoded))


async def test_the_same_file_twice_is_an_error_and_not_an_empty_part():
    file = io.BytesIO(b"0123456789")
    encoded = encode_multipart(None, {"f": file, "g": file})

    with pytest.raises(LocalProtocolError, match="10 bytes short"):
        await sent(request(encoded))


async def test_an_unknown_length_is_sent_in_chunks():
    head, _ = await sent(request(encode_multipart(None, {"f": later([b"a"])})))

    assert head.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert b"Content-Length" not in head


def test_a_small_body_in_memory_is_bytes():
    """It is sent with its head, in one write, and can be sent again."""
    encoded = encode_multipart({"a": "b"}, {"f": b"content"})

    assert isinstance(encoded.body, bytes)


def test_a_large_body_in_memory_is_not_copied():
    content = bytes(PIECE)
    encoded = encode_multipart({"a": "b"}, {"f": content})

    assert any(piece is content for piece in encoded.body)
    assert replayable(encoded.body)
    assert whole(encoded) == whole(encoded)


def test_a_body_with_a_file_is_sent_once():
    assert not replayable(encode_multipart(None, {"f": io.BytesIO(b"")}).body)
