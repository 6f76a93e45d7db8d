"""What fastreq's memory goes to, each figure from a process of its own.

    python benchmarks/memory.py            # a minute
    python benchmarks/memory.py --full     # and 1,000,000 requests, instead of 100,000
    python benchmarks/memory.py --json

The figures are the growth of resident memory, over so many of a kind, divided by their number;
the server is as in server.py. Linux alone tells it.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from measure import allow_many_connections, resident_bytes
from served import Site
from server import cores, serving

import fastreq

Figures = dict[str, float]

UNLIMITED = fastreq.Limits(max_connections=None, max_per_host=None, keepalive_expiry=3600)


async def settled() -> int:
    """Resident memory, when garbage is gone, and what malloc keeps for later is given back."""
    await asyncio.sleep(0.05)  # the loop still holds the results of what has just ended
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    return resident_bytes()


async def connections(site: Site, count: int, *, tls: bool, then: str) -> Figures:
    """So many idle connections, before and after each has carried a large body."""
    url = (site.tls_url or "") if tls else site.url
    small, large = url + site.answers["small"][0], url + site.answers[then][0]
    ca_file = site.ca_file if tls else None
    async with fastreq.Client(limits=UNLIMITED, verify=ca_file or True) as client:
        await client.get(small)
        before = await settled()
        await all_at_once(client, small, count)
        idle = await settled()
        await all_at_once(client, large, count)
        after = await settled()
        opened = client.stats().total.idle
    if opened != count:
        raise RuntimeError(f"{opened} idle connections instead of {count}")
    return {"idle": (idle - before) / count, "after": (after - before) / count}


async def all_at_once(client: fastreq.Client, url: str, count: int) -> None:
    """So many requests, each on a connection of its own, since all ask before one is answered."""
    await asyncio.gather(*(client.get(url) for _ in range(count)))


async def queued(site: Site, count: int) -> Figures:
    """So many requests in line, each with the task that waits for it."""
    limits = fastreq.Limits(max_connections=1)
    async with fastreq.Client(limits=limits) as client:
        await client.get(site.url + site.answers["small"][0])
        before = await settled()
        slow = site.url + site.answers["slow"][0]
        tasks = [asyncio.create_task(client.get(slow)) for _ in range(count)]
        await asyncio.sleep(1)
        figure = (await settled() - before) / count
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {"queued": figure}


async def tasks(site: Site, count: int) -> Figures:
    """A task that waits for nothing of ours."""
    before = await settled()
    made = [asyncio.create_task(asyncio.sleep(60)) for _ in range(count)]
    await asyncio.sleep(1)
    figure = (await settled() - before) / count
    for task in made:
        task.cancel()
    await asyncio.gather(*made, return_exceptions=True)
    return {"task": figure}


async def clients(site: Site, count: int) -> Figures:
    """So many clients: as they are made, and when each has one idle connection."""
    url = site.url + site.answers["small"][0]
    async with fastreq.Client() as first:
        await first.get(url)
    before = await settled()
    made = [fastreq.Client() for _ in range(count)]
    fresh = await settled()
    for client in made:
        await client.get(url)
    used = await settled()
    for client in made:
        await client.aclose()
    return {"fresh": (fresh - before) / count, "used": (used - before) / count}


async def many(site: Site, count: int) -> Figures:
    """So many connections at once in one process, each used twice."""
    count = min(count, most_connections())
    url = site.url + site.answers["small"][0]
    async with fastreq.Client(limits=UNLIMITED) as client:
        await client.get(url)
        before = await settled()
        for _ in range(2):
            responses = await asyncio.gather(*(client.get(url) for _ in range(count)))
            wrong = [response for response in responses if response.status != 200]
            if wrong:
                raise RuntimeError(f"{len(wrong)} answers are no 200")
            del responses
        after = await settled()
        total = client.stats().total
    return {"connections": total.opened, "megabytes": (after - before) / 1e6}


async def growth(site: Site, count: int) -> Figures:
    """From the 10,000th request to the last."""
    url = site.url + site.answers["small"][0]
    left = count

    async def ask() -> None:
        nonlocal left
        while left > until:
            left -= 1
            await client.get(url)

    async with fastreq.Client(limits=UNLIMITED) as client:
        until = count - 10_000
        await asyncio.gather(*(ask() for _ in range(64)))
        before, blocks = await settled(), sys.getallocatedblocks()
        until = 0
        await asyncio.gather(*(ask() for _ in range(64)))
        after = await settled()
        return {
            "requests": count,
            "kilobytes": (after - before) / 1e3,
            "blocks": sys.getallocatedblocks() - blocks,
        }


def most_connections() -> int:
    """Those that this user may have, with some files to spare."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if most == resource.RLIM_INFINITY else most - 200


