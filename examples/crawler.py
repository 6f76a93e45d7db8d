"""Crawl sites politely: a row for each page into NAME.jsonl, what came into NAME.warc.gz.

Stopped in any way, even by SIGKILL, the same command goes on. `pip install 'fastreq-http[crawl]'`.
"""

import argparse
import json
import os
from collections import Counter
from contextlib import suppress
from html.parser import HTMLParser
from io import BytesIO

from protego import Protego
from warcio import StatusAndHeaders, WARCWriter

import fastreq

AGENT = "fastreq-example"  # say who you are, and how to reach you
BEGIN = b'{"url": '  # of each row
ON_WIRE = {"content-encoding", "content-length", "transfer-encoding"}  # the body is decoded


async def main(options, rows, warc):
    done = rows_before(rows, warc)  # by URL: what has a row is not asked for again
    level = {fastreq.URL(url).redacted.partition("#")[0] for url in options.start}
    hosts = {www + fastreq.URL(url).host for url in level for www in ("", "www.")}  # no others
    pages, seen, rules = Counter(fastreq.URL(url).host for url in done), set(level), {}
    async with fastreq.Client(
        headers={"User-Agent": AGENT},
        policy=fastreq.Policy(rate=options.rate, max_connections=4),  # of each host
        timeout=fastreq.Timeout(read=options.timeout, total=10 * options.timeout),
        retry=fastreq.Retry(2, budget=None),  # when Retry-After says, where there is one
        max_body=2**20,
        follow_redirects=False,  # where one leads is a link like any other: see `Links`
    ) as client:
        for depth in range(options.depth + 1):
            wanted = []
            for url in sorted(level - done.keys()):
                host = fastreq.URL(url).host
                if pages[host] < options.pages and await may_ask(client, url, rules):
                    pages[host] += 1
                    wanted.append(url)
            async with client.map(wanted, total=len(wanted), progress=bool(wanted)) as results:
                async for result in results:
                    row = done[result.given] = row_of(result, depth, warc)
                    rows.write(json.dumps(row).encode() + b"\n")  # last: it says what is there
            links = {link for url in level & done.keys() for link in done[url]["links"]}
            level = {link for link in links - seen if fastreq.URL(link).host in hosts}
            seen |= level
    print(f"{len(done):,} pages are in {rows.name}; {len(level):,} more are deeper than --depth")
    return int(not any("status" in row for row in done.values()))


async def may_ask(client, url, rules):
    """What robots.txt says: without one all is allowed; if it cannot be read, nothing."""
    if (origin := fastreq.URL(url).origin) not in rules:
        try:
            answer = await client.get(f"{origin}/robots.txt", follow_redirects=True)
            text = "" if 400 <= answer.status < 500 else answer.raise_for_status().text
        except fastreq.FastreqError as error:
            print(f"{origin} is left alone, for its robots.txt cannot be read: {error}")
            text = "User-agent: *\nDisallow: /"
        rules[origin] = Protego.parse(text)
    return rules[origin].can_fetch(url, AGENT)


def row_of(result, depth, warc):
    """What is noted of a page, once it is in the WARC file itself."""
    row = {"url": result.given, "depth": depth, "links": [], "warc": [0, 0]}
    if (page := result.response) is None:
        return row | {"error": f"{type(result.error).__name__}: {result.error}"}
    fields = [field for field in page.headers.items() if field[0].lower() not in ON_WIRE]
    status = f"{page.status} {page.reason_phrase}".encode("ascii", "replace").decode()
    head = StatusAndHeaders(status, fields, page.http_version)
    writer, begin = WARCWriter(warc, gzip=True), warc.tell()
    body = {"payload": BytesIO(page.body), "length": len(page.body), "http_headers": head}
    writer.write_record(writer.create_warc_record(row["url"], "response", **body))
    where, links = [begin, warc.tell()], list(Links(page).found)
    return row | {"status": page.status, "links": links, "warc": where}


class Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.parse_marked_section = self.parse_bogus_comment  # else "<![x" may be an AssertionError
        self.base, self.found = page.url, {}
        if 300 <= page.status < 400:
            self.handle_starttag("a", [("href", page.headers.get("Location"))])
        elif "html" in page.headers.get("Content-Type", ""):
            self.feed(page.text)

    def handle_starttag(self, tag, attrs):
        with suppress(fastreq.FastreqError):  # no URL, or of mailto: and the like
            url = self.base.join((dict(attrs).get("href") or "").strip())
            if tag == "base":
                self.base = url
            elif tag == "a" and url.scheme in ("http", "https"):
                self.found[url.redacted.partition("#")[0]] = None


def rows_before(rows, warc):
    """The rows of a run that was stopped; what it was writing just then is cut off."""
    with suppress(ImportError):  # Windows has none
        import fcntl

        fcntl.flock(rows, fcntl.LOCK_EX | fcntl.LOCK_NB)
    rows.seek(0)
    *whole, torn = lines = rows.read().split(b"\n")
    if any(line[: len(BEGIN)] != BEGIN[: len(line)] for line in lines):
        raise ValueError(f"{rows.name} is no crawl's")
    done = {row["url"]: row for row in map(json.loads, whole)}
    end = max((row["warc"][1] for row in done.values()), default=0)
    if warc.seek(0, os.SEEK_END) < end:
        raise ValueError(f"{warc.name} is shorter than {rows.name} says")
    rows.truncate(rows.tell() - len(torn))
    warc.truncate(warc.seek(end))
    return done


if __name__ == "__main__":
    add = (parser := argparse.ArgumentParser(description=__doc__)).add_argument
    add("start", nargs="+", metavar="URL", help="no site but these is asked")
    add("--out", default="crawl", metavar="NAME", help="of the two files [crawl]")
    add("--pages", type=int, default=500, help="of one site, at most [500]")
    add("--depth", type=int, default=12, help="links from the start, at most [12]")
    add("--rate", type=float, default=10, help="requests a second to one host [10]")
    add("--timeout", type=float, default=10, help="seconds without a byte [10]")
    args = parser.parse_args()
    names = f"{args.out}.jsonl", f"{args.out}.warc.gz"
    mode = "ab" if os.path.exists(names[0]) else "xb"  # what no rows speak of is another's
    try:
        with open(names[1], mode, 0) as warc, open(names[0], "a+b", 0) as rows:
            parser.exit(fastreq.run(main(args, rows, warc)))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        parser.exit(130, "stopped; the same command goes on from here\n")
