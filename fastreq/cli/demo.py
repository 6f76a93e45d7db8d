"""`fastreq demo`: thousands of requests to a server of our own, each answer checked."""

from __future__ import annotations

import argparse
import asyncio
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import fastreq
from fastreq.bulk.progress import size_shown
from fastreq.cli import arguments, exits
from fastreq.cli.histogram import lines_of, percentile
from fastreq.cli.output import Write, opened_if
from fastreq.cli.scores import Drawn, drawing
from fastreq.cli.screen import Screen, is_drawable
from fastreq.cli.trial import Half, Site, Streamed, Wrong, ask, fetch, stream, ways_to
from fastreq.testing import Server

COLUMNS = ("", "requests", "req/s", "p50 ms", "p99 ms", "connections", "reused", "TLS version")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Start a server in a process of its own, for this machine alone; send it requests, half of "
        "them over TLS, and stream a large body from it. Every byte of every answer is checked."
    )
    add = parser.add_argument
    add("-n", "--requests", metavar="N", type=arguments.count, default=20_000, help="[20000]")
    add("-c", "--concurrency", metavar="N", type=arguments.count, default=64, help="[64]")
    add(
        "--large", metavar="BYTES", type=arguments.size, default=2**28,
        help="of the large body, such as 1G; 0 is none [256M]",
    )  # fmt: skip
    add(
        "--fetch", metavar="N", type=arguments.size, default=2000,
        help="URLs for `fastreq fetch`; 0 is none [2000]",
    )  # fmt: skip

    add("--plot", metavar="FILE.svg", help="draw requests per second, and latencies")


def run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        plot = stack.enter_context(opened_if(options.plot))
        with _undisturbed():
            server = stack.enter_context(Server(tls="auto"))
        shares = (options.requests, options.concurrency, options.large, options.fetch)
        return fastreq.run(demonstrate(server, *shares, plot=plot))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C; what is started in this block never sees it, and is ours to end."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def demonstrate(
    site: Site,
    requests: int,
    concurrency: int,
    large: int,
    fetched: int = 0,
    *,
    plot: Write | None = None,
) -> int:
    """Send the requests, show how it went, and give the exit code."""
    screen, wrong = Screen(), Wrong()
    screen.line(("fastreq ", "bold"), _title(requests, concurrency))
    ways = ways_to(site)
    if site.tls_url is None:
        screen.line("TLS is left out: trustme is missing; pip install 'fastreq-http[cli]'")
    halves = []
    for number, way in enumerate(ways):
        share = (requests + len(ways) - 1 - number) // len(ways)
        if share:
            halves.append(await ask(way, share, concurrency, wrong))
    _show_table(screen, halves)
    _show_histogram(screen, halves)
    if plot is not None:
        plot(_drawing(halves, _title(requests, concurrency)).encode())
    if large:
        way = ways[-1]
        _show_stream(screen, way.name, large, await stream(way, large, wrong))
    if fetched:
        seconds = await fetch(ways[0], fetched, wrong)
        screen.line(f"  {fetched} rows by `fastreq fetch` in {seconds:.2f} s, start included")
    return _show_verdict(screen, wrong, requests)


def _title(requests: int, concurrency: int) -> str:
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    return (
        f"{fastreq.__version__}, Python {platform.python_version()}, {loop}: "
        f"{requests} requests, {concurrency} at a time"
    )


def _show_table(screen: Screen, halves: list[Half]) -> None:
    screen.line()
    screen.table(COLUMNS, [_row(half) for half in halves])


def _row(half: Half) -> list[str]:
    times = half.latencies
    leases = half.opened + half.reused
    return [
        half.way.name,
        str(half.requests),
        f"{half.requests / half.seconds:.0f}",
        f"{percentile(times, 0.5) * 1000:.2f}" if times else "-",
        f"{percentile(times, 0.99) * 1000:.2f}" if times else "-",
        str(half.opened),
        f"{100 * half.reused / leases:.1f} %" if leases else "-",
        half.way.tls_version,
    ]


def _show_histogram(screen: Screen, halves: list[Half]) -> None:
    halves = [half for half in halves if half.latencies]
    if not halves:
        return
    screen.line()
    for line in lines_of(
        [half.way.name for half in halves],
        [_milliseconds(half) for half in halves],
        ascii_only=not is_drawable("█▏", sys.stdout),
    ):
        screen.line(*line)


def _drawing(halves: list[Half], title: str) -> str:
    drawn = [
        Drawn(half.way.name, _milliseconds(half), half.requests / half.seconds) for half in halves
    ]
    return drawing(drawn, f"fastreq demo, {title}")


def _milliseconds(half: Half) -> list[tuple[float, int]]:
    return [(1000 * value, 1) for value in half.latencies]


def _show_stream(screen: Screen, name: str, large: int, streamed: Streamed) -> None:
    screen.line()
    screen.line(
        f"  {size_shown(large)} streamed ({name}) in {streamed.seconds:.2f} s, "
        f"{size_shown(large / streamed.seconds)}/s; "
        f"memory grew by {size_shown(streamed.growth)} at most"
    )


def _show_verdict(screen: Screen, wrong: Wrong, requests: int) -> int:
    screen.line()
    if not wrong.count:
        screen.line((f"all {requests} answers were right", "bold green"))
        return exits.OK
    screen.line((f"{wrong.count} answers were wrong", "bold red"))
    for what in wrong.first:
        screen.line(f"  {what}")
    if wrong.count > len(wrong.first):
        screen.line(f"  and {wrong.count - len(wrong.first)} more")
    return exits.WRONG
