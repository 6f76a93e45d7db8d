"""Reading a response: text, pieces, lines, trailers, links (issue 3, 10)."""

import asyncio
import codecs
import encodings.aliases
import gzip
import json
import pickle
import time
import zlib

import pytest
from servers.scripted import reply, scripted, serving

from fastreq import (
    BodyTooLarge,
    Client,
    DecodingError,
    HTTPStatusError,
    IncompleteBody,
    Response,
    StreamClient,
    StreamConsumed,
    TotalTimeout,
)
from fastreq.protocol import HTTPProtocol

NOISE = bytes(range(256)) * 512  # 128 KiB


def chunked(*chunks, fields=(), trailers=()):
    """A response in chunks."""
    head = ["HTTP/1.1 200 OK", *fields, "Transfer-Encoding: chunked", "", ""]
    parts = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk]
    end = "\r\n".join(["0", *trailers, "", ""])
    return "\r\n".join(head).encode() + b"".join(parts) + end.encode()


def sending(message, step=None):
    """A handler that sends one message for each request, in packets of so many bytes."""

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(message, step=step)

    return handler


# ---- text

TEXTS = [
    # Content-Type, body, encoding, text
    ("text/html; charset=utf-8", "ü€".encode(), "utf-8", "ü€"),
    ("text/html; charset=ISO-8859-1", b"\xfc", "iso8859-1", "ü"),
    ('text/html; charset="latin1"', b"\xfc", "iso8859-1", "ü"),
    ("text/html; CHARSET = 'windows-1252' ; x=y", b"\x80", "cp1252", "€"),
    ("text/html;charset=shift_jis", "日本".encode("shift_jis"), "shift_jis", "日本"),
    ("text/html; charset=koi8-u", "Київ".encode("koi8-u"), "koi8-u", "Київ"),
    ("text/html", "ü".encode(), "utf-8", "ü"),
    ("text/html", b"\xfc!", "utf-8", "\ufffd!"),
    (None, "ü".encode(), "utf-8", "ü"),
    ("application/octet-stream", b"a\0b", "utf-8", "a\0b"),
    # A byte order mark is stronger than what is said.
    ("text/html; charset=latin1", codecs.BOM_UTF8 + "ü".encode(), "utf-8-sig", "ü"),
    ("text/html", codecs.BOM_UTF16_LE + "ü".encode("utf-16-le"), "utf-16", "ü"),
    ("text/html", codecs.BOM_UTF16_BE + "ü".encode("utf-16-be"), "utf-16", "ü"),
    ("text/html; charset=utf-16le", "ü".encode("utf-16-le"), "utf-16-le", "ü"),
    # It is a parameter of its own, and not a part of another.
    ("text/html; xcharset=latin-1; charset=utf-8", "ü".encode(), "utf-8", "ü"),
    ('text/html; x="charset=latin-1; charset=latin-1"', "ü".encode(), "utf-8", "ü"),
    # What is no charset says nothing.
    ("text/html; charset=utf-7", b"+AOk-", "utf-8", "+AOk-"),
    ("text/html; charset=nonsense", "ü".encode(), "utf-8", "ü"),
    ("text/html; charset=", "ü".encode(), "utf-8", "ü"),
    ("text/html; charset=hex", b"fc", "utf-8", "fc"),
    ("text/html; charset=zlib", zlib.compress(b"x"), "utf-8", None),
    ("text/html; charset=idna", b"xn--a", "utf-8", "xn--a"),
    ("text/html; charset=unicode_escape", b"\\x41", "utf-8", "\\x41"),
    ("text/html; charset=undefined", b"a", "utf-8", "a"),
    ("text/html; charset=" + "x" * 9999, b"a", "utf-8", "a"),
    ("text/html; charset=../../etc", b"a", "utf-8", "a"),
]


@pytest.mark.parametrize(("kind", "body", "encoding", "text"), TEXTS)
async def test_text(kind, body, encoding, text):
    """A byte order mark, then the charset of the Content-Type, then UTF-8."""
    fields = [f"Content-Type: {kind}"] if kind else []
    async with serving(reply(body, *fields)) as server, Client() as client:
        response = await client.get(server.url("/"))

        assert encoding == response.encoding
        assert text is None or text == response.text


