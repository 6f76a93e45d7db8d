"""`fastreq fetch`: every line one row, whatever happens on the way."""

import asyncio
import gzip
import json
import os
import random
import selectors
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from servers.counting import counting
from servers.scripted import reply, scripted

needs_many_hosts = pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def listed(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def rows_of(out):
    data = out.read_bytes()
    assert data.endswith(b"\n") or not data
    return sorted(map(json.loads, data.splitlines()), key=lambda row: row["index"])


def assert_each_once(urls, rows):
    assert Counter(enumerate(urls)) == Counter((row["index"], row["url"]) for row in rows)


def wait_for_size(path, size):
    deadline = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- what comes out


def test_each_line_one_row(cli, server, tmp_path, out):
    urls = [f"{server.url}/item/{n % 50}" for n in range(300)]
    done = cli("fetch", "-i", listed(tmp_path / "urls.txt", urls), "-o", out)
    rows = rows_of(out)

    assert (0, b"") == (done.code, done.out)
    assert_each_once(urls, rows)
    names = "index url final_url status ok error attempts elapsed timings bytes sha256 ts"
    assert all(names.split() == list(row) for row in rows)
    assert {(200, True, None, 1)} == {
        (row["status"], row["ok"], row["error"], row["attempts"]) for row in rows
    }
    assert done.errors.startswith("fetch: 300 done, 300 ok, 0 failed, ")
    assert 1 == len(done.errors.splitlines())


def test_bad_lines(cli, server, tmp_path, out):
    """Rows with an error, and never a stop; blank lines and comments are none."""
    lines = [
        f"{server.url}/hello", "", "# a comment", "no url", "http://[::1", "ftp://a/", "\x00",
        f"{server.url}/status/404", '{"url": 7}', '{"url": "x", "verb": "GET"}', "{torn",
        f'{{"url": "{server.url}/hello", "headers": {{"a b": "c"}}}}',
        f'{{"url": "{server.url}/hello", "headers": ["a"]}}',
        f'{{"url": "{server.url}/hello", "method": "G T"}}',
        f"{server.url}/hello", "[" * 20,
    ]  # fmt: skip
    path = tmp_path / "urls"
    path.write_bytes(b"".join(line.encode() + b"\r\n" for line in lines) + b"\xff\xfe\n")
    done = cli("fetch", "-i", path, "-o", out)
    rows = rows_of(out)

    assert 1 == done.code
    assert [0, 12] == [row["index"] for row in rows if row["ok"]]
    assert list(range(15)) == [row["index"] for row in rows]
    kinds = [row["error"]["type"] if row["error"] else row["status"] for row in rows]
    assert [200, "InvalidURL", "InvalidURL", "UnsupportedProtocol", "InvalidURL", 404] == kinds[:6]
    assert ["BadInput"] * 3 == kinds[6:9]
    assert all(row["error"]["message"] for row in rows if row["error"])
    assert "Traceback" not in done.errors


def test_stdin_to_stdout(cli, server):
    """Nothing but rows on stdout."""
    given = f"{server.url}/hello\n{server.url}/item/1\n".encode()
    done = cli(
        "fetch", "-i", "-", "-o", "-", "--progress", "json", "--bodies", "inline", given=given
    )
    rows = sorted(map(json.loads, done.out.splitlines()), key=lambda row: row["index"])

    assert 0 == done.code
    assert ["hello", '{"item": 1, "square": 1, "filler": "x"}'] == [row["body"] for row in rows]
    states = list(map(json.loads, done.errors.splitlines()))
    assert (2, 2, 0) == tuple(states[-1][name] for name in ("done", "ok", "failed"))


@pytest.mark.parametrize("kind", ["txt", "txt.gz", "jsonl", "csv", "xml", "xml.gz"])
def test_inputs(cli, server, tmp_path, out, kind):
    urls = [f"{server.url}/item/{n}" for n in range(20)]
    makers = {
        "txt": "".join(f"{url}\n" for url in urls),
        "jsonl": "".join(json.dumps({"url": url}) + "\n" for url in urls),
        "csv": "name,link\r\n" + "".join(f'"a ""b"", c",{url}\r\n' for url in urls),
        "xml": '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
        + "".join(f"<url><loc> {url} </loc><lastmod>2026</lastmod></url>\n" for url in urls)
        + "</urlset>",
    }
    data = makers[kind.removesuffix(".gz")].encode()
    path = tmp_path / f"urls.{kind}"
    path.write_bytes(gzip.compress(data) if kind.endswith(".gz") else data)
    more = ["--column", "link"] if kind == "csv" else []
    done = cli("fetch", "-i", path, "-o", out, *more)

    assert 0 == done.code, done.errors
    assert_each_once(urls, rows_of(out))


def test_a_csv_with_bad_rows(cli, server, tmp_path, out):
    path = tmp_path / "in.csv"
    url = f"{server.url}/hello".encode()
    path.write_bytes(b"a,url\n1,%b\n2\n3,%b\n4,%b\n" % (url, b"x" * 200_000, url))
    done = cli("fetch", "-i", path, "-o", out)

    assert 1 == done.code
    assert [True, False, False, True] == [row["ok"] for row in rows_of(out)]


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs /dev/null")
def test_into_a_device(cli, server, tmp_path):
    path = listed(tmp_path / "urls", [f"{server.url}/hello"])
    assert 0 == cli("fetch", "-i", path, "-o", "/dev/null").code


def test_requests(cli, server, tmp_path, out):
    """Method, headers and body of a JSON line."""
    headers = {"X-A": "1"}
    line = {"url": f"{server.url}/echo", "method": "PUT", "headers": headers, "body": "grüße"}
    path = listed(tmp_path / "in.jsonl", [json.dumps(line), json.dumps(f"{server.url}/hello")])
    done = cli("fetch", "-i", path, "-o", out, "--bodies", "inline")
    first, second = rows_of(out)
    said = json.loads(first["body"])

    assert 0 == done.code, done.errors
    assert ("PUT", "grüße".encode().decode("latin-1")) == (said["method"], said["body"])
    assert ["X-A", "1"] in said["headers"]
    assert "hello" == second["body"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["-i", "URLS"],
        ["-o", "x"],
        ["-i", "/no/such/file", "-o", "x"],
        ["-i", "URLS", "-o", "-", "--resume"],
        ["-i", "URLS", "-o", "-", "--workers", "2"],
        ["-i", "URLS", "-o", "x", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"],
        ["-i", "URLS", "-o", "x", "--column", "url"],
        ["-i", "URLS", "-o", "URLS", "--resume"],
        ["-i", "URLS", "-o", "x", "--rate", "0"],
        ["-i", "URLS", "-o", "x", "--retries", "-1"],
        ["-i", "URLS", "-o", "x", "--concurrency", "0"],
        ["-i", "URLS", "-o", "x", "--format", "csv"],
        ["-i", "URLS", "-o", "x", "--format", "sitemap"],
    ],
    ids=" ".join,
)
def test_usage(cli, tmp_path, wrong):
    listed(tmp_path / "URLS", ["http://127.0.0.1:1/"])
    done = cli("fetch", *wrong, cwd=tmp_path)
    assert (2, b"") == (done.code, done.out)
    assert done.errors.startswith("fastreq: ")
    assert 1 == len(done.errors.splitlines())
    assert ["URLS"] == os.listdir(tmp_path)
    assert "http://127.0.0.1:1/\n" == (tmp_path / "URLS").read_text()


def test_an_output_that_is_there(cli, server, tmp_path, out):
    """It is neither overwritten nor mixed with another job's."""
    path = listed(tmp_path / "urls", [f"{server.url}/hello"])
    out.write_text("mine\n")
    for more in ([], ["--resume"]):
        assert 2 == cli("fetch", "-i", path, "-o", out, *more).code
        assert "mine\n" == out.read_text()

    out.unlink()
    assert 0 == cli("fetch", "-i", path, "-o", out).code
    before = out.read_bytes()
    listed(path, [f"{server.url}/json"])
    assert 2 == cli("fetch", "-i", path, "-o", out, "--resume").code
    assert before == out.read_bytes()


def test_what_was_begun_otherwise(cli, server, tmp_path, out):
    """Rows with bodies and rows without, or of lines that there are no more, are not mixed."""
    urls = [f"{server.url}/item/{n}" for n in range(4)]
    path = listed(tmp_path / "urls", urls)
    assert 0 == cli("fetch", "-i", path, "-o", out).code
    before = out.read_bytes()
    done = cli("fetch", "-i", path, "-o", out, "--resume", "--bodies", "inline")
    assert (2, before) == (done.code, out.read_bytes())
    assert "was begun with --bodies none" in done.errors

    listed(path, urls[:3])
    done = cli("fetch", "-i", path, "-o", out, "--resume")
    assert (2, before) == (done.code, out.read_bytes())
    assert "rows of 4 lines, the input 3" in done.errors

    listed(path, urls)
    done = cli("fetch", "-i", path, "-o", out, "--resume")
    assert (0, before) == (done.code, out.read_bytes())
    assert "nothing left to do, 4 rows are there" in done.errors


def test_bodies_in_files(cli, server, tmp_path, out):
    path = listed(tmp_path / "urls", [f"{server.url}/item/{n}" for n in range(30)])
    assert 0 == cli("fetch", "-i", path, "-o", out, "--bodies", "dir").code
    for row in rows_of(out):
        with open(row["body_path"], "rb") as file:
            assert row["bytes"] == len(file.read())


def test_bodies_that_were_torn(cli, server, tmp_path, out):
    """What a run that was killed has left of a body is removed by the next, and nothing else."""
    folder = out.with_name("out.jsonl.bodies") / "000000"
    folder.mkdir(parents=True)
    for name in ("000000000.1234.tmp", "mine.tmp"):
        (folder / name).write_text("half")
    out.touch()
    path = listed(tmp_path / "urls", [f"{server.url}/hello"])
    assert 0 == cli("fetch", "-i", path, "-o", out, "--bodies", "dir", "--resume").code
    assert ["000000000", "mine.tmp"] == sorted(os.listdir(folder))


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_bodies_on_a_full_disk(cli, server, tmp_path, out):
    """No half of a body is left there."""
    import resource

    path = listed(tmp_path / "urls", [f"{server.url}/bytes/1000000"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        done = cli("fetch", "-i", path, "-o", out, "--bodies", "dir")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 23 == done.code
    assert [] == os.listdir(out.with_name("out.jsonl.bodies") / "000000")


def test_bodies_in_warc(cli, server, tmp_path, out):
    """Records that no row speaks of are cut off before it goes on, and rows say where theirs is."""
    pytest.importorskip("warcio")

    path = listed(tmp_path / "urls", [f"{server.url}/item/{n}" for n in range(30)])
    run = partial(cli, env={})  # in a process of its own, for warcio leaves files open
    assert 0 == run("fetch", "-i", path, "-o", out, "--bodies", "warc").code
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:20]) + lines[20][:30])
    warc = out.with_name("out.jsonl.warc.gz")
    warc.write_bytes(warc.read_bytes()[:-7])
    assert 0 == run("fetch", "-i", path, "-o", out, "--bodies", "warc", "--resume").code
    found = {record.rec_headers["WARC-Target-URI"]: body for record, body in records_of(warc)}
    assert {row["final_url"]: row["bytes"] for row in rows_of(out)} == {
        uri: len(body) for uri, body in found.items()
    }
    assert 30 == len(found)
    data = warc.read_bytes()
    for row in rows_of(out):
        start, length = row["warc"]["offset"], row["warc"]["length"]
        assert row["final_url"].encode() in gzip.decompress(data[start : start + length])


