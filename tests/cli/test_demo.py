"""`fastreq demo`: every answer is checked, and a wrong one is named."""

import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from servers.scripted import reply, scripted

from fastreq.cli.demo import demonstrate
from fastreq.testing.routes import item, pattern

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

LARGE = 300_000


def rows(out):
    """The cells of the table's rows, by name."""
    lines = [line.split() for line in out.decode().splitlines()]
    return {
        line[0]: line[1:]
        for line in lines
        if line[:1] in (["plain"], ["TLS"]) and line[1].isdigit()
    }


def test_demo(cli):
    pytest.importorskip("trustme")
    done = cli("demo", "-n", 301, "-c", 8, "--large", "1M")
    lines = done.out.decode().splitlines()
    plain, tls = rows(done.out)["plain"], rows(done.out)["TLS"]

    assert (0, "") == (done.code, done.errors)
    assert "all 301 answers were right" == lines[-1]
    assert ("151", "-") == (plain[0], plain[-1])
    assert ("150", "TLSv1.3") == (tls[0], tls[-1])
    assert {int(plain[4]), int(tls[4])} <= set(range(1, 9))  # a fast server needs fewer
    assert float(plain[2]) <= float(plain[3])
    assert any("1 MiB streamed (TLS)" in line and "memory grew by" in line for line in lines)
    assert any("█" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert b"\x1b" not in done.out


def test_plot(cli, tmp_path):
    """Both halves are drawn, as far as there are two."""
    done = cli("demo", "-n", 40, "--large", 0, "--fetch", 0, "--plot", tmp_path / "out.svg")
    root = ElementTree.parse(tmp_path / "out.svg").getroot()
    said = [element.text for element in root.iter() if element.tag.endswith("}text")]

    assert (0, "") == (done.code, done.errors)
    assert {"Latency, plain", "Latency by percentile"} < set(said)
    assert (b"TLS is left out" in done.out) == ("Latency, TLS" not in said)


def test_one_request(cli):
    done = cli("demo", "-n", 1, "--large", 0)

    assert (0, "") == (done.code, done.errors)
    assert done.out.endswith(b"\nall 1 answers were right\n")
    assert b"streamed" not in done.out


def test_without_trustme(cli, tmp_path):
    """The TLS half is left out, and it is said how to get it."""
    (tmp_path / "trustme.py").write_text("raise ImportError")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = cli("demo", "-n", 20, "--large", "1K", env={"PYTHONPATH": path})

    assert (0, "") == (done.code, done.errors)
    assert b"pip install 'fastreq-http[cli]'" in done.out
    assert ["plain"] == list(rows(done.out))
    assert done.out.endswith(b"\nall 20 answers were right\n")


def test_no_other_machine_is_asked(cli):
    """Where the environment names a proxy, as behind a company's, that is not for this machine."""
    names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY")
    environment = dict.fromkeys(names, "http://127.0.0.1:9") | {"NO_PROXY": "", "no_proxy": ""}
    done = cli("demo", "-n", 20, "--large", "1K", "--fetch", 3, env=environment)

    assert (0, "") == (done.code, done.errors)
    assert done.out.endswith(b"\nall 20 answers were right\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_screens_that_know_no_blocks(cli, encoding):
    done = cli("demo", "-n", 20, "--large", 0, env={"PYTHONIOENCODING": encoding})

    assert (0, "") == (done.code, done.errors)
    assert b"##" in done.out


@needs_posix
@pytest.mark.parametrize("when", ["the server starts", "requests are sent", "the body streams"])
def test_interrupt(start, when):
    """Ctrl-C reaches the whole group, as from a terminal; nothing is said, nothing is left."""
    count, large = (10, "1T") if when == "the body streams" else (10_000_000, "1K")
    with start("demo", "-n", count, "--large", large, start_new_session=True) as process:
        if when == "the server starts":
            wait_for_child(process.pid)
        else:
            assert process.stdout.readline().startswith(b"fastreq ")
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)

        assert 130 == process.wait(10)
        # Ends when the server has, which has the same stderr.
        assert b"" == process.stderr.read()
        assert b"were right" not in process.stdout.read()


def wait_for_child(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not children.exists():
        pytest.skip("the system does not tell of children")
    while not children.read_text():
        time.sleep(0.001)


@needs_posix
def test_terminal(on_terminal):
    """A line that changes tells how far it is; NO_COLOR is obeyed."""
    environment = {"NO_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "80"}
    streams = ("stdout", "stderr")
    shown = on_terminal(
        "demo", "-n", 3000, "--large", "16M", streams=streams, env=environment
    ).terminal

    assert re.search(rb"\d+ of \d+, \d+/s", shown)
    assert b"\r\x1b[K" in shown
    assert b"all 3000 answers were right" in shown
    for colour in (b"32m", b"36m", b"31m"):
        assert colour not in shown


# ---- servers that lie


def truth(path):
    _, kind, number = path.split("/")
    return item(int(number)) if kind == "item" else pattern(0, int(number))


LIES = {
    "byte": (lambda path: reply(truth(path)[:-1] + b"?"), "byte 45 is b'?', expected b'}'"),
    "length": (lambda path: reply(truth(path)[:-1]), "bytes, expected "),
    "status": (lambda path: reply(truth(path), status="203 Not Quite"), "status 203, expected 200"),
    "cut": (lambda path: reply(truth(path))[:-1], "IncompleteBody: "),
}


async def ask(lie_about, answer):
    """Run the demo against a server that answers one path by `answer`, and the others rightly."""

    async def handler(conn):
        while True:
            path = (await conn.read_request()).split()[1].decode()
            said = answer(path) if path == lie_about else reply(truth(path))
            await conn.send(said)
            if said[-1:] != truth(path)[-1:]:
                return

    async with scripted(handler) as server:
        site = SimpleNamespace(url=server.url(""), tls_url=None, ca_file=None)
        return await demonstrate(site, requests=20, concurrency=2, large=LARGE)


@pytest.mark.parametrize("lie", LIES)
async def test_lie(lie, capsys):
    answer, named = LIES[lie]
    code = await ask("/item/7", answer)
    out = capsys.readouterr().out

    assert 1 == code
    assert "1 answers were wrong" in out
    assert named in next(line for line in out.splitlines() if "/item/7: " in line)
    assert "were right" not in out


@pytest.mark.parametrize("lie", ["byte", "length", "cut"])
async def test_lie_about_the_large_body(lie, capsys):
    code = await ask(f"/bytes/{LARGE}", LIES[lie][0])
    out = capsys.readouterr().out

    assert 1 == code
    assert "1 answers were wrong" in out
    assert f"/bytes/{LARGE}" in out.splitlines()[-1]


async def test_truth(capsys):
    """The same without a lie, so that it is known to be the lie that was found."""
    assert 0 == await ask("", None)
    assert "all 20 answers were right" in capsys.readouterr().out


async def test_only_the_first_are_named(capsys):
    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(reply(b"nonsense"))

    async with scripted(handler) as server:
        site = SimpleNamespace(url=server.url(""), tls_url=None, ca_file=None)
        code = await demonstrate(site, requests=30, concurrency=3, large=0)
    out = capsys.readouterr().out

    assert 1 == code
    assert 5 == out.count("8 bytes, expected")
    assert out.endswith("\n  and 25 more\n")


async def test_nobody_there(capsys):
    """No answer at all is no division by zero."""
    site = SimpleNamespace(url="http://127.0.0.1:1", tls_url=None, ca_file=None)

    assert 1 == await demonstrate(site, requests=3, concurrency=3, large=1)
    assert "4 answers were wrong" in capsys.readouterr().out
