"""`-o FILE`: all of it, or what was there before."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from servers.scripted import scripted

from fastreq.cli.output import opened
from fastreq.testing.routes import pattern

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
}


def test_file_is_the_body(cli, server, tmp_path):
    file = tmp_path / "body"
    assert (0, b"", "") == cli("-o", file, server.url + "/bytes/300000")

    assert pattern(0, 300000) == file.read_bytes()
    assert ["body"] == os.listdir(tmp_path)


def test_dash_is_stdout(cli, server):
    assert (0, b"hello", "") == cli("-o", "-", server.url + "/hello")


@pytest.mark.parametrize("kind", CUT)
@pytest.mark.parametrize("before", [None, b"old"])
async def test_broken_body(cli_async, tmp_path, kind, before):
    """What was there stays, and nothing lies beside it."""
    file = tmp_path / "body"
    if before is not None:
        file.write_bytes(before)

    async def handler(conn):
        await conn.read_request()
        await conn.send(CUT[kind])

    async with scripted(handler) as server:
        done = await cli_async("-o", file, server.url())

    assert (56, b"") == (done.code, done.out)
    assert before == (file.read_bytes() if file.exists() else None)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("code", "line"), [(28, ["-m", "0.5", "/delay/60"]), (22, ["-f", "/status/404"])]
)
def test_no_body(cli, server, tmp_path, code, line):
    done = cli("-o", tmp_path / "body", *line[:-1], server.url + line[-1])

    assert code == done.code
    assert [] == os.listdir(tmp_path)


@needs_posix
async def test_interrupt(start, tmp_path):
    """Ctrl-C is an error like others."""
    came, gone = asyncio.Event(), asyncio.Event()

    async def handler(conn):
        await conn.read_request()
        await conn.send(CUT["length"])
        came.set()
        await conn.wait_closed()
        gone.set()

    file = tmp_path / "body"
    file.write_bytes(b"old")
    async with scripted(handler) as server:
        process = start("-o", file, server.url(), stdin=subprocess.DEVNULL)
        await came.wait()
        process.send_signal(signal.SIGINT)
        await gone.wait()
    out, errors = process.communicate(timeout=10)

    assert (130, b"", b"") == (process.returncode, out, errors)
    assert ["body"] == os.listdir(tmp_path)
    assert b"old" == file.read_bytes()


def test_place_is_tried_before_the_request_is_sent(cli, tmp_path):
    done = cli("-o", tmp_path / "missing" / "body", "http://127.0.0.1:1")

    assert 23 == done.code
    assert "FileNotFoundError" in done.errors


def test_link_stays_a_link(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_bytes(b"old")
    link.symlink_to(file)
    with opened(str(link)) as write:
        write(b"new")

    assert link.is_symlink()
    assert b"new" == file.read_bytes()


@needs_posix
def test_pipe_is_written_to(tmp_path):
    """What is no file, as /dev/null, is not renamed over."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    received = []

    def read():
        with open(pipe, "rb") as file:
            received.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    with opened(pipe) as write:
        write(b"hello")
    reader.join(10)

    assert [b"hello"] == received
    assert ["pipe"] == os.listdir(tmp_path)