def test_no_charset_makes_text_fail():
    """Whatever a server calls its charset, of all that Python knows."""
    names = {*encodings.aliases.aliases, *encodings.aliases.aliases.values(), "undefined", "idna"}
    for name in sorted(names | {"punycode", "unicode_escape", "raw_unicode_escape", "mbcs"}):
        kind = {"Content-Type": f"text/plain; charset={name}"}
        response = Response(200, headers=kind, content=bytes(range(256)) + b"\\x\\u12")
        assert isinstance(response.text, str), name


async def test_an_encoding_of_ones_own():
    async with serving(reply(b"\xfc", "Content-Type: text/html")) as server, Client() as client:
        response = await client.get(server.url("/"))
        response.encoding = "latin-1"

        assert "ü" == response.text


# ---- json


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
async def test_json(encoding):
    body = json.dumps({"ü": [1, None]}, ensure_ascii=False).encode(encoding)
    async with serving(reply(body)) as server, Client() as client:
        response = await client.get(server.url("/"))

        assert {"ü": [1, None]} == response.json()


async def test_json_by_a_reader_of_ones_own():
    async with serving(reply(b"[1.10]")) as server, Client() as client:
        response = await client.get(server.url("/"))

        assert ["1.10"] == response.json(loads=lambda raw: json.loads(raw, parse_float=str))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xff\xff"])
async def test_json_that_is_none(body):
    async with serving(reply(body)) as server, Client() as client:
        response = await client.get(server.url("/"))

        with pytest.raises(ValueError):  # noqa: PT011 (of several kinds)
            response.json()


# ---- the names of others


async def test_aliases():
    async with serving(reply(b"body")) as server, Client() as client:
        response = await client.get(server.url("/"))

        assert response.body is response.content
        assert (response.status, "OK") == (response.status_code, response.reason_phrase)
        assert "<Response 200 OK>" == repr(response)
        assert ("HTTP/1.1", True) == (response.http_version, response.ok)
        assert b"body" == b"".join([piece async for piece in response.aiter_bytes()])
        assert ["body"] == [line async for line in response.aiter_lines()]


# ---- raise_for_status


async def test_raise_for_status_shows_the_start_of_the_body():
    body = "why: " + "ü" * 1000
    kind = "Content-Type: text/plain; charset=utf-8"
    answer = reply(body.encode(), kind, status="422 Unprocessable")
    async with serving(answer) as server, Client() as client:
        url = server.url("/path?q=1").replace("://", "://user:secret@")
        response = await client.post(url)
        with pytest.raises(HTTPStatusError) as caught:
            response.raise_for_status()

        error = caught.value
        where = server.url("/path?q=1")
        assert f"422 Unprocessable for POST {where}: why: {'ü' * 195}" == str(error)
        assert (response, response.request) == (error.response, error.request)
        assert str(error) == str(pickle.loads(pickle.dumps(error)))
        assert 422 == pickle.loads(pickle.dumps(error)).response.status


@pytest.mark.parametrize("status", [200, 204, 304, 399])
async def test_raise_for_status_of_what_is_well(status):
    async with (
        serving(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status) as server,
        Client() as client,
    ):
        response = await client.get(server.url("/"))
        assert response is response.raise_for_status()