def records_of(warc):
    """The records, and the body of each."""
    from warcio.archiveiterator import ArchiveIterator

    with warc.open("rb") as file:
        return [(record, record.content_stream().read()) for record in ArchiveIterator(file)]


async def test_a_warc_of_what_is_not_ascii(cli_async, tmp_path, out):
    """Reasons and fields are kept as they were sent, and stop nothing."""
    pytest.importorskip("warcio")
    fields = "Content-Disposition: attachment; filename=\xe9.txt"
    answer = reply(b"no", fields, status="404 P\xe1gina")

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(answer)

    async with scripted(handler) as site:
        path = listed(tmp_path / "urls", [site.url(f"/{n}") for n in range(3)])
        run = partial(cli_async, env={})
        done = await run("fetch", "-i", path, "-o", out, "--bodies", "warc")
    assert 1 == done.code, done.errors
    assert [404] * 3 == [row["status"] for row in rows_of(out)]
    data = gzip.decompress(out.with_name("out.jsonl.warc.gz").read_bytes())
    for part in (answer.partition(b"\r\n")[0], fields.encode()):
        assert 3 == data.count(part)


@pytest.mark.parametrize("kind", ["dir", "warc"])
def test_bodies_that_are_there(cli, server, tmp_path, out, kind):
    """Another job's are not touched; those that rows speak of have to be there."""
    path = listed(tmp_path / "urls", [f"{server.url}/hello"])
    run = partial(cli, "fetch", "-i", path, "-o", out, "--bodies", kind, env={})
    if kind == "warc":
        pytest.importorskip("warcio")
        kept = others = out.with_name("out.jsonl.warc.gz")
    else:
        kept = out.with_name("out.jsonl.bodies")
        kept.mkdir()
        others = kept / "mine"
    others.write_bytes(b"precious")
    done = run()
    assert 2 == done.code
    assert "of another job" in done.errors
    assert b"precious" == others.read_bytes()
    assert not out.exists()

    others.unlink()
    assert 0 == run().code
    if kind == "warc":
        kept.unlink()
        done = run("--resume")
        assert 2 == done.code
        assert "has 0 bytes, and rows speak of" in done.errors


