"""`fastreq bench URL`: the same request many times, and how long the answers took."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import fastreq
from fastreq import Client, Limits, Request
from fastreq.cli import arguments, exits, rivals, scores
from fastreq.cli.live import showing
from fastreq.cli.load import Crew, Load, Tally, allow_files
from fastreq.cli.output import Write, opened_if
from fastreq.cli.request import (
    FORM,
    add_data,
    add_header,
    add_trust,
    fields_of,
    request_of,
    timeout_of,
    verify_of,
)
from fastreq.cli.rivals import LeftOut, Order
from fastreq.cli.scores import Score
from fastreq.cli.screen import Screen

REQUESTS = 200  # where neither a number nor a time is given

_MORE = """\
A worker for each connection sends the request again as soon as its answer is there, or, with
--rate, when it is due: at START + NUMBER / RATE, without any burst: after s seconds no more than
1 + RATE * s requests have been sent. Latency is measured from when a request was due, so one that
had to wait, because a slow server kept all connections busy, counts with its wait: there is no
coordinated omission. A request fails if there is no answer, or one with a status of 400 or above;
latencies are of all that were answered, from then on to the last byte of the body.

exit codes: 0 no request failed, 1 some did, 2 wrong arguments, 3 no valid URL, 23 cannot write,
130 Ctrl-C, with the result so far
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Send a request many times, and tell how long the answers took."
    parser.epilog = _MORE
    add = parser.add_argument
    add("url", metavar="URL")
    add("-n", "--requests", metavar="N", type=arguments.count, help="[200, or as there is time]")
    add("-c", "--connections", metavar="N", type=arguments.count, default=50, help="[50]")
    add(
        "-z", "--duration", metavar="TIME", type=arguments.duration,
        help="after which no request is started: 10s, 500ms, 5m; those under way are waited for",
    )  # fmt: skip
    add("-q", "--rate", metavar="N", type=arguments.rate, help="requests per second, in all")
    add("-m", "-X", "--method", metavar="METHOD", help="GET, or POST where there is a body")
    add_header(parser)
    add_data(parser)
    add("--timeout", metavar="SECONDS", type=arguments.seconds, help="for one request in all")
    add_trust(parser)
    add("--no-follow", action="store_true", help="do not follow redirects")
    add("--json", action="store_true", help="the result as JSON on stdout, and nothing else there")
    add("--plot", metavar="FILE.svg", help="draw latencies as well")
    add(
        "--compare", metavar="NAMES", type=_names, default=[],
        help="have others carry the same load, each in its own process: httpx,aiohttp",
    )  # fmt: skip


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in rivals.CLIENTS:
            raise argparse.ArgumentTypeError(
                f"{name!r} cannot be compared; there are {', '.join(rivals.CLIENTS)}"
            )
    return names


def run(options: argparse.Namespace) -> int:
    allow_files(options.connections)
    with opened_if(options.plot) as plot:  # now: that it cannot be written is said before a byte
        return fastreq.run(Bench(options, plot).run())


