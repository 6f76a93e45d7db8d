"""Bodies out: what a caller gives is what a server gets, byte for byte (issue 3, 1; TRUST 1a)."""

import asyncio
import email
import email.policy
import gzip
import io
import itertools
import json
import os
import socket
import threading
import tracemalloc
import zlib
from collections import deque
from time import monotonic

import pytest
from servers.received import parse, received
from servers.scripted import reply, scripted, serving
from storms.storm import elsewhere

import fastreq
from fastreq import Client, LocalProtocolError, StreamConsumed, Timeout

MIB = 2**20
NOISE = bytes(range(256)) * 4096  # 1 MiB


async def later(*pieces):
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


class Again:
    """An iterable that begins anew each time."""

    def __init__(self, *pieces):
        self.pieces = pieces

    def __repr__(self):
        return f"Again{self.pieces}"

    def __iter__(self):
        return iter(self.pieces)


# ---- content=


@pytest.mark.parametrize(
    ("make", "expected", "chunks"),
    [
        (lambda: b"bytes", b"bytes", None),
        (lambda: bytearray(b"array"), b"array", None),
        (lambda: memoryview(b"-view-")[1:-1], b"view", None),
        (lambda: memoryview(b"12345678").cast("Q"), b"12345678", None),
        (lambda: "tëxt", "tëxt".encode(), None),
        (lambda: [b"li", b"", b"st"], b"list", None),
        (lambda: (b"tup", memoryview(b"le")), b"tuple", None),
        (lambda: io.BytesIO(b"a file in memory"), b"a file in memory", None),
        (lambda: iter([b"it", b"", b"er"]), b"iter", [b"it", b"er"]),
        (lambda: (piece for piece in (b"gen",)), b"gen", [b"gen"]),
        (lambda: Again(b"a", bytearray(b"b")), b"ab", [b"a", b"b"]),
        (lambda: later(b"as", memoryview(b"ync")), b"async", [b"as", b"ync"]),
        (lambda: iter([]), b"", []),
        (lambda: NOISE, NOISE, None),
        (lambda: [NOISE, NOISE], NOISE * 2, None),
    ],
)
async def test_content(wire, make, expected, chunks):
    """TRUST 15, 18, 25: a length where it is known, chunks where it is not, and never both."""
    async with serving(reply(b"got it"), tls=wire.tls) as server, wire.client() as client:
        response = await client.post(server.url("/"), content=make())

        assert b"got it" == response.body
        request = received(server)
        assert expected == request.body
        assert chunks == request.chunks
        assert (str(len(expected)) if chunks is None else None) == request.get("content-length")
        assert request.get("content-type") is None
        assert 1 == server.connections


async def test_large_pieces_are_cut_and_small_ones_are_not_gathered():
    async with serving(reply()) as server, Client() as client:
        await client.post(server.url("/"), content=iter([NOISE[: 150 * 1024], b"x"]))

        assert [65536, 65536, 22528, 1] == [len(chunk) for chunk in received(server).chunks]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "QUERY", "GET", "DELETE", "OPTIONS"])
async def test_64_an_empty_body(method):
    """Those that are expected to have a body say that it is empty; the others say nothing."""
    async with serving(reply()) as server, Client() as client:
        await client.request(method, server.url("/"))
        await client.request(method, server.url("/"), content=b"")

        expected = "0" if method in ("POST", "PUT", "PATCH", "QUERY") else None
        assert expected == received(server, 0).get("content-length")
        assert expected == received(server, 1).get("content-length")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PROPFIND"])
async def test_25_a_body_is_framed_whatever_the_method(method):
    async with serving(reply(), reply()) as server, Client() as client:
        response = await client.request(method, server.url("/"), content=b"body")

        assert 200 == response.status
        assert b"body" == received(server).body


@pytest.mark.parametrize(
    "asked",
    [
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"content": deque()},
        {"content": b"", "headers": {"Transfer-Encoding": "chunked"}},
    ],
)
async def test_chunks_of_nothing_have_an_end(asked):
    """Without their last chunk, the next request on the connection would be one."""
    async with serving(reply(), reply()) as server, Client() as client:
        await client.post(server.url("/"), **asked)
        await client.get(server.url("/next"))

    assert server.requests[0].endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert server.requests[1].startswith(b"GET /next ")


async def test_nothing_is_not_as_long_as_it_was_said_to_be():
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError, match="Content-Length"):
            await client.post(server.url("/"), content=deque(), headers={"Content-Length": "5"})