@pytest.mark.parametrize("more", [[], ["--workers", 1]], ids=["here", "workers"])
async def test_robots(cli_async, tmp_path, out, more):
    """Asked once, and kept to."""
    pytest.importorskip("protego")
    asked = []

    async def handler(conn):
        while True:
            path = (await conn.read_request()).split()[1].decode()
            asked.append(path)
            body = b"User-agent: *\nDisallow: /private\n" if path == "/robots.txt" else b"ok"
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with scripted(handler) as site:
        urls = [site.url(path) for path in ("/a", "/private/b", "/c")]
        path = listed(tmp_path / "urls", urls)
        done = await cli_async("fetch", "-i", path, "-o", out, "--robots", *more)
    rows = rows_of(out)

    assert 1 == done.code, done.errors
    assert [True, False, True] == [row["ok"] for row in rows]
    assert "RobotsDisallowed" == rows[1]["error"]["type"]
    assert ["/a", "/c", "/robots.txt"] == sorted(asked)


@pytest.mark.parametrize("more", [[], ["--workers", 1]], ids=["here", "workers"])
async def test_robots_behind_a_redirect(cli_async, tmp_path, out, more):
    """Where it leads has to be allowed, too."""
    pytest.importorskip("protego")
    asked = []

    async def handler(conn):
        while True:
            path = (await conn.read_request()).split()[1].decode()
            asked.append(path)
            if path == "/moved":
                await conn.send(reply(b"", "Location: /private/b", status="302 Found"))
            else:
                await conn.send(reply(b"User-agent: *\nDisallow: /private\n"))

    async with scripted(handler) as site:
        path = listed(tmp_path / "urls", [site.url("/moved")])
        done = await cli_async("fetch", "-i", path, "-o", out, "--robots", *more)
    (row,) = rows_of(out)
    assert 1 == done.code, done.errors
    assert "RobotsDisallowed" == row["error"]["type"]
    assert ["/robots.txt", "/moved"] == asked


