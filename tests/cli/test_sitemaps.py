"""`fastreq fetch -i sitemap.xml`: an index is followed, and what is wrong with it is a row."""

import gzip
import io
import json

import pytest
from servers.scripted import reply, scripted

from fastreq import FastreqError
from fastreq.bulk import sitemaps
from fastreq.bulk.sitemaps import Place, Sitemaps, read

HEAD = '<?xml version="1.0"?>'
SPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def sitemap(*urls):
    places = "".join(f"<url><loc> {url}</loc></url>\n" for url in urls)
    return f"{HEAD}<urlset {SPACE}>{places}</urlset>".encode()


def index(*urls):
    places = "".join(f"<sitemap><loc>{url}</loc></sitemap>\n" for url in urls)
    return f"{HEAD}<sitemapindex {SPACE}>{places}</sitemapindex>".encode()


class Site:
    """Sitemaps by path; pages are whatever else there is."""

    def __init__(self, **files):
        self.files = files
        self.asked = []

    async def __call__(self, conn):
        while True:
            path = (await conn.read_request()).split()[1].decode().lstrip("/")
            self.asked.append(path)
            body = self.files.get(path, b"page")
            status = "200 OK" if body else "404 Not Found"
            await conn.send(reply(body or b"", status=status))


def rows_of(path):
    return sorted(map(json.loads, path.read_text().splitlines()), key=lambda row: row["index"])


@pytest.mark.parametrize("workers", [[], ["--workers", 1]], ids=["one", "workers"])
async def test_an_index_is_followed(cli_async, tmp_path, workers):
    """Bad sitemaps are rows with an error, and never a stop."""
    site, out = Site(), tmp_path / "out.jsonl"
    async with scripted(site) as server:
        url = server.url
        site.files = {
            "a": sitemap(url("/1"), url("/2")),
            "b": gzip.compress(sitemap(url("/3"))),
            "nested": index(url("/a")),
            "gone": None,
            "torn": sitemap(url("/4"), url("/5"))[:-5],
            "html": b"<html><p>no</html>",
        }
        named = ["a", "gone", "nested", "torn", "html", "a", "b"]
        given = tmp_path / "sitemap.xml.gz"
        given.write_bytes(gzip.compress(index(*(url(f"/{name}") for name in named), "no url")))
        done = await cli_async("fetch", "-i", given, "-o", out, *workers)
        asked = len(site.asked)
        again = await cli_async("fetch", "-i", given, "-o", out, *workers, "--resume")
        assert (done.code, asked) == (again.code, len(site.asked))
    rows = rows_of(out)

    assert 1 == done.code, done.errors
    assert list(range(len(rows))) == [row["index"] for row in rows]
    assert {url(f"/{n}") for n in "12345"} == {row["url"] for row in rows if row["ok"]}
    wrong = [row for row in rows if not row["ok"]]
    assert 6 == len(wrong)
    said = "\n".join(row["error"]["message"] + row["url"] for row in wrong)
    for what in ("404 Not Found", "an index in an index", "no sitemap", "twice", "no url"):
        assert what in said
    assert 1 == site.asked.count("a")


@pytest.mark.parametrize("workers", [[], ["--workers", 1]], ids=["one", "workers"])
async def test_sitemaps_are_not_asked_for_where_robots_may_not(cli_async, tmp_path, workers):
    pytest.importorskip("protego", reason="protego is not installed")
    site, out = Site(), tmp_path / "out.jsonl"
    async with scripted(site) as server:
        site.files = {
            "robots.txt": b"User-agent: *\nDisallow: /b\n",
            "a": sitemap(server.url("/1")),
            "b": sitemap(server.url("/2")),
        }
        given = tmp_path / "sitemap.xml"
        given.write_bytes(index(server.url("/a"), server.url("/b")))
        done = await cli_async("fetch", "-i", given, "-o", out, "--robots", *workers)
    assert 1 == done.code, done.errors
    assert [server.url("/1"), server.url("/b")] == [row["url"] for row in rows_of(out)]
    assert "b" not in site.asked