async def test_raise_for_status_of_a_stream():
    """Before the body is read there is none to show; afterwards there is."""
    async with (
        serving(reply(b"why", status="500 X")) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        with pytest.raises(HTTPStatusError, match=r"/$"):
            response.raise_for_status()
        await response.aread()
        with pytest.raises(HTTPStatusError, match="/: why"):
            response.raise_for_status()


# ---- streams


@pytest.mark.parametrize("size", [None, 1000, 65536, 100_000, 10**9])
@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
async def test_iter_bytes(wire, coding, size):
    """Decoded, and in pieces of just so many bytes where that is said."""
    sent = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[coding](NOISE)
    message = reply(sent, f"Content-Encoding: {coding}")
    async with scripted(sending(message), tls=wire.tls) as server, wire.client() as client:
        async with client.stream("GET", server.url("/")) as response:
            pieces = [piece async for piece in response.iter_bytes(size)]

        assert NOISE == b"".join(pieces)
        if size is not None:
            assert {size} >= {len(piece) for piece in pieces[:-1]}
            assert 0 < len(pieces[-1]) <= size
        assert 1 == client.stats().total.idle, "it was read to its end, and may be used again"


async def test_iter_bytes_of_one_byte_each():
    async with (
        scripted(sending(chunked(b"abc", b"d"), step=5)) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert [b"a", b"b", b"c", b"d"] == [piece async for piece in response.iter_bytes(1)]


@pytest.mark.parametrize("coding", ["", "gzip", "br", "nonsense"])
async def test_iter_raw(coding):
    """As it was sent, whether or not it could be decoded."""
    sent = gzip.compress(NOISE)
    message = reply(sent, f"Content-Encoding: {coding}")
    async with scripted(sending(message)) as server, Client() as client:
        async with client.stream("GET", server.url("/")) as response:
            assert sent == b"".join([piece async for piece in response.iter_raw()])

        assert 1 == client.stats().total.idle


async def test_aread():
    async with (
        serving(reply(gzip.compress(NOISE), "Content-Encoding: gzip")) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        with pytest.raises(StreamConsumed, match="aread"):
            response.body  # noqa: B018
        with pytest.raises(StreamConsumed, match="aread"):
            response.text  # noqa: B018
        assert NOISE == await response.aread()
        assert NOISE == await response.aread() == response.body
        assert NOISE == b"".join([piece async for piece in response.iter_bytes()])


@pytest.mark.parametrize("first", ["iter_bytes", "iter_raw", "iter_lines", "aclose"])
@pytest.mark.parametrize("second", ["iter_raw", "aread", "iter_bytes", "iter_lines", "iter_events"])
async def test_a_stream_is_read_once(first, second):
    async with (
        serving(reply(b"a\nb")) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        if first == "aclose":
            await response.aclose()
        else:
            async for _ in getattr(response, first)():
                pass
        with pytest.raises(StreamConsumed):
            if second == "aread":
                await response.aread()
            else:
                async for _ in getattr(response, second)():
                    pass


@pytest.mark.parametrize("first", ["iter_lines", "iter_events", "sized"])
@pytest.mark.parametrize("second", ["iter_lines", "iter_bytes", "iter_events", "aread"])
async def test_what_a_loop_held_that_was_left_is_missed_by_no_other(first, second):
    """A second loop would begin behind it, and nobody would see that something is missing."""
    message = reply(b"data: 1\n\ndata: 2\n\ndata: 3\n\n")
    async with (
        serving(message) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        pieces = response.iter_bytes(4) if first == "sized" else getattr(response, first)()
        async for _ in pieces:
            break
        with pytest.raises(StreamConsumed):
            if second == "aread":
                await response.aread()
            else:
                await anext(getattr(response, second)())
        assert [_ async for _ in pieces], "who goes on with his own is given the rest"


async def test_pieces_as_they_came_may_be_read_by_one_loop_after_another():
    """They are given as they are taken, so nothing can be lost between the two."""
    async with (
        scripted(sending(reply(NOISE), step=10_000)) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        first = await anext(response.iter_bytes())
        rest = b"".join([piece async for piece in response.iter_bytes()])
        assert 0 < len(first) < len(NOISE)
        assert first + rest == NOISE


WAYS = {
    "pieces": lambda response: response.pieces(),
    "iter_bytes": lambda response: response.iter_bytes(),
    "sized": lambda response: response.iter_bytes(3),
    "iter_raw": lambda response: response.iter_raw(),
    "iter_lines": lambda response: response.iter_lines(),
    "iter_events": lambda response: response.iter_events(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("coding", ["", "gzip"])
async def test_a_read_that_is_cancelled_may_be_repeated(way, coding):
    """As by an idle timeout of the caller's: nothing is lost, and it does not look like the end."""
    text = b"data: \xc3\xa4\n\ndata: b\n\n"
    body = gzip.compress(text, mtime=0) if coding else text
    go_on = asyncio.Event()

    async def handler(conn):
        await conn.read_request()
        head, _, _ = reply(body, f"Content-Encoding: {coding}").partition(b"\r\n\r\n")
        await conn.send(head + b"\r\n\r\n")
        for byte in body:
            await conn.send(bytes([byte]))
            await go_on.wait()
            go_on.clear()

    async def taken(items):
        """All of them, by reads that are cancelled each time they have to wait."""
        got = []
        while True:
            reading = asyncio.ensure_future(anext(items))
            for _ in range(5):
                await asyncio.sleep(0)
            if not reading.done():
                reading.cancel()
                go_on.set()
            try:
                got.append(await reading)
            except asyncio.CancelledError:
                continue
            except StopAsyncIteration:
                return got

    async with (
        scripted(handler) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        got = await taken(WAYS[way](response))

    if way == "iter_lines":
        assert text.decode().split("\n")[:-1] == got
    elif way == "iter_events":
        assert ["ä", "b"] == [event.data for event in got]
    elif way == "iter_raw":
        assert body == b"".join(got)
    else:
        assert text == b"".join(got)


@pytest.mark.parametrize("way", ["iter_bytes", "sized", "iter_raw", "iter_lines", "iter_events"])
async def test_an_iterator_that_was_closed_has_ended(way):
    """As a generator does; what is left of the body stays with the response."""
    async with (
        serving(reply(b"data: a\n\ndata: b\n\n")) as server,
        Client() as client,
        client.stream("GET", server.url()) as response,
    ):
        items = WAYS[way](response)
        await anext(items)
        await items.aclose()
        assert [] == [item async for item in items]


async def test_an_error_of_what_was_made_of_a_body_stays():
    """And names whose body it was."""
    flood = reply(b"data: " + b"x" * 2_000_000)
    async with serving(flood) as server, Client() as client:
        async with client.stream("GET", server.url("/x")) as response:
            streamed = response.iter_events()
            whole = (await client.get(server.url("/x"))).iter_events()
            for events in (streamed, streamed, whole, whole):
                with pytest.raises(DecodingError, match="over 1048576 characters") as caught:
                    await anext(events)
                assert "body" == caught.value.phase
                assert f"(GET {server.url('/x')}, after " in str(caught.value)
        assert 0 == client.stats().total.leased


@pytest.mark.parametrize("how", ["body", "twice", "closed", "raw"])
async def test_what_is_not_there_to_be_read_says_whose_it_was(how):
    packed = reply(gzip.compress(b"x"), "Content-Encoding: gzip")
    async with serving(packed) as server, Client() as client:
        async with client.stream("GET", server.url("/x")) as response:
            text = {"body": "is a stream", "twice": "read already", "closed": "was dropped"}
            if how == "raw":
                response = await client.get(server.url("/x"))
            elif how == "twice":
                assert [b"x"] == [piece async for piece in response.iter_bytes()]
            elif how == "closed":
                await response.aclose()
            with pytest.raises(StreamConsumed, match=text.get(how, "is not kept")) as caught:
                if how == "body":
                    response.body  # noqa: B018
                elif how == "raw":
                    await anext(response.iter_raw())
                else:
                    await response.aread()

        error = caught.value
        assert server.url("/x") == str(error.request.url)
        assert ("body", 1) == (error.phase, error.attempts)


@pytest.mark.parametrize("size", [0, -1, "3", 2.5, True])
async def test_a_size_of_pieces_that_cannot_be(size):
    async with (
        serving(reply(NOISE)) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        with pytest.raises(ValueError, match="chunk_size="):
            await anext(response.iter_bytes(size))
        assert NOISE == await response.aread()


@pytest.mark.parametrize("coding", ["gzip", ""])
async def test_a_stream_lets_others_have_their_turn(coding, monkeypatch):
    """Where all of it is there, and its reader waits for nothing."""
    for module in "exchange", "protocol":
        monkeypatch.setattr(f"fastreq.{module}.BREATH_SECONDS", 0.0)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    body = bytes(10_000_000)
    message = reply(gzip.compress(body) if coding else body, f"Content-Encoding: {coding}")
    async with serving(message) as server, Client() as client:
        task = asyncio.ensure_future(others())
        async with client.stream("GET", server.url("/")) as response:
            await anext(response.iter_bytes())
            pieces, before = 0, turns
            async for _ in response.iter_bytes():
                pieces += 1
            assert turns - before >= pieces > 5
        task.cancel()


async def test_total_counts_while_a_stream_is_decoded():
    """When the last byte has come there is no connection any more that could be late."""
    message = reply(gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip")
    async with serving(message) as server, Client(timeout=0.2) as client:
        with pytest.raises(TotalTimeout, match="while decoding the response body"):
            async with client.stream("GET", server.url("/")) as response:
                async for _ in response.iter_bytes():
                    time.sleep(0.01)


async def test_cancelling_while_others_have_their_turn_loses_nothing(monkeypatch):
    for module in "exchange", "protocol":
        monkeypatch.setattr(f"fastreq.{module}.BREATH_SECONDS", 0.0)
    body = bytes(range(256)) * 4000
    async with serving(reply(gzip.compress(body), "Content-Encoding: gzip")) as server:
        async with Client() as client, client.stream("GET", server.url("/")) as response:
            pieces, got, cancelled = response.pieces(), [], 0
            while True:
                task = asyncio.ensure_future(anext(pieces))
                if len(got) % 2:
                    await asyncio.sleep(0)
                    cancelled += task.cancel()
                try:
                    got.append(await task)
                except asyncio.CancelledError:
                    got.append(b"")
                except StopAsyncIteration:
                    break
            assert cancelled
            assert body == b"".join(got)


async def test_an_empty_body_as_it_was_sent():
    """It is there, and empty, however it was read."""
    async with serving(reply(b"")) as server, Client() as client:
        response = await client.get(server.url("/"))
        assert [] == [piece async for piece in response.iter_raw()]
        async with client.stream("GET", server.url("/")) as response:
            assert b"" == await response.aread()
            assert [] == [piece async for piece in response.iter_raw()]


async def test_leaving_early_closes_the_connection():
    async def handler(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await conn.send(bytes(65536))

    async with scripted(handler) as server, Client() as client:
        async with client.stream("GET", server.url("/")) as response:
            async for _ in response.iter_bytes():
                break
        assert 0 == client.stats().total.open


async def test_a_body_that_is_dropped_before_it_is_read():
    async with serving(reply(NOISE)) as server, Client() as client:
        async with client.stream("GET", server.url("/")) as response:
            assert 200 == response.status
        response = await client.send(client.build_request("GET", server.url("/")), stream=True)
        await response.aclose()
        await response.aclose()

        assert 0 == client.stats().total.leased


@pytest.mark.parametrize("how", ["aread", "iter_bytes", "iter_raw", "iter_lines"])
async def test_a_body_that_is_cut(how):
    """What came is given, and then the error."""
    message = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\none\ntwo"

    async def handler(conn):
        await conn.read_request()
        await conn.send(message)

    async with scripted(handler) as server, Client() as client:
        got = []
        async with client.stream("GET", server.url("/")) as response:
            with pytest.raises(IncompleteBody):
                if how == "aread":
                    await response.aread()
                else:
                    async for piece in getattr(response, how)():
                        got.append(piece)  # noqa: PERF401 (it is cut in the middle)

        assert {"aread": [], "iter_lines": ["one"]}.get(how, [b"one\ntwo"]) == got


@pytest.mark.parametrize("ends", ["close", "half_close"])
async def test_a_goodbye_that_is_late(certs, monkeypatch, ends):
    """Our end of TLS waits for the peer's only so long, and then is an error to the loop; whether
    the body is whole hangs on what the peer had said before."""
    lost = HTTPProtocol.connection_lost
    late = TimeoutError("SSL shutdown timed out")
    monkeypatch.setattr(HTTPProtocol, "connection_lost", lambda self, exc: lost(self, exc or late))

    async def handler(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        await getattr(conn, ends)()

    async with (
        scripted(handler, tls=certs.good) as server,
        Client(verify=certs.ca_file) as client,
    ):
        if ends == "close":
            assert b"all of it" == (await client.get(server.url())).body
        else:
            with pytest.raises(IncompleteBody):
                await client.get(server.url())


async def test_a_stream_that_cannot_be_decoded():
    async with serving(reply(b"no gzip", "Content-Encoding: gzip")) as server, Client() as client:
        async with client.stream("GET", server.url("/")) as response:
            with pytest.raises(DecodingError):
                await response.aread()
        assert 0 == client.stats().total.leased


async def test_max_body_holds_for_aread_and_not_for_pieces():
    bomb = gzip.compress(bytes(10_000_000))
    message = reply(bomb, "Content-Encoding: gzip")
    async with serving(message) as server, Client(max_body=100_000) as client:
        async with client.stream("GET", server.url("/")) as response:
            with pytest.raises(BodyTooLarge, match="max_body=100000"):
                await response.aread()
        async with client.stream("GET", server.url("/")) as response:
            sizes = [len(piece) async for piece in response.iter_bytes()]

        assert 10_000_000 == sum(sizes)
        assert max(sizes) <= 65536


async def test_stream_client():
    """The seed's: the body of a GET in one line."""
    async with scripted(sending(chunked(b"ab", b"c"))) as server, StreamClient() as client:
        assert b"abc" == b"".join([piece async for piece in client.get(server.url("/"))])
        async with client.get(server.url("/")) as response:
            assert b"abc" == await response.aread()


# ---- lines

LINES = "one\ntwo\r\nthree\rfo\u2028ur\x85\x0b\x0c\n\n\r\r\nend"
EXPECTED = ["one", "two", "three", "fo\u2028ur\x85\x0b\x0c", "", "", "", "end"]


@pytest.mark.parametrize("step", [1, 2, None])
@pytest.mark.parametrize("kind", ["", "; charset=latin-1", "; charset=utf-16"])
@pytest.mark.parametrize(
    ("bom", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
async def test_iter_lines_after_a_byte_order_mark(step, kind, bom, codec):
    """It counts before what is said, and is no part of the text; as in `text`."""
    message = reply(bom + "ü\n€".encode(codec), "Content-Type: text/plain" + kind)
    async with scripted(sending(message, step=step)) as server, Client() as client:
        async with client.stream("GET", server.url("/")) as response:
            assert response.encoding, "to ask for it settles nothing"
            assert ["ü", "€"] == [line async for line in response.iter_lines()]
        assert "ü\n€" == (await client.get(server.url("/"))).text


@pytest.mark.parametrize("codec", ["utf-16", "utf-32"])
async def test_iter_lines_without_the_byte_order_mark_that_is_missing(codec):
    """Python's decoders would raise an error, whatever they are told."""
    message = reply("ü\nä".encode(codec + "-le"), f"Content-Type: text/plain; charset={codec}")
    async with (
        serving(message) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert ["ü", "ä"] == [line async for line in response.iter_lines()]


async def test_the_encoding_of_a_stream_is_that_of_its_body():
    """What was asked for before a byte of it was there does not stay."""
    async with (
        serving(reply(codecs.BOM_UTF8 + b"hello")) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert "utf-8" == response.encoding
        await response.aread()
        assert "hello" == response.text


async def test_what_a_terminal_obeys_is_escaped_in_an_error():
    answer = reply(b"\x1b]0;pwn\x07\nevil", status="404 Not\x85Found")
    async with serving(answer) as server, Client() as client:
        response = await client.get(server.url("/"))
        with pytest.raises(HTTPStatusError) as caught:
            response.raise_for_status()
    assert str(caught.value).startswith(r"404 NotÂ\x85Found for GET ")
    assert str(caught.value).endswith(r": \x1b]0;pwn\x07\nevil")


@pytest.mark.parametrize("step", [1, 2, 3, 7, None])
@pytest.mark.parametrize("charset", ["utf-8", "utf-16-le", "latin-1"])
async def test_iter_lines_wherever_they_are_cut(step, charset):
    """LF, CRLF and CR, and nothing else (JSON lines may hold U+2028)."""
    text = LINES.replace("\u2028", "ü") if charset == "latin-1" else LINES
    expected = [line.replace("\u2028", "ü") if charset == "latin-1" else line for line in EXPECTED]
    message = reply(text.encode(charset), f"Content-Type: text/plain; charset={charset}")
    async with (
        scripted(sending(message, step)) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert expected == [line async for line in response.iter_lines()]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\r", ["a"]),
        (b"\r\n\r\n", ["", ""]),
        (b"\xff\n\xc3", ["\ufffd", "\ufffd"]),
    ],
)
async def test_iter_lines_at_the_ends(body, expected):
    async with serving(reply(body)) as server, Client() as client:
        response = await client.get(server.url("/"))
        assert expected == [line async for line in response.iter_lines()]


async def test_iter_lines_is_linear():
    """A line of 8 MB in small pieces, and a million lines in one."""
    line = b"x" * 8_000_000 + b"\n" + b"\n" * 1_000_000
    async with scripted(sending(reply(line))) as server, Client() as client:
        async with asyncio.timeout(10), client.stream("GET", server.url("/")) as response:
            sizes = [len(line) async for line in response.iter_lines()]

        assert (8_000_000, 1_000_001) == (sizes[0], len(sizes))


# ---- trailers


async def test_29_trailers():
    """TRUST 29: kept apart from the headers, and there when the body has been read."""
    trailers = ["X-Checksum: abc", "x-checksum: def", "Content-Length: 5", "Set-Cookie: a=b"]
    message = chunked(b"body", trailers=trailers)
    async with scripted(sending(message)) as server, Client() as client:
        response = await client.get(server.url("/"))
        assert ["abc", "def"] == response.trailers.get_list("X-Checksum")
        assert {"X-Checksum", "Content-Length", "Set-Cookie"}.isdisjoint(response.headers)
        assert {} == dict(client.cookies) == dict(response.cookies)

        async with client.stream("GET", server.url("/")) as response:
            await response.aread()
            assert "abc, def" == response.trailers["x-checksum"]


async def test_most_have_no_trailers():
    async with serving(reply(b"x")) as server, Client() as client:
        response = await client.get(server.url("/"))

        assert not response.trailers
        assert [] == response.trailers.raw


# ---- links


async def test_links():
    """RFC 8288: by their relation, and resolved."""
    fields = [
        'Link: <?page=2>; rel="next"; title="a, \\"b\\"", </last>; REL=last',
        "link: <https://other.test/x>; rel=license",
    ]
    async with serving(reply(b"", *fields)) as server, Client() as client:
        response = await client.get(server.url("/items?page=1"))

        assert {"next", "last", "license"} == set(response.links)
        assert {
            "rel": "next",
            "url": server.url("/items?page=2"),
            "title": 'a, "b"',
        } == response.links["next"]
        response = await client.get(response.links["last"]["url"])
        assert server.url("/last") == str(response.url)


async def test_pages_are_followed_to_the_end():
    async def handler(conn):
        while True:
            request = await conn.read_request()
            page = int(request.split(b" ")[1].partition(b"=")[2])
            link = [f"Link: </items?page={page + 1}>; rel=next"] if page < 3 else []
            await conn.send(reply(b"[%d]" % page, *link))

    async with scripted(handler) as server, Client() as client:
        items, url = [], server.url("/items?page=1")
        while url:
            response = await client.get(url)
            items += response.json()
            url = response.links.get("next", {}).get("url")

    assert [1, 2, 3] == items


# ---- made by hand


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (("200",), {}, "Response('200'): the status comes first"),
        ((b"body",), {}, "the status comes first"),
        ((True,), {}, "the status comes first"),
        ((200,), {"content": 5}, "Response(content=...) is int"),
        ((200,), {"content": [b"a"]}, "is list; expected bytes or str"),
        ((200,), {"content": None}, "is NoneType"),
    ],
)
def test_what_no_response_can_be_made_of(arguments, options, text):
    with pytest.raises(TypeError) as caught:
        Response(*arguments, **options)
    assert text in str(caught.value)


async def test_a_response_that_was_made_by_hand_reads_like_another():
    response = Response(
        201, headers=[("Link", "</x>; rel=next"), ("Set-Cookie", "a=b")], content="tëxt\nend"
    )

    assert (201, "Created", "tëxt\nend") == (
        response.status,
        response.status_message,
        response.text,
    )
    assert {"a": "b"} == dict(response.cookies)
    assert "http://localhost/x" == response.links["next"]["url"]
    assert response.body == await response.aread()
    assert response.body == b"".join([piece async for piece in response.iter_raw()])
    assert response.body == b"".join([piece async for piece in response.iter_bytes(3)])
    assert ["tëxt", "end"] == [line async for line in response.iter_lines()]
    await response.aclose()
    assert 0 == response.elapsed


# ---- servers that nobody here wrote


async def test_httpbin_bodies(httpbin):
    async with Client() as client:
        assert (await client.get(httpbin.url("/gzip"))).json()["gzipped"]
        assert (await client.get(httpbin.url("/deflate"))).json()["deflated"]
        assert "∮ E⋅da = Q" in (await client.get(httpbin.url("/encoding/utf8"))).text
        async with client.stream("GET", httpbin.url("/stream/20")) as response:
            rows = [json.loads(line) async for line in response.iter_lines()]
        assert list(range(20)) == [row["id"] for row in rows]
        body = (await client.get(httpbin.url("/bytes/5000?seed=1"))).body
        assert body == (await client.get(httpbin.url("/stream-bytes/5000?seed=1"))).body


async def test_httpbin_brotli(httpbin):
    pytest.importorskip("brotli")
    async with Client() as client:
        assert (await client.get(httpbin.url("/brotli"))).json()["brotli"]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("path", ["/10m", "/chunked", "/until-close", "/gzip.json"])
async def test_nginx_streams(nginx, path, tls):
    async with Client(verify=nginx.ca_file) as client:
        async with client.stream("GET", nginx.url(path, tls=tls)) as response:
            pieces = [piece async for piece in response.iter_bytes(10_000)]

        assert nginx.files[path] == b"".join(pieces)
        assert {10_000} == {len(piece) for piece in pieces[:-1]}