@pytest.mark.parametrize("make", [bytes, io.BytesIO, lambda body: iter([body])])
async def test_chunks_may_be_asked_for(make):
    async with serving(reply()) as server, Client() as client:
        headers = {"Transfer-Encoding": "chunked"}
        await client.post(server.url("/"), content=make(b"body"), headers=headers)

        assert b"body" == received(server).body
        assert ["chunked"] == received(server).all("transfer-encoding")


async def test_a_length_may_be_given_for_a_stream():
    async with serving(reply()) as server, Client() as client:
        content = iter([b"ab", b"cde"])
        await client.post(server.url("/"), content=content, headers={"Content-Length": "5"})

        assert (b"abcde", None) == (received(server).body, received(server).chunks)


@pytest.mark.parametrize("pieces", [[b"abc"], [b"abc", b"def"], [b"a" * 200_000]])
async def test_1a_a_stream_that_is_not_as_long_as_it_says(pieces):
    """TRUST 1a, false length: an error, and the connection is not used again."""
    wrong = str(sum(map(len, pieces)) + (1 if len(pieces) == 1 and len(pieces[0]) == 3 else -1))
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError, match=r"than its|short of its"):
            await client.post(
                server.url("/"), content=iter(pieces), headers={"Content-Length": wrong}
            )
        assert 0 == client.stats().total.open

        assert 200 == (await client.get(server.url("/"))).status
        assert 2 == server.connections


@pytest.mark.parametrize("bad", ["text", 5, None], ids=repr)
async def test_a_stream_of_something_else(bad):
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError, match=f"the body gave {type(bad).__name__}"):
            await client.post(server.url("/"), content=iter([b"a", bad]))
        assert 0 == client.stats().total.open


class OwnError(Exception):
    pass


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("good", [0, 1, 5])
async def test_an_error_of_the_stream_is_the_callers(kind, good):
    """TRUST C5: it comes out as it is, the connection is closed, and the client goes on."""

    def broken():
        yield from [b"x" * 100_000] * good
        raise OwnError("no more")

    async def broken_later():
        for piece in broken():
            yield piece

    async with serving(reply()) as server, Client() as client:
        with pytest.raises(OwnError, match="no more"):
            content = broken() if kind == "sync" else broken_later()
            await client.post(server.url("/"), content=content)
        assert 0 == client.stats().total.open
        assert [] == server.requests

        assert 200 == (await client.get(server.url("/"))).status


# ---- files on disk


@pytest.mark.parametrize("start", [0, 1, 70_000])
async def test_a_file_on_disk_is_sent_from_where_it_stands(wire, tmp_path, start):
    path = tmp_path / "upload.bin"
    path.write_bytes(NOISE * 3)
    async with serving(reply(), tls=wire.tls) as server, wire.client() as client:
        with path.open("rb") as file:
            file.seek(start)
            await client.put(server.url("/"), content=file)
            assert not file.closed, "it is the caller's to close"

        request = received(server)
        assert str(3 * MIB - start) == request.get("content-length")
        assert zlib.crc32((NOISE * 3)[start:]) == zlib.crc32(request.body)