# ---- what one host or the input does to the rest


async def test_retries_are_done(cli_async, tmp_path, out):
    """All of them: what fails in passing is no storm here, for each host has its limits."""
    failed = set()

    async def handler(conn):
        while True:
            path = (await conn.read_request()).split()[1]
            status = "200 OK" if path in failed else "503 Not Now"
            failed.add(path)
            await conn.send(reply(b"", "Retry-After: 0", status=status))

    async with scripted(handler) as site:
        path = listed(tmp_path / "urls", [site.url(f"/{n}") for n in range(40)])
        done = await cli_async("fetch", "-i", path, "-o", out)
    assert 0 == done.code, done.errors
    assert {2} == {row["attempts"] for row in rows_of(out)}


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_host_that_wants_a_pause_holds_up_nobody(start, cli, server, tmp_path, out):
    """With a crew of three: what comes behind is done, and it is said who is waited for."""

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(reply(b"", "Retry-After: 3600", status="429 Too Many"))

    with in_thread(handler) as paused:
        slow = [paused(f"/{n}") for n in range(20)]
        path = listed(tmp_path / "urls", slow + [f"{server.url}/item/{n}" for n in range(30)])
        command = ("fetch", "-i", path, "-o", out, "--concurrency", 3, "--progress", "json")
        with start(*command) as process:
            states = map(json.loads, process.stderr)
            state = next(state for state in states if state["ok"] == 30)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    assert paused("").rstrip("/") == state["waits_for"]
    assert state["waits_seconds"] > 100
    rows = rows_of(out)
    assert list(range(20, 50)) == [row["index"] for row in rows if row["ok"]]
    assert 0 < len(rows) - 30 <= 3


