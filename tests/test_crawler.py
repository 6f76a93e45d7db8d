"""examples/crawler.py gets what can be reached and is allowed, each page once, whatever happens.

It runs as users run it, in a process of its own, against sites of this process. What it has to
find is computed here from the sites' links.
"""

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urljoin

import pytest
from servers.scripted import Connection, reply, scripted

pytest.importorskip("protego", reason="it keeps to robots.txt")
pytest.importorskip("warcio", reason="it writes a WARC file")
resource = pytest.importorskip("resource", reason="Windows limits no memory")

CRAWLER = Path(__file__).parent.parent / "examples" / "crawler.py"
PAGES = 2000
DEPTH = 13  # the 2,000 pages are a tree of ten levels
HUGE = 2**30
SMALL_MEMORY = 512 * 2**20  # bytes of heap that the crawler may have, with its Python

ROBOTS = b"User-agent: *\nDisallow: /private\nAllow: /private/open\nDisallow: /*.pdf$\n"

TRAPS = """
    <![broken[<p <a href=/lost <table></a></b><A HREF='/shouted'>x<a href=unquoted>&#xZZ;
    <a href="/huge">1 GiB</a> <a href="/slow">never</a> <a href="/loop/a">a circle</a>
    <a href="/calendar/0">endless</a> <a href="/hop/0">endless, too</a> <a href="/404">gone</a>
    <a href="/private/x">no</a> <a href="/private/open">yes</a> <a href="/a.pdf">no</a>
    <a href="/to-private">by a redirect</a> <a href="/to-elsewhere">another</a>
    <a href="http://elsewhere.invalid/">another site</a> <a href="mailto:a@b.example">mail</a>
    <a href="javascript:alert(1)">script</a> <a href="http+unix://%2Frun%2Fx.sock/">a socket</a>
    <a href="http://[broken">no URL</a> <a href="">itself</a> <a>none</a>
    <a href="/text">no HTML</a>
"""
OF_TRAPS = """
    /shouted /unquoted /huge /slow /loop/a /calendar/0 /hop/0 /404 /private/open /to-private
    /to-elsewhere /text
""".split()
LEADS = {"/loop/a": "/loop/b", "/loop/b": "/loop/a", "/to-private": "/private/x"}
"""Redirects; besides, `/hop/0` leads to `/hop/1` and so on, and `/to-elsewhere` away."""

NOT_HTML = reply(b'<a href="/not-html">', "Content-Type: text/plain")