async def test_a_file_that_grows_or_shrinks_while_it_is_sent(tmp_path):
    """TRUST 1a, false length: what was announced is what is sent, or it is an error."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1000)
    async with serving(reply()) as server, Client() as client:
        for size in (999, 1001):
            with path.open("r+b") as file:
                request = client.build_request("POST", server.url("/"), content=file)
                os.truncate(path, size)
                with pytest.raises(LocalProtocolError, match=r"than its|short of its"):
                    await client.send(request)
                os.truncate(path, 1000)
        assert [] == server.requests
        assert 0 == client.stats().total.open


async def test_a_pipe_is_sent_in_chunks():
    read_end, write_end = os.pipe()
    os.write(write_end, b"through a pipe")
    os.close(write_end)
    async with serving(reply()) as server, Client() as client:
        with os.fdopen(read_end, "rb") as pipe:
            await client.post(server.url("/"), content=pipe)

        assert b"through a pipe" == received(server).body
        assert "chunked" == received(server).get("transfer-encoding")


async def test_an_upload_never_holds_more_than_a_buffer(tmp_path):
    """TRUST 1e, write buffer: a gigabyte to a server that reads nothing takes next to no memory."""
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1024 * MIB)

    async def handler(conn):
        conn.writer.transport.pause_reading()
        await asyncio.sleep(3600)

    async with serving(reply()) as other, scripted(handler) as server, Client() as client:
        await client.get(other.url("/"))  # what a loop has for all its connections is there
        with path.open("rb") as file:
            tracemalloc.start()
            try:
                upload = asyncio.create_task(client.post(server.url("/"), content=file))
                sent = -1
                while sent != file.tell():  # until it stalls
                    sent = file.tell()
                    await asyncio.sleep(0.2)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload

    assert sent < 64 * MIB, "the system's buffers are full"
    assert peak < MIB


# ---- json=


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True]}, b'{"a":[1,2.5,null,true]}'),
        ({"ü": "\u2028 </script>"}, '{"ü":"\u2028 </script>"}'.encode()),
        ([], b"[]"),
        ("", b'""'),
        (0, b"0"),
        (False, b"false"),
    ],
)
async def test_json(value, expected):
    async with serving(reply()) as server, Client() as client:
        await client.post(server.url("/"), json=value)

        assert expected == received(server).body
        assert "application/json" == received(server).get("content-type")
        assert value == json.loads(received(server).body)


async def test_json_by_another_encoder():
    """It encodes every `json=` of its client."""

    def encoder(value: object) -> bytes:
        return b"[%d]" % len(str(value))

    async with serving(reply()) as server, Client(json_dumps=encoder) as client:
        await client.post(server.url("/"), json="abc")

        assert b"[3]" == received(server).body
        assert "application/json" == received(server).get("content-type")


def test_an_encoder_is_a_function():
    with pytest.raises(TypeError, match=r"json_dumps='orjson' is no function; .* orjson\.dumps"):
        Client(json_dumps="orjson")


async def test_a_content_type_of_ones_own_wins():
    async with serving(reply()) as server, Client() as client:
        headers = {"content-type": "application/vnd.api+json"}
        await client.patch(server.url("/"), json={}, headers=headers)

        assert "application/vnd.api+json" == received(server).get("content-type")


# ---- data=


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"a": "1", "b": ["x", "y"]}, b"a=1&b=x&b=y"),
        ([("a", "1"), ("a", "2")], b"a=1&a=2"),
        ({"q": "a b&c=d\r\n+~*é"}, b"q=a+b%26c%3Dd%0D%0A%2B%7E*%C3%A9"),
        ({"n": None, "t": True, "i": 7}, b"n=&t=true&i=7"),
        ({}, b""),
    ],
)
async def test_form(data, expected):
    async with serving(reply()) as server, Client() as client:
        await client.post(server.url("/"), data=data)

        assert expected == received(server).body
        assert "application/x-www-form-urlencoded" == received(server).get("content-type")


# ---- files=


def parts_of(request):
    """The parts of a multipart body, as the parser of Python's email package reads them."""
    head = f"Content-Type: {request.get('content-type')}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    assert not message.defects
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_content_type() if "content-type" in part else None,
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