class Bench:
    """One run of the command."""

    def __init__(self, options: argparse.Namespace, plot: Write | None) -> None:
        self._options = options
        self._plot = plot
        self._screen = None if options.json else Screen()
        requests = options.requests
        if requests is None and options.duration is None:
            requests = REQUESTS
        self._load = Load(options.connections, requests, options.duration, options.rate)
        self._left_out: dict[str, str] = {}  # clients that were to be compared, and why not
        self._is_interrupted = False

    async def run(self) -> int:
        """Apply the load, by our own client and then by others; show it, and give the exit code.

        Raises:
            FastreqError, OSError: nothing was sent.
        """
        options = self._options
        limits = Limits(max_connections=options.connections, max_per_host=options.connections)
        async with Client(
            limits=limits,
            timeout=timeout_of(options.timeout),
            verify=verify_of(options),
            follow_redirects=not options.no_follow,
        ) as client:
            request = request_of(client, options, options.data, FORM)
            names = self._present()
            title = scores.asked(request.method, request.url.redacted, self._load)
            if self._screen is not None:
                self._screen.line(("fastreq ", "bold"), _versions())
                self._screen.line(title)
            found = [await self._ours(client, request)]
        order = self._order(request)
        for name in names:
            if self._is_interrupted:
                break
            if (score := await self._of(name, order)) is not None:
                found.append(score)
        self._show(found, title)
        if self._is_interrupted:
            return exits.INTERRUPTED
        return exits.WRONG if found[0].tally.failed else exits.OK

    def _present(self) -> list[str]:
        """The clients to compare that are installed."""
        present = []
        for name in self._options.compare:
            try:
                rivals.check(name)
                present.append(name)
            except LeftOut as exc:
                self._leave_out(name, exc)
        return present

    def _leave_out(self, name: str, reason: LeftOut) -> None:
        self._left_out[name] = str(reason)
        print(f"fastreq: {name} is left out: {reason}", file=sys.stderr, flush=True)

    def _order(self, request: Request) -> Order:
        """The same, for others; what they send beside what was given is theirs to say."""
        options = self._options
        usual = FORM if options.data is not None else []
        return Order(
            self._load,
            request.method,
            str(request.url),
            fields_of(options, usual),
            options.data,
            options.timeout,
            verify_of(options),
            not options.no_follow,
        )

    # ---- the load

    async def _ours(self, client: Client, request: Request) -> Score:
        async def ask() -> tuple[int, int]:
            response = await client.send(request)
            return response.status, len(response.body)

        tally = Tally()
        await self._shown("fastreq", tally, Crew(self._load, ask, tally).work)
        return Score("fastreq", fastreq.__version__, tally)

    async def _of(self, name: str, order: Order) -> Score | None:
        try:
            found = await self._shown(name, None, lambda: rivals.tally_of(name, order))
        except LeftOut as exc:
            self._leave_out(name, exc)
            return None
        return Score(name, *found) if found is not None else None

    async def _shown(
        self, name: str, tally: Tally | None, work: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Work, while a line tells how far it is; None if Ctrl-C has ended it."""
        since = perf_counter()

        def elapsed() -> float:
            return perf_counter() - since

        def part() -> float:
            of_requests = tally.done / self._load.requests if tally and self._load.requests else 0.0
            return max(of_requests, elapsed() / self._load.seconds if self._load.seconds else 0.0)

        def numbers() -> str:
            return f"{elapsed():.0f} s" if tally is None else _so_far(tally, elapsed())

        try:
            async with showing(name, part, numbers):
                return await work()
        except asyncio.CancelledError:
            # Ctrl-C; what there is so far is shown, and a second one is not held back.
            self._is_interrupted = True
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            return None

    # ---- the result

    def _show(self, found: list[Score], title: str) -> None:
        if self._plot is not None:
            drawn = [scores.drawn_of(score) for score in found]
            self._plot(scores.drawing(drawn, f"fastreq bench, {title}").encode())
        if self._screen is None:
            print(json.dumps(self._for_json(found, title)))
            return
        scores.show(self._screen, found[0])
        if len(found) > 1:
            scores.show_comparison(self._screen, found)
        tally = found[0].tally
        self._screen.line()
        if self._is_interrupted:
            self._screen.line(("interrupted; this is what there is so far", "bold"))
        elif tally.failed:
            self._screen.line((f"{tally.failed:,} of {tally.done:,} requests failed", "bold red"))
        else:
            self._screen.line((f"all {tally.done:,} requests went well", "bold green"))

    def _for_json(self, found: list[Score], title: str) -> dict[str, Any]:
        load = self._load
        return {
            "load": title,
            "connections": load.connections,
            "rate": load.rate,
            "python": platform.python_version(),
            "loop": _loop(),
            "interrupted": self._is_interrupted,
            **scores.for_json(found[0]),
            "compare": [scores.for_json(score) for score in found[1:]],
            "left_out": self._left_out,
        }


def _versions() -> str:
    return f"{fastreq.__version__}, Python {platform.python_version()}, {_loop()}"


def _loop() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def _so_far(tally: Tally, elapsed: float) -> str:
    middle, slow = tally.latencies.percentiles([0.5, 0.99])
    parts = [f"{tally.done:,} done", f"{tally.failed:,} failed", f"{tally.done / elapsed:,.0f}/s"]
    if middle is not None and slow is not None:
        parts += [f"p50 {middle * 1000:.2f} ms", f"p99 {slow * 1000:.2f} ms"]
    return ", ".join(parts)
