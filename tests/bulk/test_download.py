"""`Client.download`: whole or not at all, and gone on with where it was broken off."""

import asyncio
import hashlib
import itertools
import json
import os
import random
import sys
from contextlib import suppress

import pytest
from servers.scripted import parse_fields, reply, scripted, serving

from fastreq import (
    Client,
    DecodingError,
    HTTPStatusError,
    IncompleteBody,
    NetworkError,
    Progress,
    RemoteProtocolError,
    TotalTimeout,
)
from fastreq.bulk.progress import Bytes

BODY = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(200_000)
HALF = 150_000
EMPTY = b"\r\n\r\n"  # what ends a head


class Files:
    """A server of one file that can be broken in many ways."""

    def __init__(self, body=BODY, etag='"one"', **ways):
        self.body = body
        self.etag = etag
        self.fields = []  # of the requests
        self.cuts = []  # of each response in turn, bytes after which it is cut
        self.ways = ways

    def asked(self, name):
        return [fields.get(name) for fields in self.fields]

    async def __call__(self, conn):
        while True:
            head = (await conn.read_request()).decode().lower()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            self.fields.append(fields)
            cut = self.cuts.pop(0) if self.cuts else None
            answer = self.answer(fields)
            await conn.send(answer if cut is None else answer[: answer.index(EMPTY) + 4 + cut])
            if cut is not None:
                return

    def answer(self, fields):
        first = 0
        status, more = "200 OK", []
        wanted = fields.get("range")
        if wanted and fields.get("if-range") == (self.etag or "").lower():
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            status = "206 Partial Content"
            if first >= len(self.body):
                return reply(b"", f"Content-Range: bytes */{len(self.body)}", status="416 Too Far")
            shown = self.ways.get("range", "bytes {}-{}/{}")
            more.append(f"Content-Range: {shown.format(first, len(self.body) - 1, len(self.body))}")
        if self.etag:
            more.append(f"ETag: {self.etag}")
        return reply(self.body[first:], *more, status=status)


def keep(path, body, *, validator='"one"', total=300_000, asked="/"):
    """Lay a part there, as an earlier download has left it."""
    (path.parent / f"{path.name}.part").write_bytes(body)
    note = {"validator": validator, "total": total, "asked": asked}
    (path.parent / f"{path.name}.part.json").write_text(json.dumps(note))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def names(path):
    return sorted(os.listdir(path.parent))


# ---- a server that nobody here wrote


@pytest.mark.parametrize("name", ["/10m", "/chunked", "/until-close", "/close", "/gzip.json"])
async def test_whole(nginx, path, name):
    async with Client() as client:
        response = await client.download(nginx.url(name), path)

    assert 200 == response.status
    assert nginx.files[name] == path.read_bytes()
    assert ["file"] == names(path)


async def test_gone_on_with(nginx, path):
    """Cancelled on the way, and gone on with."""
    async with Client() as client:
        url = nginx.url("/slow")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.download(url, path), 0.4)
        assert ["file.part", "file.part.json"] == names(path)
        kept = (path.parent / "file.part").stat().st_size
        assert 0 < kept < len(nginx.files["/slow"])

        response = await client.download(url, path)

    assert 206 == response.status
    assert f"bytes={kept}-" == response.request.headers["Range"]
    assert nginx.files["/slow"] == path.read_bytes()
    assert ["file"] == names(path)


async def test_changed_in_the_meantime(nginx, path):
    """nginx does not know our ETag, and gives all of it."""
    keep(path, b"x" * 1000, validator='"another"', asked="/64k")
    async with Client() as client:
        response = await client.download(nginx.url("/64k"), path)
    assert 200 == response.status
    assert nginx.files["/64k"] == path.read_bytes()