async def test_files(wire, tmp_path):
    """All there is to a form: fields, a file on disk, one in memory, one that is a stream."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(NOISE)
    async with serving(reply(), tls=wire.tls) as server, wire.client() as client:
        with path.open("rb") as file:
            await client.post(
                server.url("/"),
                data={"title": "näme", "tags": ["a", "b"]},
                files=[
                    ("photo", file),
                    ("notes", ("notes.txt", "tëxt")),
                    ("log", ("x.log", iter([b"st", b"ream"]), "text/x-log")),
                    ("log", ("y.log", later(b"la", b"ter"), "text/x-log")),
                ],
            )

        request = received(server)
        assert [
            ("title", None, None, "näme".encode()),
            ("tags", None, None, b"a"),
            ("tags", None, None, b"b"),
            ("photo", "photo.jpg", "image/jpeg", NOISE),
            ("notes", "notes.txt", "text/plain", "tëxt".encode()),
            ("log", "x.log", "text/x-log", b"stream"),
            ("log", "y.log", "text/x-log", b"later"),
        ] == parts_of(request)
        assert "chunked" == request.get("transfer-encoding"), "of a stream, nobody knows the length"


async def test_files_of_known_size_have_a_length(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(NOISE)
    async with serving(reply()) as server, Client() as client:
        with path.open("rb") as file:
            await client.post(server.url("/"), files={"a": file, "b": b"in memory"})

        request = received(server)
        assert str(len(request.body)) == request.get("content-length")
        assert [NOISE, b"in memory"] == [content for *_, content in parts_of(request)]


@pytest.mark.parametrize(
    "name",
    ['a"; filename="evil', "a\r\nX-Evil: 1", "a\r\n\r\nbody\r\n--", "a\\", 'a\\"b', "ä\u2028"],
)
@pytest.mark.parametrize("place", ["name", "filename", "field"])
async def test_1a_names_cannot_inject(name, place):
    """TRUST 1a, multipart: one part out, whatever it is called."""
    options = {
        "name": {"files": {name: ("f", b"content")}},
        "filename": {"files": {"n": (name, b"content")}},
        "field": {"data": {name: "content"}, "files": {"n": ("f", b"content")}},
    }[place]
    async with serving(reply()) as server, Client() as client:
        await client.post(server.url("/"), **options)

        parts = parts_of(received(server))
        assert len(options.get("data", ())) + 1 == len(parts)
        assert {b"content"} == {content for *_, content in parts}
        assert b"\r\nX-Evil" not in received(server).body


@pytest.mark.parametrize("bad", ["text/plain\r\nX-Evil: 1", "text/plain\0", "a\nb"])
async def test_1a_a_type_cannot_inject(bad):
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError):
            await client.post(server.url("/"), files={"a": ("b", b"c", bad)})
        assert 0 == server.connections


async def test_a_content_type_beside_files_is_refused():
    """It could not have the boundary."""
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError, match="boundary"):
            await client.post(
                server.url("/"), files={"a": b"b"}, headers={"Content-Type": "multipart/form-data"}
            )
        assert 0 == server.connections


# ---- Expect: 100-continue (TRUST 66)

EXPECT = {"Expect": "100-continue"}


@pytest.mark.parametrize("content", [b"body", [b"bo", b"dy"], "generator"], ids=str)
async def test_66_a_body_waits_for_100(wire, content, monkeypatch):
    """And no longer than it has to: what is waited at the most is more than a test has."""
    monkeypatch.setattr("fastreq.protocol.EXPECT_SECONDS", 3600)
    came_early = []

    async def handler(conn):
        head = await conn.read_head()
        await asyncio.sleep(0.1)
        came_early.append(len(conn.reader._buffer))
        await conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        conn.server.requests.append(head + await conn.read_body(head))
        await conn.send(reply(b"thanks"))

    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        if content == "generator":
            content = later(b"bo", b"dy")
        response = await client.put(server.url("/"), content=content, headers=EXPECT)

        assert b"thanks" == response.body
        assert [0] == came_early
        assert b"body" == received(server).body


async def test_66_a_server_that_does_not_know_100_gets_the_body_after_a_second():
    async with serving(reply(b"thanks")) as server, Client() as client:
        began = monotonic()
        response = await client.put(server.url("/"), content=b"body", headers=EXPECT)

        assert b"thanks" == response.body
        assert 0.9 < monotonic() - began
        assert b"body" == received(server).body


@pytest.mark.parametrize("status", ["417 Expectation Failed", "413 Content Too Large", "200 OK"])
async def test_66_a_final_answer_means_that_no_body_is_wanted(status):
    """The half-sent request is its connection's last (TRUST 1c)."""

    async def handler(conn):
        await conn.read_head()
        await conn.send(reply(b"no", status=status))
        assert b"" == await conn.wait_closed(), "nothing of the body was sent"

    async with scripted(handler) as server, Client() as client:
        response = await client.put(server.url("/"), content=b"body", headers=EXPECT)

        assert (int(status[:3]), b"no") == (response.status, response.body)
        assert 0 == client.stats().total.open


async def test_66_expect_without_a_body_is_refused():
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(LocalProtocolError, match="Expect"):
            await client.get(server.url("/"), headers=EXPECT)
        assert 0 == server.connections


# ---- early answers (TRUST 40, 60)


def endless(pulled):
    while True:
        pulled.append(1)
        yield bytes(65536)


@pytest.mark.parametrize("status", ["413 Content Too Large", "401 Unauthorized", "302 Found"])
async def test_40_an_error_ends_the_upload(wire, status):
    """The server has heard enough; nothing more is sent, and the connection is closed."""

    async def handler(conn):
        await conn.read_head()
        await conn.reader.readexactly(100_000)
        await conn.send(reply(b"enough", status=status))
        await conn.wait_closed()

    pulled = []
    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        response = await client.post(server.url("/"), content=endless(pulled))

        assert (int(status[:3]), b"enough") == (response.status, response.body)
        assert len(pulled) < 2000
        assert 0 == client.stats().total.open
        assert 1 == server.connections