@contextmanager
def in_thread(handler):
    """A scripted server in a thread of its own; gives what makes its URLs."""

    async def serve():
        async with scripted(handler) as site:
            urls.append(site.url)
            ready.set()
            await asyncio.to_thread(over.wait)

    urls, ready, over = [], threading.Event(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield urls[0]
    finally:
        over.set()
        thread.join()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_slow_stdin(start, server):
    """Rows come as they finish, and nobody is blamed for the wait; Ctrl-C ends it."""
    with start("fetch", "-i", "-", "-o", "-", "--timeout", 30) as process:
        for number in range(3):
            process.stdin.write(f"{server.url}/item/{number}\n".encode())
            process.stdin.flush()
            row = json.loads(process.stdout.readline())
            assert (number, True) == (row["index"], row["ok"])
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        assert 130 == process.wait(20)
    assert b"Traceback" not in errors
    assert errors.startswith(b"fetch: ")  # how far it came


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_nobody_reads(start, server, tmp_path):
    """Ctrl-C ends it, though stdout takes no more."""
    path = listed(tmp_path / "urls", (f"no url {n}" for n in range(20_000)))
    with start("fetch", "-i", path, "-o", "-", "--progress", "bar") as process:
        assert process.stdout.read(1)
        with selectors.DefaultSelector() as selector:  # until it says nothing more: it is stuck
            selector.register(process.stderr, selectors.EVENT_READ)
            while selector.select(0.6):
                os.read(process.stderr.fileno(), 10_000)
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(20)
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_few_descriptors(start, server, tmp_path, out):
    """The soft limit is raised, as far as it may be."""
    path = listed(tmp_path / "urls", [f"{server.url}/delay/0.2?{n}" for n in range(80)])
    many = ("--concurrency", 80, "--per-host", 80, "--retries", 0)
    before = ("sh", "-c", 'ulimit -S -n 40; exec "$@"', "sh")
    with start("fetch", "-i", path, "-o", out, *many, before=before) as process:
        process.communicate(timeout=20)
    assert 0 == process.returncode
    assert 80 == len(rows_of(out))


# ---- ended in the midst of it


@needs_many_hosts
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed(start, cli, tmp_path, out, workers):
    """Three times: every line has one row, and no host more connections than it may have."""
    with counting() as server:
        urls = [f"http://127.0.1.{n % 64}:{server.port}/{n % 1500}" for n in range(3000)]
        path = listed(tmp_path / "urls", urls)
        more = ["--workers", workers] if workers else []
        command = ["fetch", "-i", path, "-o", out, "--per-host", 3, "--resume", *more]
        for turn in range(3):
            size = 90_000 * (turn + 1)
            with start(*command, start_new_session=True) as process:
                if workers:
                    wait_for_parts(out.with_name("out.jsonl.parts"), 3 * (turn + 1))
                else:
                    wait_for_size(out, size)
                os.killpg(process.pid, signal.SIGKILL)
        done = cli(*command)
        most, asked = server.most(), server.asked()
    assert 0 == done.code, done.errors
    assert_each_once(urls, rows_of(out))
    assert ["out.jsonl", "urls"] == sorted(os.listdir(tmp_path))
    assert 64 == len(most)
    assert max(most.values()) <= 3
    assert sum(asked.values()) < 3000 * 1.6


def wait_for_parts(folder, count):
    deadline = time.monotonic() + 20
    while len(list(folder.glob("*.jsonl"))) < count and time.monotonic() < deadline:
        time.sleep(0.005)


def test_a_torn_line(cli, server, tmp_path, out):
    """Cut at any byte, it is cut off and done again."""
    urls = [f"{server.url}/item/{n}" for n in range(6)]
    path = listed(tmp_path / "urls", urls)
    assert 0 == cli("fetch", "-i", path, "-o", out).code
    whole = out.read_bytes()
    for end in (len(whole) - 1, len(whole) - 100, len(whole) // 2, 1, 0):
        out.write_bytes(whole[:end])
        assert 0 == cli("fetch", "-i", path, "-o", out, "--resume").code
        assert_each_once(urls, rows_of(out))
        assert out.read_bytes().startswith(whole[:end].rpartition(b"\n")[0])


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted(start, cli, server, tmp_path, out, workers):
    """Ctrl-C ends it cleanly, and it is said how to go on."""
    urls = [f"{server.url}/delay/0.05?{n}" for n in range(200)]
    path = listed(tmp_path / "urls of mine", urls)
    more = ["--workers", workers] if workers else []
    with start("fetch", "-i", path, "-o", out, *more, start_new_session=True) as process:
        if workers:  # which start now; what a moment later would be like is chance
            wait_for_size(out.with_name("out.jsonl.parts"), 0)
            time.sleep(random.random() / 2)
        else:
            wait_for_size(out, 1)
        os.killpg(process.pid, signal.SIGINT)
        said, errors = process.communicate(timeout=20)
    assert (130, b"") == (process.returncode, said)
    assert b"Traceback" not in errors
    last = errors.decode().splitlines()[-1]
    assert last.startswith(f"to go on: {shlex.quote(sys.executable)} -m fastreq fetch -i '")
    assert last.endswith(" --resume")
    if not workers:
        assert 0 < len(rows_of(out)) < 200

    assert 0 == cli("fetch", "-i", path, "-o", out, *more, "--resume", "--per-host", 50).code
    assert_each_once(urls, rows_of(out))


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_two_at_once_are_refused(start, cli, server, tmp_path, out):
    path = listed(tmp_path / "urls", [f"{server.url}/hello", f"{server.url}/delay/30"])
    with start("fetch", "-i", path, "-o", out) as process:
        wait_for_size(out, 1)
        done = cli("fetch", "-i", path, "-o", out, "--resume")
        process.terminate()
    assert 23 == done.code
    assert "another process" in done.errors


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_bar_on_a_terminal(on_terminal, server, tmp_path, out):
    path = listed(tmp_path / "urls", [f"{server.url}/delay/0.01?{n}" for n in range(400)])
    code, _, shown = on_terminal("fetch", "-i", path, "-o", out, env={"TERM": "xterm"})
    assert 0 == code
    assert shown.count(b"\r\x1b[K") > 1
    assert b"400 done, 400 ok, 0 failed" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.parametrize("more", [[], ["--workers", 1]], ids=["here", "workers"])
def test_a_bar_that_is_broken_off(start, server, tmp_path, out, more):
    """How to go on is said in a line of its own, whether anything was done or not."""
    import pty

    path = listed(tmp_path / "urls", [f"{server.url}/delay/30"])
    main, terminal = pty.openpty()
    given = ["fetch", "-i", path, "-o", out, "--progress", "bar", *more]
    with start(*given, stderr=terminal, stdin=subprocess.DEVNULL) as process:
        os.close(terminal)
        shown = b""
        while b"0 done" not in shown:
            shown += os.read(main, 4096)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # as Linux says that nobody has the other end any more
            while data := os.read(main, 4096):
                shown += data
        assert 130 == process.wait(20)
    os.close(main)
    assert b"\r\x1b[Kto go on: " in shown


def test_memory_is_flat(start, server, tmp_path, out):
    """What is read and written does not pile up: 20,000 bad lines, and the peak of the process."""
    path = listed(tmp_path / "urls", (f"no url {n}" for n in range(20_000)))
    script = (
        "import sys; from fastreq.cli import main; code = main(sys.argv[1:]); "
        "peak = [line.split()[1] for line in open('/proc/self/status') if line[:5] == 'VmHWM']; "
        "print(code, *peak)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "fetch", "-i", path, "-o", out, "--progress", "none"],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
    )
    code, kilobytes = map(int, done.stdout.split())
    assert 1 == code
    assert 20_000 == len(rows_of(out))
    assert kilobytes < 100_000