async def test_complete_but_not_renamed(nginx, path):
    """Killed just before the end: one byte is asked for, to see that the file is the same."""
    async with Client() as client:
        etag = (await client.head(nginx.url("/64k"))).headers["ETag"]
        body = nginx.files["/64k"]
        keep(path, body, validator=etag, total=len(body), asked="/64k")
        response = await client.download(nginx.url("/64k"), path)

    assert (206, "1") == (response.status, response.headers["Content-Length"])
    assert body == path.read_bytes()


async def test_over_a_redirect(nginx, path):
    async with Client() as client:
        response = await client.download(nginx.url("/redirect"), path)
    assert 1 == len(response.history)
    assert nginx.files["/hello"] == path.read_bytes()


# ---- broken off


async def test_broken_off_again_and_again(path):
    """As long as more comes, it goes on by itself."""
    files = Files()
    files.cuts = [50_000, 1, 70_000, 0, 100]
    async with scripted(files) as server, Client() as client:
        await client.download(server.url(), path)

    assert BODY == path.read_bytes()
    assert [None, "bytes=50000-", "bytes=50001-", "bytes=120001-"] == files.asked("range")[:4]
    assert [None, '"one"', '"one"'] == files.asked("if-range")[:3]
    assert {"identity"} == set(files.asked("accept-encoding"))
    assert ["file"] == names(path)


async def test_given_up(path, monkeypatch):
    """Where nothing more comes it is given up, and what came is kept for the next time."""
    monkeypatch.setattr("fastreq.bulk.download.TRIES", 2)
    files = Files()
    files.cuts = [HALF, 0, 0]
    async with scripted(files) as server, Client() as client:
        with pytest.raises((NetworkError, IncompleteBody)):
            await client.download(server.url(), path)
        assert ["file.part", "file.part.json"] == names(path)
        assert BODY[:HALF] == (path.parent / "file.part").read_bytes()

        await client.download(server.url(), path)
    assert BODY == path.read_bytes()


async def test_without_a_validator_nothing_is_gone_on_with(path):
    """A weak ETag is none: what follows could be of another file."""
    for etag in (None, 'W/"one"'):
        files = Files(etag=etag)
        files.cuts = [HALF]
        async with scripted(files) as server, Client() as client:
            with pytest.raises((NetworkError, IncompleteBody)):
                await client.download(server.url(), path)
            await client.download(server.url(), path)
        assert [None, None] == files.asked("range")
        assert BODY == path.read_bytes()


async def test_a_timeout_keeps_what_came(path, monkeypatch):
    monkeypatch.setattr("fastreq.bulk.download.TRIES", 2)

    async def handler(conn):
        await conn.read_request()
        await conn.send(b'HTTP/1.1 200 OK\r\nETag: "one"\r\nContent-Length: 300000\r\n\r\n')
        await conn.send(BODY[:HALF])
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        with pytest.raises((TotalTimeout, NetworkError)):
            async with asyncio.timeout(5):
                await client.download(server.url(), path, timeout=0.2)
    assert BODY[:HALF] == (path.parent / "file.part").read_bytes()