async def test_going_on_finds_the_same_places(cli_async, tmp_path):
    """What a sitemap named is kept: it may have changed, and rows are known by their number."""
    site, out = Site(), tmp_path / "out.jsonl"
    async with scripted(site) as server:
        site.files = {"a": None, "b": sitemap(server.url("/1"), server.url("/2"))}
        given = tmp_path / "sitemap.xml"
        given.write_bytes(index(server.url("/a"), server.url("/b")))
        command = ["fetch", "-i", given, "-o", out]
        assert 1 == (await cli_async(*command)).code
        first = rows_of(out)
        out.write_text("".join(json.dumps(row) + "\n" for row in first[:2]))
        site.files = {"a": sitemap(server.url("/8"), server.url("/9"))}
        assert 1 == (await cli_async(*command, "--resume")).code
        assert [row["url"] for row in first] == [row["url"] for row in rows_of(out)]
        assert 1 == site.asked.count("b")

        mine = tmp_path / "out.jsonl.sitemaps" / "mine"
        mine.write_text("precious")
        for more in [], ["--resume"]:  # begun anew, it is asked for anew
            out.unlink()
            site.files["a"] = sitemap(server.url(f"/8{len(more)}"))
            await cli_async(*command, *more)
            assert server.url(f"/8{len(more)}") in {row["url"] for row in rows_of(out)}
        assert "precious" == mine.read_text()


@pytest.mark.parametrize("workers", [[], ["--workers", 1]], ids=["one", "workers"])
async def test_a_folder_of_others(cli_async, tmp_path, workers):
    """A list has no use for a folder of that name."""
    others = tmp_path / "out.jsonl.sitemaps" / "000000.json"
    others.parent.mkdir()
    others.write_text("precious")
    given = tmp_path / "urls"
    given.write_text("no url\n")
    assert 1 == (await cli_async("fetch", "-i", given, "-o", tmp_path / "out.jsonl", *workers)).code
    assert "precious" == others.read_text()


# ---- without a server


def test_places():
    assert [Place("http://a/")] == list(sitemaps.places(io.BytesIO(sitemap("http://a/"))))
    assert [Place("http://a/", True)] == list(sitemaps.places(io.BytesIO(index("http://a/"))))
    plain = b"<urlset><url><loc>http://a/</loc></url></urlset>"
    assert [Place("http://a/")] == list(sitemaps.places(io.BytesIO(plain)))


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (gzip.compress(b"x" * 2001), "more than 2000 bytes"),
        (b"x" * 2001, "more than 2000 bytes"),
        (gzip.compress(sitemap("http://a/"))[:-9], "no whole gzip file"),
        (b"\x1f\x8b", "no whole gzip file"),
        (b"", "that is no sitemap"),
        (index("http://a/"), "an index in an index"),
        (index("http://a/")[:-9], "an index in an index"),
    ],
    ids="gzip-bomb large torn-gzip no-gzip empty nested torn-nested".split(),
)
def test_bad_sitemaps(monkeypatch, body, error):
    monkeypatch.setattr(sitemaps, "MAX_SIZE", 2000)
    (found,) = read("http://a/sitemap.xml", body)
    assert "http://a/sitemap.xml" == found.url
    assert error in found.error


def test_too_many_places(monkeypatch):
    monkeypatch.setattr(sitemaps, "MAX_PLACES", 2)
    found = read("http://a/", sitemap(*"123"))
    assert ["1", "2", "http://a/"] == [place.url for place in found]
    assert "more than 2 places" in found[2].error
    assert 2 == len(read("http://a/", sitemap(*"12")))


async def test_too_many_sitemaps(monkeypatch, tmp_path):
    monkeypatch.setattr(sitemaps, "MAX_SITEMAPS", 1)

    async def get(url):
        raise FastreqError("not there")

    following = Sitemaps(get, str(tmp_path / "kept"), goes_on=False)
    assert [Place("a", error="no sitemap: not there")] == await following.follow("a")
    (found,) = await following.follow("b")
    assert "more than 1 sitemaps" in found.error

    with pytest.raises(ValueError, match="of another index"):
        await Sitemaps(get, str(tmp_path / "kept"), goes_on=True).follow("b")