MEASURES: dict[str, Callable[[Site], Awaitable[Figures]]] = {
    "plain": partial(connections, count=300, tls=False, then="chunked"),
    "tls": partial(connections, count=300, tls=True, then="chunked"),
    "queued": partial(queued, count=10_000),
    "tasks": partial(tasks, count=10_000),
    "clients": partial(clients, count=500),
    "many": partial(many, count=10_000),
    "growth": partial(growth, count=100_000),
}


def table(found: dict[str, Figures]) -> str:
    """What was found, as Markdown."""

    def size(name: str, figure: str) -> str:
        value = found.get(name, {}).get(figure)
        return "-" if value is None else f"{value / 1024:.1f} KiB"

    many_, growth_ = found.get("many", {}), found.get("growth", {})
    rows = [
        ("an idle connection", size("plain", "idle")),
        ("... that has carried 1 MiB", size("plain", "after")),
        ("an idle TLS connection", size("tls", "idle")),
        ("... that has carried 1 MiB", size("tls", "after")),
        ("a request in line, with its task", size("queued", "queued")),
        ("a task alone, that sleeps", size("tasks", "task")),
        ("a client", size("clients", "fresh")),
        ("... with one idle connection", size("clients", "used")),
    ]
    if many_:
        rows.append((f"{many_['connections']:,.0f} connections", f"{many_['megabytes']:.1f} MB"))
    if growth_:
        rows.append(
            (
                f"growth from the 10,000th request to the {growth_['requests']:,.0f}th",
                f"{growth_['kilobytes']:.0f} kB, {growth_['blocks']:.0f} objects",
            )
        )
    lines = ["| | |", "| --- | --- |", *(f"| {what} | {much} |" for what, much in rows)]
    return "\n".join(lines)


def measured(name: str, loop: str, site: Path, requests: int) -> Figures:
    """One measure, in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--site", str(site), "--loop", loop]
    ended = subprocess.run(
        [*command, f"--requests={requests}"], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
        print(f"{name}: failed: {last}", file=sys.stderr)
        return {}
    figures: Figures = json.loads(ended.stdout)
    return figures


def one(name: str, loop: str, site: Site, requests: int) -> Figures:
    """One measure, in this process."""
    measure: Any = MEASURES[name]
    if name == "growth":
        measure = partial(growth, count=requests)
    factory = asyncio.new_event_loop if loop == "asyncio" else fastreq.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        figures: Figures = runner.run(measure(site))
    return figures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure what fastreq's memory goes to.")
    add = parser.add_argument
    add("--full", action="store_true", help="1,000,000 requests for the growth")
    add("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    add("--measure", action="append", choices=MEASURES, help="may be repeated [all]")
    add("--json", action="store_true", help="one line of JSON instead of a table")
    add("--one", choices=MEASURES, help=argparse.SUPPRESS)
    add("--site", type=Path, help=argparse.SUPPRESS)
    add("--requests", type=int, default=100_000, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    allow_many_connections()
    if options.one:
        site = Site.load(options.site.read_text())
        print(json.dumps(one(options.one, options.loop, site, options.requests)))
        return 0
    requests = 1_000_000 if options.full else options.requests
    with serving(core=cores()[0], large=0) as site, tempfile.NamedTemporaryFile("w") as file:
        file.write(site.dump())
        file.flush()
        names = options.measure or list(MEASURES)
        found = {
            name: measured(name, options.loop, Path(file.name), requests)
            for name in names
            if name != "tls" or site.tls_url
        }
    if options.json:
        print(json.dumps({"python": platform.python_version(), "loop": options.loop} | found))
    else:
        print(f"CPython {platform.python_version()}, {options.loop}; {site.server}\n")
        print(table(found))
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