@pytest.mark.parametrize("segments", [1, 2])
async def test_a_total_is_for_all_of_it(path, segments):
    """However often it breaks off, and as long as something comes."""
    first = b'HTTP/1.1 206 P\r\nETag: "a"\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d'

    async def handler(conn):
        fields = parse_fields(await conn.read_request())
        begin = int(fields.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        size = 10**9
        if "range" in fields:
            await conn.send(first % (size - begin, begin, size - 1, size) + EMPTY)
        else:
            await conn.send(b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: %d' % size + EMPTY)
        with suppress(ConnectionError):
            while True:
                await conn.send(b"x")
                await asyncio.sleep(0.05)

    async with scripted(handler) as server, Client() as client:
        with pytest.raises(TotalTimeout):
            await client.download(server.url(), path, timeout=0.3, segments=segments)


async def test_not_reached(path):
    async with Client() as client:
        with pytest.raises(NetworkError):
            await client.download("http://127.0.0.1:1/", path)
    assert [] == names(path)


# ---- what was kept, and does not fit


@pytest.mark.parametrize(
    "kept",
    [
        {"body": OTHER[:1000], "validator": '"another"'},
        {"body": OTHER[:1000], "asked": "/another"},
        {"body": OTHER[:1000], "total": 7_000_000},
        {"body": OTHER, "total": None, "validator": '"another"'},
        {"body": BODY + b"too much", "total": len(BODY) + 8},
        {"body": b""},
    ],
    ids="etag path total no-total too-long empty".split(),
)
async def test_another_file(path, kept):
    """What does not fit is thrown away, and all of it fetched anew."""
    keep(path, **kept)
    files = Files()
    async with scripted(files) as server, Client() as client:
        await client.download(server.url(), path)
    assert BODY == path.read_bytes()
    assert ["file"] == names(path)


@pytest.mark.parametrize(
    "note", ["", "{", "[]", '{"validator": "x"}', '{"validator":"a","asked":"/","total":"x"}']
)
async def test_a_note_that_is_none(path, note):
    keep(path, OTHER[:1000])
    (path.parent / "file.part.json").write_text(note)
    files = Files()
    async with scripted(files) as server, Client() as client:
        await client.download(server.url(), path)
    assert [None] == files.asked("range")
    assert BODY == path.read_bytes()


async def test_no_resume(path):
    keep(path, BODY[:HALF])
    files = Files()
    async with scripted(files) as server, Client() as client:
        await client.download(server.url(), path, resume=False)
    assert [None] == files.asked("range")
    assert BODY == path.read_bytes()


@pytest.mark.parametrize(
    "shown",
    [
        "bytes 0-{1}/{2}",
        "bytes {0}-{1}/999999",
        "bytes {0}-{0}/{2}",
        "bytes {1}-{0}/{2}",
        "bytes {0}-{2}/{2}",
        "bytes */{2}",
        "lines {0}-{1}/{2}",
        "nonsense",
        "bytes {0}-99999999999999999999999/{2}",
    ],
)
async def test_a_range_that_was_not_asked_for(path, shown):
    """It is dropped, with what was kept, and all of it fetched anew."""
    keep(path, BODY[:HALF])
    files = Files(range=shown)
    async with scripted(files) as server, Client() as client:
        await client.download(server.url(), path)
    assert [f"bytes={HALF}-", None] == files.asked("range")
    assert BODY == path.read_bytes()


async def test_a_total_that_is_not_told(path):
    keep(path, BODY[:HALF], total=None)
    async with scripted(Files(range="bytes {}-{}/*")) as server, Client() as client:
        await client.download(server.url(), path)
    assert BODY == path.read_bytes()


@pytest.mark.parametrize(
    ("kept", "now"),
    [
        ('"one"', 'ETag: "two"'),
        ('"one"', 'ETag: W/"one"'),
        ("Sat, 01 Jan 2022 00:00:00 GMT", "Last-Modified: Sun, 02 Jan 2022 00:00:00 GMT"),
    ],
)
async def test_a_range_of_another_file(path, kept, now):
    """Of one of the same length, from a server that does not look at If-Range: it is not mixed."""
    other = BODY[::-1]

    async def handler(conn):
        while True:
            head = (await conn.read_request()).decode().lower()
            first = int((head.partition("range: bytes=")[2] or "0-").partition("-")[0])
            shown = f"Content-Range: bytes {first}-{len(other) - 1}/{len(other)}"
            date = "Date: Sun, 02 Jan 2022 00:00:00 GMT"  # it has changed this very second
            status = "206 Partial Content" if first else "200 OK"
            await conn.send(reply(other[first:], now, date, shown, status=status))

    keep(path, BODY[:HALF], validator=kept)
    async with scripted(handler) as server, Client() as client:
        await client.download(server.url(), path)
    assert other == path.read_bytes()


async def test_416(path):
    """The file has become shorter than what was kept, and its ETag is the same all the same."""
    keep(path, BODY[:HALF])
    files = Files(body=BODY[:1000])
    async with scripted(files) as server, Client() as client:
        await client.download(server.url(), path)
    assert [f"bytes={HALF}-", None] == files.asked("range")
    assert BODY[:1000] == path.read_bytes()


async def test_less_than_was_asked_for(path):
    """A server may give a part of the range (RFC 9110, 14.2); the rest is asked for."""

    asked = []

    async def handler(conn):
        while True:
            head = (await conn.read_request()).decode().lower()
            first = int(head.partition("range: bytes=")[2].partition("-")[0])
            asked.append(first)
            piece = BODY[first : first + 60_000]
            shown = f"Content-Range: bytes {first}-{first + len(piece) - 1}/{len(BODY)}"
            await conn.send(reply(piece, shown, 'ETag: "one"', status="206 Partial Content"))

    keep(path, BODY[:HALF])
    async with scripted(handler) as server, Client() as client:
        await client.download(server.url(), path)
    assert [150_000, 210_000, 270_000] == asked
    assert BODY == path.read_bytes()


@pytest.mark.parametrize("status", ["206 Partial Content", "204 No Content", "304 Not Modified"])
async def test_no_file(path, status):
    """A part that nobody asked for, and the like."""
    answer = reply(b"", 'ETag: "a"', status=status)
    if "206" not in status:
        answer = answer.replace(b"Content-Length: 0\r\n", b"")
    async with serving(answer) as server, Client() as client:
        with pytest.raises(RemoteProtocolError):
            await client.download(server.url(), path)
    assert [] == names(path)


@pytest.mark.parametrize("status", ["404 Not Found", "503 Service Unavailable"])
async def test_an_error_status(path, status):
    """It says so, and leaves alone what was kept, and the file of the name."""
    path.write_bytes(b"old")
    keep(path, BODY[:HALF])
    async with serving(reply(b"sorry", status=status)) as server, Client() as client:
        with pytest.raises(HTTPStatusError):
            await client.download(server.url(), path)
    assert b"old" == path.read_bytes()
    assert BODY[:HALF] == (path.parent / "file.part").read_bytes()


async def test_coded_all_the_same(path):
    """A server that compresses what it was asked not to: the file is what it means."""
    import gzip

    packed = gzip.compress(BODY)
    answer = reply(packed, "Content-Encoding: gzip", 'ETag: "one"')
    async with serving(answer) as server, Client() as client:
        await client.download(server.url(), path)
    assert BODY == path.read_bytes()


# ---- checks


async def test_checksum(path):
    digest = hashlib.sha256(BODY).hexdigest()
    async with scripted(Files()) as server, Client() as client:
        await client.download(server.url(), path, checksum=f"sha256:{digest.upper()}")
        assert BODY == path.read_bytes()

        with pytest.raises(DecodingError, match="sha1 is"):
            await client.download(
                server.url(), path.with_name("other"), checksum="sha1:" + "0" * 40
            )
    assert ["file"] == names(path)


@pytest.mark.parametrize(
    "checksum",
    ["", "sha256", "nonsense:00", "sha256:xyz", "00", "sha256:", "sha256:00", "shake_128:abcd"],
)
async def test_no_checksum(path, checksum):
    """Refused before anything is sent."""
    async with Client() as client:
        with pytest.raises(ValueError, match="checksum"):
            await client.download("http://127.0.0.1:1/", path, checksum=checksum)


async def test_the_old_file_stays_until_the_end(path):
    path.write_bytes(b"old")
    seen = []
    async with scripted(Files()) as server, Client() as client:
        await client.download(
            server.url(), path, progress=lambda state: seen.append(path.read_bytes())
        )
    assert {b"old"} == set(seen)
    assert BODY == path.read_bytes()


async def test_progress(path):
    """What an earlier download has left is no part of the rate."""
    keep(path, BODY[:HALF])
    told = []
    async with scripted(Files()) as server, Client() as client:
        await client.download(server.url(), path, progress=told.append)
    assert told[0].done > HALF
    assert (len(BODY), len(BODY)) == (told[-1].done, told[-1].total)
    assert {HALF} == {state.before for state in told}
    assert told[-1].rate * told[-1].elapsed == pytest.approx(len(BODY) - HALF)


async def test_progress_of_what_is_begun_anew(path):
    keep(path, OTHER[:HALF], validator='"another"')
    told = []
    async with scripted(Files()) as server, Client() as client:
        await client.download(server.url(), path, progress=told.append)
    assert {0} == {state.before for state in told}


async def test_progress_in_a_log(path, capsys, monkeypatch):
    """A line now and then, each of its own."""
    clock = itertools.count()
    monkeypatch.setattr("fastreq.bulk.progress.monotonic", lambda: next(clock))
    async with scripted(Files()) as server, Client() as client:
        await client.download(server.url(), path, progress=True)
    said = capsys.readouterr()
    assert "" == said.out
    assert "\r" not in said.err
    assert said.err.endswith("/s\n")
    assert "293 KiB of 293 KiB, " in said.err.splitlines()[-1]
    assert all(line.endswith("/s") for line in said.err.splitlines())


def test_progress_on_a_terminal(capsys, monkeypatch):
    """One line, written over once a second, and left alone at the end, whatever the total is."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    times = iter([0, 0.5, 1, 1.9, 2])
    monkeypatch.setattr("fastreq.bulk.progress.monotonic", lambda: next(times))
    shown = Bytes()
    for done in (1, 2, 3, 2048):
        shown(Progress(done, 0, None, done, 0.5))
    shown.end()
    shown.end()
    assert "\r\x1b[K2 bytes, 4 bytes/s\r\x1b[K2 KiB, 4 KiB/s\n" == capsys.readouterr().err


async def test_options_of_the_request(path):
    files = Files()
    async with scripted(files) as server, Client() as client:
        await client.download(server.url(), path, headers={"X-Key": "1", "Accept-Encoding": "gzip"})
        with pytest.raises(TypeError, match="timeout"):
            await client.download(server.url(), path, timeuot=1)
    assert ["1"] == files.asked("x-key")
    assert ["identity"] == files.asked("accept-encoding")


async def test_two_onto_one_file(path):
    """The second is refused, and the first is none the worse for it."""
    half, go_on = asyncio.Event(), asyncio.Event()

    async def handler(conn):
        await conn.read_request()
        answer = reply(BODY)  # without a validator
        await conn.send(answer[:HALF])
        half.set()
        await go_on.wait()
        await conn.send(answer[HALF:])

    async with scripted(handler) as server, Client() as client:
        first = asyncio.create_task(client.download(server.url(), path))
        await half.wait()
        with pytest.raises(BlockingIOError, match="another download"):
            await client.download(server.url(), path)
        go_on.set()
        await first
    assert BODY == path.read_bytes()
    assert ["file"] == names(path)


async def test_what_nobody_can_go_on_with(path):
    """It is not left lying about."""
    half = asyncio.Event()

    async def handler(conn):
        await conn.read_request()
        await conn.send(reply(BODY)[:HALF])
        half.set()
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        job = asyncio.create_task(client.download(server.url(), path))
        await half.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    assert [] == names(path)


@pytest.mark.parametrize("name", ["", "new/"])
async def test_a_folder(path, name):
    """It is refused before anything is sent."""
    path.mkdir()
    async with Client() as client:
        with pytest.raises(IsADirectoryError):
            await client.download("http://127.0.0.1:1/", f"{path}/{name}")
    assert ["file"] == names(path)


async def test_no_such_folder(path):
    async with scripted(Files()) as server, Client() as client:
        with pytest.raises(FileNotFoundError):
            await client.download(server.url(), path / "no" / "such")
