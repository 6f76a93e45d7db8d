"""What is asked of each client, and which of them are asked in the short form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["get", "post", "upload", "stream", "map", "import"]

RIVALS = ("fastreq", "pyreqwest", "wreq", "aiohttp")  # the fastest others, and the best known
REST = ("primp", "curl_cffi", "aiosonic", "zapros", "httpx2", "niquests", "requests", "httpx")


@dataclass(frozen=True)
class Scenario:
    """One load."""

    title: str
    answer: str = "small"  # which of `Site.answers`
    kind: Kind = "get"
    callers: int = 64  # at once: each sends when it has its answer
    tls: bool = False
    origins: bool = False  # many, instead of one
    distinct: bool = False  # each URL is another
    neighbours: int = 0  # requests at once to what is slow, beside those that are measured
    seconds: float = 0.5  # in the short form
    clients: tuple[str, ...] = RIVALS  # in the short form
    once: tuple[str, ...] = ()  # in its first round alone: they take long, and are far off
    metric: str = "cpu_us"  # what the table shows, of what the worker gives


SCENARIOS: dict[str, Scenario] = {
    "small": Scenario(
        "66 bytes of JSON, 64 at once",
        clients=("floor", *RIVALS, "fastreq-asyncio", "httpx2"),
        once=REST,
    ),
    "tls": Scenario(
        "the same over TLS", tls=True, clients=("floor", *RIVALS, "fastreq-asyncio"), once=REST
    ),
    "64k": Scenario("64 KiB, 64 at once", "64k", clients=("floor", *RIVALS)),
    "10m": Scenario("10 MiB, 4 at once", "10m", callers=4, clients=("floor", *RIVALS)),
    "chunked": Scenario("1 MiB in chunks, 16 at once", "chunked", callers=16),
    "gzip": Scenario(
        "100 KB of JSON by gzip, 32 at once", "gzip", callers=32, clients=(*RIVALS, "fastreq-bare")
    ),
    "post": Scenario(
        "POST of 1 KB of JSON, 64 at once", "post", kind="post", clients=(*RIVALS, "fastreq-bare")
    ),
    "c1": Scenario(
        "66 bytes, one at a time", callers=1, clients=("floor", *RIVALS), metric="p50_us"
    ),
    "c1000": Scenario("66 bytes, 1,000 at once", callers=1000, seconds=0.8),
    "c5000": Scenario("66 bytes, 5,000 at once", callers=5000, seconds=1.0),
    "origins": Scenario(
        "1,000 origins, 2 connections each", callers=2000, origins=True, seconds=0.8
    ),
    "connect": Scenario("a new connection each time, 16 at once", "close", callers=16),
    "connect-tls": Scenario(
        "a new TLS connection each time, 16 at once", "close", callers=16, tls=True
    ),
    "slow": Scenario(
        "8 at once, beside 32 slow answers", callers=8, neighbours=32, metric="p99_us"
    ),
    "upload": Scenario("100 MB from a file", "upload", kind="upload", callers=1, seconds=0.1),
    "stream": Scenario(
        "a large body into a file",
        "large",
        kind="stream",
        callers=1,
        metric="megabytes_per_second",
    ),
    "distinct": Scenario("66 bytes, each URL another, 64 at once", distinct=True),
    "map": Scenario("the same by client.map", kind="map", distinct=True, clients=("fastreq",)),
    "import": Scenario(
        "import", kind="import", clients=("fastreq",), once=(*RIVALS[1:], *REST), metric="import_ms"
    ),
}

MAPPED = {"short": 100_000, "full": 1_000_000}
"""Requests of `map`."""

LARGE = {"short": 2**28, "full": 2**30}
"""Bytes of the large body."""
