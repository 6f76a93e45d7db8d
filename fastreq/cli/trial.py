"""What `fastreq demo` does: requests to the bundled server, each answer checked and timed."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, field
from hashlib import sha256
from time import perf_counter
from typing import NamedTuple, Protocol

from fastreq import URL, Client, FastreqError, Limits, StreamClient
from fastreq.bulk.progress import size_shown
from fastreq.cli.child import run_module
from fastreq.cli.memory import resident
from fastreq.cli.progress import progress
from fastreq.testing.routes import item, pattern

MOST_NAMED = 5  # wrong answers

NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}  # no other machine is asked


class Site(Protocol):
    """Where the bundled server is, or what stands in for it."""

    url: str
    tls_url: str | None
    ca_file: str | None


class Way(NamedTuple):
    """A way to the site: plain, or over TLS."""

    name: str
    url: str
    verify: str | bool
    tls_version: str


def ways_to(site: Site) -> list[Way]:
    """The ways that there are."""
    ways = [Way("plain", site.url, True, "-")]
    if site.tls_url is not None and site.ca_file is not None:
        version = _tls_version(URL(site.tls_url), site.ca_file)
        ways.append(Way("TLS", site.tls_url, site.ca_file, version))
    return ways


def _tls_version(url: URL, ca_file: str) -> str:
    """What is agreed upon there, such as "TLSv1.3"."""
    context = ssl.create_default_context(cafile=ca_file)
    with (
        socket.create_connection((url.host, url.effective_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=url.host) as secure,
    ):
        return secure.version() or "-"


@dataclass
class Wrong:
    """The answers that were not as they should be."""

    count: int = 0
    first: list[str] = field(default_factory=list)  # what was wrong with them

    def add(self, where: str, what: str) -> None:
        self.count += 1
        if len(self.first) < MOST_NAMED:
            self.first.append(f"{where}: {what}")

    def check(self, where: str, status: int, body: bytes, expected: bytes) -> None:
        if status != 200:
            self.add(where, f"status {status}, expected 200")
        elif body != expected:
            self.add(where, difference(body, expected))


def difference(body: bytes, expected: bytes) -> str:
    """How two that are not equal differ."""
    if len(body) != len(expected):
        return f"{len(body)} bytes, expected {len(expected)}"
    at = next(at for at, byte in enumerate(body) if byte != expected[at])
    return f"byte {at} is {body[at : at + 1]!r}, expected {expected[at : at + 1]!r}"


class Half(NamedTuple):
    """How the requests of one way went."""

    way: Way
    requests: int
    seconds: float
    latencies: list[float]  # seconds, of the answers that came, in ascending order
    opened: int  # connections
    reused: int  # times that a connection was used again


async def ask(way: Way, requests: int, concurrency: int, wrong: Wrong) -> Half:
    """Send GETs for /item/0, /item/1 ..., so many at a time, and check what comes."""
    limits = Limits(max_connections=concurrency, max_per_host=concurrency)
    latencies: list[float] = []
    async with (
        Client(verify=way.verify, limits=limits, trust_env=False) as client,
        progress(way.name, requests) as counter,
    ):
        urls = (f"{way.url}/item/{number}" for number in range(requests))
        started = perf_counter()
        async for result in client.map(urls, concurrency=concurrency):
            if result.response is None:
                wrong.add(result.given, f"{type(result.error).__name__}: {result.error}")
            else:
                response = result.response
                latencies.append(response.timings.total)
                wrong.check(result.given, response.status, response.body, item(result.index))
            counter.done += 1
        seconds = perf_counter() - started
        pool = client.stats().total
    return Half(way, requests, seconds, sorted(latencies), pool.opened, pool.reused)


async def fetch(way: Way, requests: int, wrong: Wrong) -> float:
    """Have `fastreq fetch` do so many from stdin to stdout, check its rows; gives the seconds."""
    urls = [f"{way.url}/item/{number}" for number in range(requests)]
    started = perf_counter()
    command = ("fastreq", "fetch", "-i", "-", "-o", "-", "--progress", "none")
    given = "\n".join(urls).encode()
    out = (await run_module(*command, given=given, environment=NO_PROXY)).out
    rows = {row["index"]: row for row in map(json.loads, out.splitlines())}
    if out.count(b"\n") != requests or len(rows) != requests:
        wrong.add("fastreq fetch", f"{out.count(10)} rows, expected {requests}")
    for number, row in rows.items():
        if row["sha256"] != sha256(item(number)).hexdigest():
            wrong.add(row["url"], f"fastreq fetch has {row['status']}, {row['error']}")
    return perf_counter() - started


class Streamed(NamedTuple):
    """How the large body went."""

    seconds: float
    growth: int  # bytes that the process grew by, at most


async def stream(way: Way, size: int, wrong: Wrong) -> Streamed:
    """Stream a body of `size` bytes, and check them as they come."""
    url = f"{way.url}/bytes/{size}"
    before = most = resident()
    offset = 0
    started = perf_counter()
    try:
        async with (
            StreamClient(verify=way.verify, trust_env=False) as client,
            progress("large body", size, size_shown) as counter,
        ):
            async for chunk in client.get(url):
                expected = pattern(offset, len(chunk))
                if chunk != expected:
                    wrong.add(f"{url}, from byte {offset}", difference(chunk, expected))
                    break
                offset = counter.done = offset + len(chunk)
                most = max(most, resident())
            else:
                if offset != size:
                    wrong.add(url, f"{offset} bytes, expected {size}")
    except FastreqError as error:
        wrong.add(url, f"{type(error).__name__}: {error}")
    return Streamed(perf_counter() - started, most - before)