async def test_40_a_server_that_does_not_read_on_is_heard():
    """Its buffers are full, so that we cannot write, and its answer comes all the same."""

    async def handler(conn):
        await conn.read_head()
        conn.writer.transport.pause_reading()
        await conn.send(reply(b"no room", status="507 Insufficient Storage"))
        await asyncio.sleep(3600)

    async with scripted(handler) as server, Client(timeout=Timeout(write=5)) as client:
        response = await client.post(server.url("/"), content=endless([]))

        assert (507, b"no room") == (response.status, response.body)


async def test_60_an_early_success_does_not_end_the_upload():
    """The head says that all is well, and the rest of the answer comes after the body."""

    async def handler(conn):
        head = await conn.read_head()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        conn.server.requests.append(head + await conn.read_body(head))
        await conn.send(b"done")

    async def slowly():
        for _ in range(5):
            await asyncio.sleep(0.02)
            yield b"x" * 1000

    async with scripted(handler) as server, Client() as client:
        response = await client.post(server.url("/"), content=slowly())

        assert b"done" == response.body
        assert 5000 == len(received(server).body)


@pytest.mark.parametrize(
    "options_of",
    [
        lambda now, later: {"content": later},
        lambda now, later: {"content": later, "compress": "gzip"},
        lambda now, later: {"files": {"file": ("name", later)}},
        lambda now, later: {"files": {"file": ("name", later)}, "compress": "gzip"},
        lambda now, later: {"content": now},
        lambda now, later: {"content": now, "compress": "gzip"},
        lambda now, later: {"files": {"file": ("name", now)}},
        lambda now, later: {"files": {"file": ("name", now)}, "compress": "gzip"},
        lambda now, later: {"files": {"one": ("name", now), "two": ("name", later)}},
    ],
    ids=range(9),
)
async def test_a_generator_that_is_not_needed_any_more_is_closed(options_of):
    """So that it can let go of what it holds, and though somebody still has it."""
    closed = []

    def noise():
        try:
            while True:
                yield os.urandom(1000)
        finally:
            closed.append(True)

    async def holding():
        try:
            while True:
                yield os.urandom(1000)
        finally:
            closed.append(True)

    async def handler(conn):
        await conn.read_head()
        await conn.send(reply(status="413 Content Too Large"))
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        now, later = noise(), holding()
        response = await client.post(server.url("/"), **options_of(now, later))
        assert 413 == response.status
        await asyncio.sleep(0.01)
        assert [True] == closed
        now.close()
        await later.aclose()


# ---- while a body is sent


class Source:
    """A body that gives a piece, and then waits for ever."""

    def __init__(self):
        self.is_closed = False
        self.waits = asyncio.Event()

    async def pieces(self):
        try:
            yield b"one"
            self.waits.set()
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


@pytest.mark.parametrize("end", ["answer", "reset", "close", "total", "aclose"])
async def test_a_source_that_waits_keeps_nothing_from_happening(wire, end):
    """An answer, the loss of the connection, a deadline and the client's end end the upload."""
    source = Source()

    async def handler(conn):
        await conn.read_head()
        await source.waits.wait()
        if end == "answer":
            await conn.send(reply(b"no", status="413 Content Too Large"))
        if end == "reset":
            await conn.reset()
        if end != "close":
            await conn.wait_closed()

    timeout = Timeout(total=0.3 if end == "total" else None)
    async with scripted(handler, tls=wire.tls) as server, wire.client(timeout=timeout) as client:
        asked = asyncio.ensure_future(client.post(server.url("/"), content=source.pieces()))
        await source.waits.wait()
        if end == "aclose":
            await client.aclose()
        if end == "answer":
            assert (413, b"no") == ((await asked).status, (await asked).body)
        else:
            errors = {
                "reset": (fastreq.WriteError, fastreq.ReadError),
                "close": fastreq.TransportError,
                "total": fastreq.TotalTimeout,
                "aclose": fastreq.ClientClosed,
            }
            with pytest.raises(errors[end]):
                await asked
        assert source.is_closed
        assert 0 == client.stats().total.open


async def test_cancelling_an_upload_whose_source_waits():
    source = Source()

    async def handler(conn):
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        asked = asyncio.ensure_future(client.post(server.url("/"), content=source.pieces()))
        await source.waits.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert source.is_closed
        assert 0 == client.stats().total.open


async def test_a_body_is_not_read_on_for_a_connection_that_is_gone(wire, caplog):
    """Nor is anything logged for each piece that a transport does not take; the loop goes on."""
    pulled = []

    async def handler(conn):
        await conn.read_head()
        await conn.reset()

    with elsewhere(handler, wire.tls) as server:
        async with wire.client() as client:
            with pytest.raises(fastreq.TransportError) as caught:
                await client.post(server.url("/"), content=endless(pulled))

    assert "write" == caught.value.phase
    assert isinstance(caught.value, fastreq.WriteError)
    assert len(pulled) < 1000
    assert [] == [record for record in caplog.records if record.name == "asyncio"]


