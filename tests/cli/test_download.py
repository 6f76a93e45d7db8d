"""`fastreq download`: saved whole, shown as it comes, and gone on with after Ctrl-C."""

import asyncio
import hashlib
import os
import pty
import random
import shlex
import signal
import sys

import pytest
from servers.scripted import parse_fields, reply, scripted, serving

BODY = random.Random(3).randbytes(3_000_000)
DIGEST = hashlib.sha256(BODY).hexdigest()

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


class File:
    """A server of one file with ranges; where `cut`, it gives a third of each, and waits."""

    def __init__(self, cut=False):
        self.cut = cut
        self.ranges = []

    async def __call__(self, conn):
        while True:
            fields = parse_fields(await conn.read_request())
            wanted = fields.get("range", "")
            self.ranges.append(wanted)
            if wanted:
                first, last = wanted.removeprefix("bytes=").split("-")
                first, last = int(first), min(int(last or len(BODY)), len(BODY) - 1)
                shown = f"Content-Range: bytes {first}-{last}/{len(BODY)}"
                answer = reply(BODY[first : last + 1], shown, 'ETag: "a"', status="206 Part")
            else:
                answer = reply(BODY, 'ETag: "a"')
            await conn.send(answer[: len(answer) // 3] if self.cut else answer)
            if self.cut:
                await conn.wait_closed()


@pytest.mark.parametrize("more", [[], ["--segments", 3]], ids=["one", "segments"])
async def test_whole(cli_async, tmp_path, more):
    """The name is that of the URL; stdout is for nobody."""
    file = File()
    async with scripted(file) as server:
        url = server.url("/files/a%20file.bin?x=1")
        done = await cli_async(
            "download", url, "--checksum", f"sha256:{DIGEST}", *more, cwd=tmp_path
        )
    assert (0, b"") == (done.code, done.out)
    assert BODY == (tmp_path / "a file.bin").read_bytes()
    assert ["a file.bin"] == os.listdir(tmp_path)
    assert done.errors.startswith("a file.bin: 2.86 MiB in ")
    assert 1 == len(done.errors.splitlines())
    assert (3 if more else 1) == len(file.ranges)


async def test_into_a_folder(cli_async, tmp_path):
    async with serving(reply(b"hello")) as server:
        done = await cli_async("download", "-q", server.url("/x"), "-o", tmp_path)
    assert (0, b"", "") == done
    assert b"hello" == (tmp_path / "x").read_bytes()


async def test_on_a_terminal(start, tmp_path):
    """A bar, which is gone at the end."""
    leader, follower = pty.openpty()
    file = File(cut=True)
    async with scripted(file) as server:
        with start(
            "download", server.url("/x"), cwd=tmp_path, stderr=follower, env={"TERM": "xterm"}
        ) as process:
            os.close(follower)
            seen = b""
            while b"KiB of 2.86 MiB" not in seen:
                seen += await asyncio.to_thread(os.read, leader, 10_000)
            process.send_signal(signal.SIGINT)
            assert 130 == await asyncio.to_thread(process.wait, 20)
        rest = os.read(leader, 10_000)
    os.close(leader)
    assert "━".encode() in seen
    assert b"\r\x1b[K" in rest
    assert b"-m fastreq download " in rest.partition(b"to go on: ")[2]


@pytest.mark.parametrize("more", [[], ["--segments", "3"]], ids=["one", "segments"])
async def test_interrupted(start, cli_async, tmp_path, more):
    """Ctrl-C keeps the part, and prints the command that goes on."""
    file = File(cut=True)
    path = tmp_path / "of mine"
    async with scripted(file) as server:
        command = ["download", server.url("/x"), "-o", path, "--no-resume", *more]
        with start(*command) as process:
            wanted = 2 if more else 1
            while len(file.ranges) < wanted or not path.with_name("of mine.part").exists():
                await asyncio.sleep(0.01)
            while not any(path.with_name("of mine.part").read_bytes()):
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, errors = await asyncio.to_thread(process.communicate, timeout=20)
        assert (130, b"") == (process.returncode, out)
        assert ["of mine.part", "of mine.part.json"] == sorted(os.listdir(tmp_path))
        (line,) = errors.decode().splitlines()
        assert line.startswith(f"to go on: {shlex.quote(sys.executable)} -m fastreq download http:")
        again = shlex.split(line.partition(" -m fastreq ")[2])
        assert "--no-resume" not in again

        file.cut, file.ranges = False, []
        done = await cli_async(*again)
    assert 0 == done.code
    assert "" not in file.ranges
    assert BODY == path.read_bytes()


async def test_interrupted_where_nothing_is_kept(start, tmp_path):
    """It is said, and nothing lies about that is of no use."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(reply(BODY)[:1_000_000])  # without a validator
        await conn.wait_closed()

    async with scripted(handler) as server:
        with start("download", server.url("/x"), cwd=tmp_path) as process:
            while not any(map(os.path.getsize, tmp_path.iterdir())):
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, errors = await asyncio.to_thread(process.communicate, timeout=20)
    assert (130, b"") == (process.returncode, out)
    assert errors.decode().endswith("x is kept; the next time begins anew\n")
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ["http://127.0.0.1:1/"]),
        (2, ["http://127.0.0.1:1/a/%2e%2e"]),
        (2, ["http://127.0.0.1:1/a%2Fb"]),
        (2, ["http://127.0.0.1:1/x", "--checksum", "crc:1"]),
        (2, ["http://127.0.0.1:1/x", "--checksum", "sha256:00"]),
        (2, ["http://127.0.0.1:1/x", "--segments", "0"]),
        (2, ["http://127.0.0.1:1/x", "-o", "-"]),
        (23, ["http://127.0.0.1:1/x", "-o", "no/such/"]),
        (3, ["no url"]),
        (7, ["http://127.0.0.1:1/x"]),
        (23, ["http://127.0.0.1:1/x", "-o", "/dev/null"]),
    ],
)
def test_exits(capsys, tmp_path, monkeypatch, code, arguments):
    from fastreq.cli import main

    monkeypatch.chdir(tmp_path)
    assert code == main(["download", *arguments])
    said = capsys.readouterr()
    assert "" == said.out
    assert said.err.startswith("fastreq: ")
    assert 1 == len(said.err.splitlines())
    assert [] == os.listdir(tmp_path)


async def test_a_wrong_checksum(cli_async, tmp_path):
    async with serving(reply(b"hello")) as server:
        done = await cli_async(
            "download", server.url("/x"), "--checksum", "md5:" + "0" * 32, cwd=tmp_path
        )
    assert 61 == done.code
    assert done.errors.startswith("fastreq: DecodingError: ")
    assert [] == os.listdir(tmp_path)


async def test_an_error_status(cli_async, tmp_path):
    async with serving(reply(status="404 Not Found")) as server:
        done = await cli_async("download", server.url("/x"), cwd=tmp_path)
    assert 22 == done.code
    assert [] == os.listdir(tmp_path)
