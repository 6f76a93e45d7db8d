"""`Client.download(segments=...)`: several ranges at once, and never a file that is mixed."""

import asyncio
import hashlib
import json
import os
import random
import sys

import pytest
from servers.scripted import parse_fields, reply, scripted, serving

from fastreq import Client, HTTPStatusError, NetworkError, RemoteProtocolError
from fastreq.bulk.part import Gap
from fastreq.bulk.segments import cut

BODY = random.Random(1).randbytes(400_000)
OTHER = random.Random(2).randbytes(400_000)
SMALL = 20_000
MODIFIED = "Last-Modified: Sun, 22 Nov 2026 12:00:00 GMT"
BEYOND = ("Content-Range: bytes 200000-300000/400000", 'ETag: "one"')
LATER = "Date: Sun, 22 Nov 2026 12:00:01 GMT"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Segments that fit a test."""
    monkeypatch.setattr("fastreq.bulk.segments.SMALLEST", SMALL)
    monkeypatch.setattr("fastreq.bulk.download.SMALLEST", SMALL)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


def names(path):
    return sorted(os.listdir(path.parent))


class Ranges:
    """A server of one file that gives ranges of it; `change` may spoil the answers."""

    def __init__(self, body=BODY, *fields, change=None):
        self.body = body
        self.fields = fields or ('ETag: "one"',)
        self.asked = []  # fields of the requests
        self.change = change or (lambda number, answer: answer)

    async def __call__(self, conn):
        while True:
            fields = parse_fields(await conn.read_request())
            self.asked.append(fields)
            answer = self.change(len(self.asked) - 1, self.answer(fields))
            if answer is None:
                return
            await conn.send(answer)

    def answer(self, fields):
        if "range" not in fields:
            return reply(self.body, *self.fields)
        first, last = fields["range"].removeprefix("bytes=").split("-")
        piece = self.body[int(first) : int(last) + 1]
        shown = f"Content-Range: bytes {first}-{int(first) + len(piece) - 1}/{len(self.body)}"
        return reply(piece, shown, *self.fields, status="206 Partial Content")

    def ranges(self):
        return [fields.get("range") for fields in self.asked]


def keep(path, body, missing, **note):
    """Lay a part there, as an earlier download has left it."""
    for first, end in missing:
        body = body[:first] + b"?" * (end - first) + body[end:]
    (path.parent / "file.part").write_bytes(body)
    note = {"validator": '"one"', "total": 400_000, "asked": "/", "gaps": missing} | note
    (path.parent / "file.part.json").write_text(json.dumps(note))


async def fetched(files, path, segments=4, **options):
    async with scripted(files) as server, Client() as client:
        response = await client.download(server.url(), path, segments=segments, **options)
    assert ["file"] == names(path)
    return response


# ---- it comes


async def test_nginx(nginx, path):
    """A server that nobody here wrote; the sum is told, and the whole is checked."""
    body, told = nginx.files["/10m"], []
    digest = hashlib.sha256(body).hexdigest()
    async with Client() as client:
        response = await client.download(
            nginx.url("/10m"), path, segments=4, checksum=f"sha256:{digest}", progress=told.append
        )
        stats = client.stats().total
    assert 206 == response.status
    assert body == path.read_bytes()
    assert 4 == stats.opened
    assert [state.done for state in told] == sorted(state.done for state in told)
    assert (len(body), len(body)) == (told[-1].done, told[-1].total)


async def test_each_range_is_asked_for_once(path):
    files = Ranges()
    await fetched(files, path)
    assert BODY == path.read_bytes()
    expected = ["0-19999", "20000-99999", "100000-199999", "200000-299999", "300000-399999"]
    assert {f"bytes={range}" for range in expected} == set(files.ranges())
    assert 5 == len(files.asked)
    assert [None, *['"one"'] * 4] == [fields.get("if-range") for fields in files.asked]
    assert {"identity"} == {fields["accept-encoding"] for fields in files.asked}


@pytest.mark.parametrize("size", [1, SMALL - 1, SMALL, 2 * SMALL - 1])
async def test_a_file_that_is_too_small(path, size):
    files = Ranges(BODY[:size])
    await fetched(files, path)
    assert BODY[:size] == path.read_bytes()
    assert len(files.asked) <= 2


async def test_an_empty_file(path):
    """A range of nothing cannot be had."""
    files = Ranges(b"", change=lambda n, answer: answer if n else reply(status="416 No Range"))
    await fetched(files, path)
    assert b"" == path.read_bytes()


@pytest.mark.parametrize("fields", [(MODIFIED, LATER), ('ETag: "one"', MODIFIED)])
async def test_strong_validators(path, fields):
    files = Ranges(BODY, *fields)
    await fetched(files, path)
    expected = '"one"' if "ETag" in fields[0] else MODIFIED.lower().partition(": ")[2]
    assert expected == files.asked[-1]["if-range"]
    assert BODY == path.read_bytes()


@pytest.mark.parametrize(
    "fields",
    [("X: y",), ('ETag: W/"one"',), (MODIFIED,), (MODIFIED, LATER.replace(":01", ":00"))],
    ids="none weak undated same-second".split(),
)
async def test_without_a_strong_validator(path, fields):
    """Ranges could be of two files: it comes in one piece."""
    files = Ranges(BODY, *fields)
    await fetched(files, path)
    assert ["bytes=0-19999", None] == files.ranges()
    assert BODY == path.read_bytes()


async def test_a_server_without_ranges(path):
    """What it gives is the file, and not asked for twice."""
    files = Ranges(change=lambda n, answer: reply(BODY, 'ETag: "one"'))
    await fetched(files, path)
    assert 1 == len(files.asked)
    assert BODY == path.read_bytes()


async def test_less_than_was_asked_for(path):
    """A server may give a part of a range; the rest is asked for."""

    def change(number, answer):
        shown = answer.partition(b"bytes ")[2].partition(b"/")[0]
        first, last = map(int, shown.split(b"-"))
        last = min(last, first + 50_000)
        fields = f"Content-Range: bytes {first}-{last}/400000", 'ETag: "one"'
        return reply(BODY[first : last + 1], *fields, status="206 Partial Content")

    files = Ranges(change=change)
    await fetched(files, path)
    assert BODY == path.read_bytes()
    assert 9 == len(files.asked)


async def test_broken_off(path):
    """Each goes on where it was broken off."""

    async def handler(conn):
        while True:
            fields = parse_fields(await conn.read_request())
            files.asked.append(fields)
            answer = files.answer(fields)
            if len(files.asked) in (2, 4):
                await conn.send(answer[:30_000])
                return
            await conn.send(answer)

    files = Ranges()
    async with scripted(handler) as server, Client() as client:
        await client.download(server.url(), path, segments=4)
    assert BODY == path.read_bytes()
    assert 7 == len(files.asked)
    assert 7 == len(set(files.ranges()))


async def test_fewer_where_a_server_wants_fewer(path):
    """Segments that are refused are done by those that are not."""
    busy = reply(b"", status="503 Too Many")
    files = Ranges(change=lambda n, answer: busy if n in (1, 2) else answer)
    await fetched(files, path)
    assert BODY == path.read_bytes()


# ---- not the same file


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda answer: answer.replace(b'"one"', b'"two"'),
        lambda answer: answer.replace(b'"one"', b'W/"one"'),
        lambda answer: answer.replace(b'ETag: "one"\r\n', b""),
        lambda answer: answer.replace(b"/400000", b"/400001"),
        lambda answer: answer.replace(b"/400000", b"/*"),
        lambda answer: answer.replace(b"bytes 200000-", b"bytes 200001-"),
        lambda answer: answer.replace(b"-299999/", b"-299998/"),
        lambda answer: reply(BODY[200_000:300_001], *BEYOND, status="206 Partial Content"),
        lambda answer: answer.replace(b"Content-Range: bytes 2", b"Content-Range: lines 2"),
        lambda answer: answer.replace(b"ETag", b"Content-Encoding: br\r\nETag"),
        lambda answer: reply(OTHER, 'ETag: "two"'),
        lambda answer: reply(status="416 No Range"),
        lambda answer: reply(status="204 No Content"),
    ],
    ids="etag weak no-etag total no-total first last beyond unit coded 200 416 204".split(),
)
async def test_never_mixed(path, spoilt):
    """One answer that does not belong there, and all of it is fetched anew, in one piece."""

    def change(number, answer):
        if b"bytes 200000-" not in answer:
            return reply(OTHER, 'ETag: "two"') if b"Content-Range" not in answer else answer
        return spoilt(answer)

    files = Ranges(change=change)
    await fetched(files, path)
    assert OTHER == path.read_bytes()
    assert None is files.ranges()[-1]


async def test_more_than_its_range(path):
    """Chunks that do not end where Content-Range says."""

    def change(number, answer):
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        if b"bytes 100000-" in head:
            body += b"!"
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", chunk])

    files = Ranges(change=change)
    await fetched(files, path)
    assert BODY == path.read_bytes()
    assert None is files.ranges()[-1]


# ---- gone on with


async def test_one_piece_is_gone_on_with_in_segments(path):
    keep(path, BODY[:100_000], [])
    note = path.parent / "file.part.json"
    note.write_text(json.dumps({"validator": '"one"', "total": 400_000, "asked": "/"}))
    files = Ranges()
    await fetched(files, path, segments=3)
    assert {f"bytes={n}00000-{n}99999" for n in (1, 2, 3)} == set(files.ranges())
    assert BODY == path.read_bytes()


@pytest.mark.parametrize("segments", [1, 2, 3])
async def test_gaps_are_gone_on_with(path, segments):
    """Whatever `segments` is now."""
    keep(path, BODY, [(5, 10), (100_000, 200_000), (399_999, 400_000)])
    files, told = Ranges(), []
    await fetched(files, path, segments, progress=told.append)
    assert {"bytes=5-9", "bytes=100000-199999", "bytes=399999-399999"} == set(files.ranges())
    assert BODY == path.read_bytes()
    assert 299_994 < told[0].done
    assert len(BODY) == told[-1].done


async def test_complete_but_not_renamed(path):
    keep(path, BODY, [])
    files = Ranges()
    await fetched(files, path)
    assert ["bytes=399999-399999"] == files.ranges()
    assert BODY == path.read_bytes()


@pytest.mark.parametrize(
    "note",
    [
        {"gaps": [(5, 3)]},
        {"gaps": [(100, 200), (150, 300)]},
        {"gaps": [(100, 400_001)]},
        {"gaps": [(-1, 5)]},
        {"gaps": [1]},
        {"gaps": "none"},
        {"total": 400_001},
        {"total": None},
        {"validator": ""},
    ],
    ids=str,
)
async def test_a_note_that_does_not_fit(path, note):
    keep(path, OTHER, [], **note)
    await fetched(Ranges(), path)
    assert BODY == path.read_bytes()


async def test_a_file_that_is_shorter_than_its_note(path):
    keep(path, BODY, [(300_000, 400_000)])
    os.truncate(path.parent / "file.part", 200_000)
    await fetched(Ranges(), path)
    assert BODY == path.read_bytes()


async def test_gaps_of_another_file(path):
    keep(path, OTHER, [(100_000, 200_000)], validator='"two"')
    await fetched(Ranges(), path)
    assert BODY == path.read_bytes()


async def test_cancelled(path):
    """What came is kept, by its place."""
    stuck = asyncio.Event()

    async def handler(conn):
        while True:
            fields = parse_fields(await conn.read_request())
            answer = files.answer(fields)
            if fields["range"] == "bytes=0-19999":
                await conn.send(answer)
                continue
            await conn.send(answer[: len(answer) // 2])
            held.append(conn)
            if len(held) == 4:
                stuck.set()
            await conn.wait_closed()

    files, held = Ranges(), []
    async with scripted(handler) as server, Client() as client:
        job = asyncio.create_task(client.download(server.url(), path, segments=4))
        await stuck.wait()
        while missing(path) > 220_000:
            await asyncio.sleep(0.01)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    assert ["file.part", "file.part.json"] == names(path)
    note = json.loads((path.parent / "file.part.json").read_text())
    part = (path.parent / "file.part").read_bytes()
    came = bytearray(part)
    for first, end in note["gaps"]:
        came[first:end] = BODY[first:end]
    assert BODY == came
    assert 4 == len(note["gaps"])

    await fetched(Ranges(), path)
    assert BODY == path.read_bytes()


def missing(path):
    """Zeros of the file: a random body has few."""
    return (path.parent / "file.part").read_bytes().count(0)


async def test_given_up(path, monkeypatch):
    monkeypatch.setattr("fastreq.bulk.segments.TRIES", 1)
    files = Ranges(change=lambda n, answer: None if n else answer)
    async with scripted(files) as server, Client() as client:
        with pytest.raises(NetworkError) as caught:
            await client.download(server.url(), path, segments=4)
    assert caught.value.request is not None
    assert ["file.part", "file.part.json"] == names(path)


async def test_an_error_status(path):
    """Of the first request, and of all that follow."""
    async with serving(reply(status="404 Not Found")) as server, Client() as client:
        with pytest.raises(HTTPStatusError):
            await client.download(server.url(), path, segments=4)
    assert [] == names(path)

    gone = reply(status="410 Gone")
    files = Ranges(change=lambda n, answer: gone if n else answer)
    async with scripted(files) as server, Client() as client:
        with pytest.raises(HTTPStatusError):
            await client.download(server.url(), path, segments=4)
    assert ["file.part", "file.part.json"] == names(path)


async def test_a_part_that_nobody_asked_for(path):
    """A server that has nothing but parts gives no file."""
    answer = reply(BODY[5:9], "Content-Range: bytes 5-8/9", 'ETag: "a"', status="206 Partial")
    async with serving(answer) as server, Client() as client:
        with pytest.raises(RemoteProtocolError):
            await client.download(server.url(), path, segments=2)
    assert [] == names(path)


@pytest.mark.parametrize("segments", [0, -1, 1.5, "2", None])
async def test_no_number(path, segments):
    async with Client() as client:
        with pytest.raises((ValueError, TypeError), match="segments"):
            await client.download("http://127.0.0.1:1/", path, segments=segments)


# ---- killed

JOB = """
import sys, fastreq
from fastreq.bulk import download, segments