class Site:
    """A site in this process."""

    def __init__(self, pages: int, beside: str = "") -> None:
        self.pages = pages
        self.beside = beside  # another site that is linked
        self.asked: Counter[str] = Counter()
        self.reached: dict[int, asyncio.Event] = {}  # by the number of requests
        self.sent = 0  # bytes of the huge page

    def links(self, path: str) -> list[str]:
        """Where a page leads to, on this site."""
        kind, _, number = path[1:].partition("/")
        if path == "/":
            return ["/page/0", *OF_TRAPS]
        if kind == "page":
            n = int(number)
            children = [2 * n + 1, 2 * n + 2, n // 2, (n * 7) % self.pages]
            return [f"/page/{m}" for m in children if m < self.pages]
        if kind in ("calendar", "hop"):
            return [f"/{kind}/{int(number) + 1}"]
        return [LEADS[path]] if path in LEADS else []

    def expected(self, depth: int) -> set[str]:
        """The paths that are to be found: all that are linked and allowed, up to a depth."""
        found = level = {"/"}
        for _ in range(depth):
            level = {link for path in level for link in self.links(path)} - found - {"/private/x"}
            found = found | level
        return found

    def page(self, path: str) -> bytes:
        if path == "/robots.txt":
            return reply(ROBOTS, "Content-Type: text/plain")
        if path in LEADS or path.startswith("/hop/"):
            return reply(b"", f"Location: {self.links(path)[0]}", status="302 Found")
        if path == "/to-elsewhere":
            return reply(b"", "Location: http://elsewhere.invalid/x", status="301 Moved")
        if path == "/404":
            return reply(b"<a href='/private/x'>", "Content-Type: text/html", status="404 Not Here")
        if path == "/text":
            return NOT_HTML
        if path == "/":
            page = f'<a href=" page/0 ">{TRAPS}<a href="{self.beside}">'
        else:
            page = path + "".join(f'<a href="{link}#here"> ' for link in self.links(path))
        return reply(page.encode(), "Content-Type: text/html")

    async def serve(self, conn: Connection) -> None:
        while True:
            path = (await conn.read_request()).split()[1].decode()
            self.asked[path] += 1
            if event := self.reached.get(self.asked.total()):
                event.set()
            if path == "/slow":
                await conn.wait_closed()
                return
            if path == "/huge":
                await self._send_huge(conn)
            await conn.send(self.page(path))

    async def _send_huge(self, conn: Connection) -> None:
        await conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + bytes(2**16) + b"\r\n"
        while self.sent < HUGE:
            await conn.send(piece)
            self.sent += 2**16


class Busy(Site):
    """A site that refuses everything for a second, from its first request on."""

    refused = 0
    _ready: asyncio.Event | None = None

    def page(self, path: str) -> bytes:
        if self._ready is None:
            self._ready = asyncio.Event()
            asyncio.get_running_loop().call_later(1, self._ready.set)
        if not self._ready.is_set():
            self.refused += 1
            return reply(b"", "Retry-After: 1", status="429 Too Many Requests")
        return super().page(path) if path == "/robots.txt" else reply(b"welcome")


@asynccontextmanager
async def crawling(urls: list[str], out: Path, *options: str):
    """A crawler that runs; it is killed where it is left early."""
    line = [sys.executable, "-W", "error", str(CRAWLER), *urls, "--out", str(out)]
    process = await asyncio.create_subprocess_exec(
        *line,
        "--rate=1e5",
        *options,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    if hasattr(resource, "prlimit"):  # Linux
        resource.prlimit(process.pid, resource.RLIMIT_DATA, (SMALL_MEMORY, SMALL_MEMORY))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def crawl(urls: list[str], out: Path, *options: str) -> None:
    """Run it to its end."""
    async with crawling(urls, out, *options) as process:
        said = (await process.communicate())[0].decode()
        assert 0 == process.returncode, said
        assert "Exception" not in said  # nor does it leave files open


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in Path(f"{out}.jsonl").read_text().splitlines()]


def records_of(out: Path) -> list[tuple[str, str, bytes]]:
    """URL, status and body of each record, as warcio reads them."""
    from warcio.archiveiterator import ArchiveIterator

    with open(f"{out}.warc.gz", "rb") as file:
        return [
            (
                record.rec_headers.get_header("WARC-Target-URI"),
                record.http_headers.get_statuscode(),
                record.content_stream().read(),
            )
            for record in ArchiveIterator(file)
        ]


def check(site: Site, base: str, out: Path, depth: int) -> dict[str, dict]:
    """Each page that is to be found has one row, and one record in the same order; gives the rows
    by path."""
    rows = [row for row in rows_of(out) if row["url"].startswith(base)]
    paths = [row["url"].removeprefix(base) for row in rows]
    assert sorted(site.expected(depth)) == sorted(paths)

    came = [row for row in rows_of(out) if "error" not in row]
    records = records_of(out)
    assert [(row["url"], str(row["status"])) for row in came] == [r[:2] for r in records]
    for url, _, body in records:
        if url.startswith(base):
            assert body == site.page(url.removeprefix(base)).partition(b"\r\n\r\n")[2]
    return dict(zip(paths, rows, strict=True))


def test_a_site_with_traps(tmp_path):
    asyncio.run(a_site_with_traps(tmp_path / "crawl"))


async def a_site_with_traps(out: Path) -> None:
    """All that is allowed is found, once, and no trap holds the crawler, or fills its memory."""
    busy, site = Busy(1), Site(PAGES)
    async with scripted(busy.serve) as other, scripted(site.serve) as server:
        # By name it is another site.
        site.beside = other.url("/welcome", host="localhost")
        base = server.url("")
        options = ["--depth", str(DEPTH), "--pages", "5000", "--timeout", "0.3"]
        await crawl([server.url(), site.beside], out, *options)

    rows = check(site, base, out, DEPTH)
    assert PAGES == sum(path.startswith("/page/") for path in rows)
    assert "BodyTooLarge" in rows["/huge"]["error"]
    assert site.sent < 2**25  # what the sockets hold, beside a MiB
    assert "ReadTimeout" in rows["/slow"]["error"]
    assert 302 == rows["/loop/b"]["status"]
    assert [urljoin(base, "/calendar/1")] == rows["/calendar/0"]["links"]
    assert "http://elsewhere.invalid/" in rows["/"]["links"]  # noted, and not asked
    assert not any("unix" in link for link in rows["/"]["links"])
    assert {"/slow": 3} == {path: n for path, n in site.asked.items() if n > 1}

    assert [site.beside] == [row["url"] for row in rows_of(out) if "localhost" in row["url"]]
    assert (1, 2) == (busy.refused, busy.asked["/robots.txt"])


def test_killed_at_any_moment(tmp_path):
    asyncio.run(killed_at_any_moment(tmp_path / "crawl"))


async def killed_at_any_moment(out: Path) -> None:
    """Killed again and again, with half a row and half a record left: it ends with the same."""
    site, depth = Site(200), 9
    async with scripted(site.serve) as server:
        options = ["--depth", str(depth), "--timeout", "0.3"]
        for requests in (40, 41, 130):
            event = site.reached[site.asked.total() + requests] = asyncio.Event()
            async with crawling([server.url()], out, *options):
                await event.wait()
        before = Path(f"{out}.jsonl").read_bytes()
        assert before.count(b"\n") > 40  # else it was killed before it did anything

        os.truncate(f"{out}.jsonl", len(before) - 3)
        with open(f"{out}.warc.gz", "ab") as file:
            file.write(b"half a record")
        await crawl([server.url()], out, *options)
        check(site, server.url(""), out, depth)

        asked = site.asked.copy()
        await crawl([server.url()], out, *options)
        assert {"/robots.txt": 1} == site.asked - asked


def test_stopped_by_ctrl_c(tmp_path):
    asyncio.run(stopped_by_ctrl_c(tmp_path / "crawl"))


async def stopped_by_ctrl_c(out: Path) -> None:
    """It says how to go on, and shows no traceback; nor where it cannot write at all."""
    site = Site(200)
    async with scripted(site.serve) as server:
        event = site.reached[10] = asyncio.Event()
        async with crawling([server.url()], out) as process:
            await event.wait()
            process.send_signal(signal.SIGINT)
            said = (await process.communicate())[0].decode()
            assert (130, 0) == (process.returncode, said.count("Traceback")), said
            assert said.endswith("goes on from here\n")
        async with crawling([server.url()], out / "not" / "there") as process:
            said = (await process.communicate())[0].decode()
            assert (2, 0) == (process.returncode, said.count("Traceback")), said


async def refused(*arguments: object) -> str:
    """Run it with what is wrong; gives what it says."""
    line = [sys.executable, "-W", "error", str(CRAWLER), *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(
        *line,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    assert (2, 0) == (process.returncode, said.count("Traceback")), said
    return said


@pytest.mark.parametrize(
    "wrong",
    [["http://[broken"], ["http://a/", "--rate", "0"], ["http://a/", "--timeout", "nan"]],
    ids=" ".join,
)
def test_wrong_arguments(tmp_path, wrong):
    assert "usage: " in asyncio.run(refused(*wrong, "--out", tmp_path / "crawl"))


@pytest.mark.parametrize("data", [b'{"precious": 1}', b'{"precious": 1}\n', b"[]\n", b"\xff\n"])
def test_files_of_others(tmp_path, data):
    """They are left as they are."""
    out = tmp_path / "crawl"
    rows, warc = Path(f"{out}.jsonl"), Path(f"{out}.warc.gz")
    warc.write_bytes(b"precious")
    assert "File exists" in asyncio.run(refused("http://127.0.0.1:1/", "--out", out))
    rows.write_bytes(data)
    assert "is no crawl's" in asyncio.run(refused("http://127.0.0.1:1/", "--out", out))
    assert (data, b"precious") == (rows.read_bytes(), warc.read_bytes())


def test_two_at_once(tmp_path):
    asyncio.run(two_at_once(tmp_path / "crawl"))


async def two_at_once(out: Path) -> None:
    """The second is refused, and the rows are not doubled."""
    pytest.importorskip("fcntl")
    site = Site(200)
    async with scripted(site.serve) as server:
        event = site.reached[2] = asyncio.Event()
        async with crawling([server.url("/slow")], out):
            await event.wait()
            said = await refused(server.url("/slow"), "--out", out)
    assert "unavailable" in said


def test_what_is_not_ascii(tmp_path):
    asyncio.run(what_is_not_ascii(tmp_path / "crawl"))


async def what_is_not_ascii(out: Path) -> None:
    """A reason that is not ends nothing."""

    async def serve(conn: Connection) -> None:
        while True:
            await conn.read_request()
            await conn.send(reply(b"no", status="404 P\xe1gina"))

    async with scripted(serve) as server:
        await crawl([server.url("/")], out)
    assert [404] == [row["status"] for row in rows_of(out)]
    assert [b"no"] == [body for _, _, body in records_of(out)]


def test_nobody_is_there(tmp_path):
    asyncio.run(nobody_is_there(tmp_path / "crawl"))


async def nobody_is_there(out: Path) -> None:
    """That is no success, and neither is what is no URL."""
    for url in ("http://127.0.0.1:1/", "no url", "ftp://a/"):
        async with crawling([url], out) as process:
            said = (await process.communicate())[0].decode()
        assert (process.returncode, said.count("Traceback")) in ((1, 0), (2, 0)), said


def test_it_is_short():
    """As README says of it."""
    assert sum(map(bool, CRAWLER.read_text().splitlines())) < 120


def test_no_more_pages_than_one_wants(tmp_path):
    asyncio.run(no_more_pages_than_one_wants(tmp_path / "crawl"))


async def no_more_pages_than_one_wants(out: Path) -> None:
    """`--pages` holds, also over two runs."""
    site = Site(200)
    async with scripted(site.serve) as server:
        for pages in (30, 50):
            await crawl([server.url("/page/0")], out, "--pages", str(pages))
            assert pages == len({row["url"] for row in rows_of(out)}) == len(rows_of(out))