async def test_small_pieces_leave_others_their_turn(wire):
    """Whatever a server takes, and however soon: `total` goes off."""

    async def handler(conn):
        while await conn.reader.read(2**20):
            pass

    with elsewhere(handler, wire.tls) as server:
        async with wire.client(timeout=Timeout(total=0.3)) as client:
            with pytest.raises(fastreq.TotalTimeout):
                await client.post(server.url("/"), content=itertools.repeat(b"x" * 1000))


@pytest.mark.parametrize("expects", [False, True])
@pytest.mark.parametrize("streams", [False, True])
async def test_a_refusal_that_stalls_is_a_read_timeout(expects, streams):
    """We have stopped sending, and are owed the rest of an answer."""

    async def handler(conn):
        await conn.read_head()
        await conn.send(b"HTTP/1.1 413 No\r\nContent-Length: 100\r\n\r\nhalf")
        await conn.wait_closed()

    timeout = Timeout(read=0.2, write=None, total=None)
    headers = EXPECT if expects else {}
    async with scripted(handler) as server, Client(timeout=timeout) as client:
        request = client.build_request(
            "POST", server.url("/"), content=bytes(10**7), headers=headers
        )
        with pytest.raises(fastreq.ReadTimeout, match="while reading the response body"):
            await (await client.send(request, stream=streams)).aread()


@pytest.mark.parametrize("status", ["417 Expectation Failed", "307 Temporary Redirect"])
async def test_what_was_not_sent_is_still_there(status, tmp_path):
    """After a refused expectation the file stands where it stood, and goes along to where the
    server sends us."""
    path = tmp_path / "file"
    path.write_bytes(NOISE)

    async def handler(conn):
        head = await conn.read_head()
        if head.startswith(b"PUT /there "):
            await conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            conn.server.requests.append(head + await conn.read_body(head))
            await conn.send(reply(b"all"))
        else:
            location = f"Location: {server.url('/there')}"
            await conn.send(reply(b"", location, status=status))
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        with path.open("rb") as file:
            response = await client.put(server.url("/here"), content=file, headers=EXPECT)
            if response.status == 417:
                assert 0 == file.tell()
                response = await client.put(server.url("/there"), content=file, headers=EXPECT)

        assert b"all" == response.body
        assert NOISE == received(server).body


async def test_60_an_answer_that_is_whole_does_not_end_the_upload_either(wire):
    """RFC 9110, section 7.5: nobody has told us to stop. The connection may be used again."""
    answered = asyncio.Event()

    async def handler(conn):
        while True:
            head = await conn.read_head()
            await conn.send(reply(b"yes"))
            answered.set()
            conn.server.requests.append(head + await conn.read_body(head))

    async def body():
        yield b"first"
        await answered.wait()
        for _ in range(100):
            yield bytes(10_000)

    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        for content in (body(), b"more"):
            assert b"yes" == (await client.put(server.url("/"), content=content)).body
        while len(server.requests) < 2:
            await asyncio.sleep(0)
        assert [1_000_005, 4] == [len(parse(request).body) for request in server.requests]
        assert 1 == server.connections


async def test_an_upload_that_stalls_is_no_success_whatever_was_answered():
    """The answer was whole; what it was for is not."""

    async def handler(conn):
        await conn.read_head()
        await conn.send(reply(b"yes"))
        await conn.wait_closed()

    async with scripted(handler) as server, Client(timeout=Timeout(total=0.3)) as client:
        with pytest.raises(fastreq.TotalTimeout):
            await client.put(server.url("/"), content=Source().pieces())