download.SMALLEST = segments.SMALLEST = 20_000
segments.SAVE_SECONDS = 0

async def main():
    async with fastreq.Client() as client:
        await client.download(sys.argv[1], sys.argv[2], segments=4)

fastreq.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
async def test_killed(path):
    """Killed twice, wherever it was: the third time it is right, and little came twice."""
    whole = False
    sent = 0

    async def handler(conn):
        nonlocal sent
        while True:
            answer = files.answer(parse_fields(await conn.read_request()))
            part = answer if whole or len(answer) < 21_000 else answer[: len(answer) // 2]
            sent += len(part)
            await conn.send(part)
            if part is not answer:
                await conn.wait_closed()

    files = Ranges()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    async with scripted(handler) as server:
        command = [sys.executable, "-c", JOB, server.url(), str(path)]
        for left in (250_000, 150_000):
            process = await asyncio.create_subprocess_exec(*command, env=environment)
            while gaps_of(path) > left:
                await asyncio.sleep(0.005)
            process.kill()
            await process.wait()
            assert not path.exists()
        whole = True
        process = await asyncio.create_subprocess_exec(*command, env=environment)
        assert 0 == await process.wait()
    assert BODY == path.read_bytes()
    assert ["file"] == names(path)
    assert sent < 1.6 * len(BODY)


def gaps_of(path):
    try:
        note = json.loads((path.parent / "file.part.json").read_text())
    except FileNotFoundError:
        return len(BODY)
    return sum(end - first for first, end in note["gaps"])


# ---- without a server


def test_cut():
    """No byte is lost, and none is in two gaps."""
    whole = [Gap(0, 400_000)]
    assert [Gap(0, 200_000), Gap(200_000, 400_000)] == cut(whole, 2)
    assert whole == cut(whole, 1)
    assert 20 == len(cut(whole, 1000))
    two = [Gap(0, 50_000), Gap(60_000, 60_100)]
    assert [Gap(0, 25_000), Gap(25_000, 50_000), Gap(60_000, 60_100)] == cut(two, 3)
    assert 3 == len(cut(two, 9))
    assert [] == cut([], 4)