async def test_a_server_may_answer_a_stream_while_it_reads(wire):
    """The answer is read while the rest of the request is sent: else both would wait for ever."""
    size = 20 * MIB

    async def handler(conn):
        await conn.read_head()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            piece = await conn.reader.read(2**16)
            left -= len(piece)
            await conn.send(piece)
        await conn.wait_closed()

    content = NOISE * (size // MIB)
    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        async with client.stream("PUT", server.url("/"), content=content) as response:
            assert content == b"".join([piece async for piece in response.iter_bytes()])
        assert 1 == client.stats().total.idle


async def test_a_source_that_fails_while_its_answer_is_read():
    """Whoever reads is told, as whoever waits for an answer is."""
    answered = asyncio.Event()

    async def handler(conn):
        await conn.read_head()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        await conn.wait_closed()

    async def body():
        yield b"first"
        await answered.wait()
        raise ValueError("no more")

    async with scripted(handler) as server, Client() as client:
        async with client.stream("PUT", server.url("/"), content=body()) as response:
            assert b"abc" == await anext(response.iter_bytes())
            answered.set()
            with pytest.raises(ValueError, match="no more"):
                await anext(response.iter_bytes())
        assert 0 == client.stats().total.open


def test_40_an_answer_is_not_lost_by_what_is_written_after_it(loop_factory):
    """The server has answered, and gone: to write on would be a reset, and the answer lost."""
    gone = threading.Event()

    def refuse(listening):
        sock, _ = listening.accept()
        with sock:
            head = b""
            while b"first\r\n" not in head:
                head += sock.recv(2**16)
            sock.sendall(reply(b"enough", status="413 Content Too Large"))
        gone.set()

    async def body():
        yield b"first"
        gone.wait(10)  # with the loop standing still
        yield b"second"
        yield bytes(10**6)

    async def main(port):
        async with Client() as client:
            return await client.post(f"http://127.0.0.1:{port}/", content=body())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=refuse, args=(listening,))
        thread.start()
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            response = runner.run(main(listening.getsockname()[1]))
        thread.join()
    assert (413, b"enough") == (response.status, response.body)


# ---- compress=


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("kind", ["bytes", "json", "data", "iterator", "async", "file", "files"])
async def test_compress(coding, kind, tmp_path):
    text = b"so much text " * 10_000
    path = tmp_path / "a.txt"
    path.write_bytes(text)
    unpack = gzip.decompress if coding == "gzip" else zlib.decompress
    async with serving(reply()) as server, Client() as client:
        with path.open("rb") as file:
            options = {
                "bytes": {"content": text},
                "json": {"json": text.decode()},
                "data": {"data": {"a": text.decode()}},
                "iterator": {"content": iter([text, text])},
                "async": {"content": later(text)},
                "file": {"content": file},
                "files": {"files": {"a": file}},
            }[kind]
            await client.post(server.url("/"), compress=coding, **options)

        request = received(server)
        assert coding == request.get("content-encoding")
        assert len(request.body) < 3000
        assert 10_000 <= unpack(request.body).replace(b"+", b" ").count(b"so much text")


async def test_compress_has_nothing_to_do_without_a_body():
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url("/"), compress="gzip")
        await client.post(server.url("/"), content=b"", compress="gzip")

        assert [None, None] == [parse(r).get("content-encoding") for r in server.requests]


async def test_compress_comes_after_what_was_done_before():
    """RFC 9110, section 8.4: the codings in the order in which they were applied."""
    async with serving(reply()) as server, Client() as client:
        content, headers = b"br, says the caller", {"Content-Encoding": "br"}
        await client.post(server.url("/"), content=content, headers=headers, compress="gzip")

        assert "br, gzip" == received(server).get("content-encoding")
        assert content == gzip.decompress(received(server).body)


async def test_compress_with_what_nobody_knows():
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(ValueError, match="expected 'gzip' or 'deflate'"):
            await client.post(server.url("/"), content=b"a", compress="lzma")
        assert 0 == server.connections


# ---- what is sent again, and what is not

ONCE = {
    "generator": lambda path: (piece for piece in [b"bo", b"dy"]),
    "iterator": lambda path: iter([b"body"]),
    "async": lambda path: later(b"body"),
    "file": lambda path: path.open("rb"),
    "files": lambda path: {"a": path.open("rb")},
}


@pytest.fixture(params=ONCE)
def once(request, tmp_path):
    """A body that cannot be sent twice, as the option that gives it."""
    path = tmp_path / "body"
    path.write_bytes(b"body")
    body = ONCE[request.param](path)
    yield {"files" if request.param == "files" else "content": body}
    for file in body.values() if request.param == "files" else [body]:
        getattr(file, "close", lambda: None)()


async def test_a_stream_is_not_sent_twice_by_a_redirect(once):
    async with serving(reply(b"", "Location: /x", status="307 Temporary Redirect")) as server:
        async with Client() as client:
            with pytest.raises(StreamConsumed, match="307 from"):
                await client.post(server.url("/"), **once)
        assert 1 == len(server.requests)


async def test_a_stream_is_not_sent_twice_by_a_retry(once):
    async with serving(reply(status="503 Busy"), reply()) as server, Client(retry=3) as client:
        response = await client.put(server.url("/"), **once)

        assert (503, 1) == (response.status, response.attempts)
        assert 1 == len(server.requests)


async def test_a_stream_is_not_sent_twice_by_auth(once):
    challenge = 'WWW-Authenticate: Digest realm="a", nonce="b", qop="auth"'
    async with serving(reply(b"", challenge, status="401 Unauthorized")) as server:
        async with Client(auth=fastreq.Digest("user", "password")) as client:
            with pytest.raises(StreamConsumed):
                await client.put(server.url("/"), **once)
        assert 1 == len(server.requests)


async def test_a_stream_is_not_sent_twice_when_a_kept_connection_dies(once):
    """TRUST 4, the keep-alive race: also where the method could be repeated."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(reply())
        await conn.read_request()

    async with scripted(handler) as server, Client() as client:
        await client.get(server.url("/"))
        with pytest.raises(fastreq.ReadError):
            await client.put(server.url("/"), **once)
        assert 2 == len(server.requests)


async def test_a_stream_is_not_sent_twice_by_hand(once):
    """An empty body would look like one that is well."""
    async with serving(reply()) as server, Client() as client:
        request = client.build_request("PUT", server.url("/"), **once)
        await client.send(request)
        with pytest.raises(StreamConsumed, match="sent once"):
            await client.send(request)

        assert 1 == len(server.requests)
        assert b"body" in received(server).body
        assert 1 == client.stats().total.idle, "nothing was begun"


@pytest.mark.parametrize("content", [b"body", [b"bo", b"dy"], Again(b"bo", b"dy")], ids=repr)
async def test_what_can_be_sent_twice_is_the_same_again(content):
    async with serving(reply()) as server, Client() as client:
        request = client.build_request("PUT", server.url("/"), content=content)
        await client.send(request)
        await client.send(request)

        assert [b"body", b"body"] == [parse(raw).body for raw in server.requests]


@pytest.mark.parametrize("content", [b"body", [b"bo", b"dy"], NOISE, [NOISE, NOISE]], ids=len)
async def test_what_is_in_memory_survives_redirects_and_retries(content):
    whole = content if isinstance(content, bytes) else b"".join(content)
    moved = reply(b"", "Location: /there", status="308 Permanent Redirect")
    async with serving(moved, reply(status="503 Busy"), reply(b"ok")) as server:
        async with Client(retry=fastreq.Retry(1, backoff=0)) as client:
            response = await client.put(server.url("/"), content=content)

        assert (b"ok", 2) == (response.body, response.attempts)
        assert [whole] * 3 == [parse(raw).body for raw in server.requests]


# ---- a server that nobody here wrote


async def test_httpbin_reads_what_we_send(httpbin, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("from a file")
    async with Client() as client:

        async def echo(**options):
            return (await client.post(httpbin.url("/post"), **options)).raise_for_status().json()

        assert {"a": [1, "ü"]} == (await echo(json={"a": [1, "ü"]}))["json"]
        assert {"a": ["1", "ü &"]} == (await echo(data={"a": ["1", "ü &"]}))["form"]
        assert "in chunks" == (await echo(content=later(b"in ", b"chunks")))["data"]
        with path.open("rb") as file:
            said = await echo(data={"x": "y"}, files={"f": file, "g": ("g.txt", "text")})
        assert {"f": "from a file", "g": "text"} == said["files"]
        assert {"x": "y"} == said["form"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_httpbin_methods(httpbin, method):
    async with Client() as client:
        said = (await client.request(method, httpbin.url("/anything"), content=b"abc")).json()

        assert (method, "abc") == (said["method"], said["data"])


async def test_nginx_stores_what_we_send(nginx, tmp_path):
    """A file through nginx, over TLS, and back."""
    path = tmp_path / "a.bin"
    path.write_bytes(NOISE * 4)
    async with Client(verify=nginx.ca_file) as client:
        with path.open("rb") as file:
            url = nginx.url("/dav/bodies", tls=True)
            assert 201 == (await client.put(url, content=file, headers=EXPECT)).status
        url = nginx.url("/dav/bodies-in-chunks", tls=True)
        pieces = itertools.repeat(NOISE, 4)
        assert 201 == (await client.put(url, content=pieces)).status

        for name in ("bodies", "bodies-in-chunks"):
            assert NOISE * 4 == (await client.get(nginx.url(f"/dav/{name}", tls=True))).body
            await client.delete(nginx.url(f"/dav/{name}", tls=True))
