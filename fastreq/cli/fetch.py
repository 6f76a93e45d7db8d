"""`fastreq fetch`: a list of URLs into a file of rows, one for each, whatever happens."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import closing, suppress
from itertools import count
from typing import Any

import fastreq
from fastreq import Client, FastreqError, Limits, Policy, Request, Response
from fastreq.bulk import bodies, inputs
from fastreq.bulk.bodies import Bodies, bodies_of
from fastreq.bulk.crew import Crew, Result, Results
from fastreq.bulk.inputs import Input, Item
from fastreq.bulk.output import Done, Output
from fastreq.bulk.progress import Progress
from fastreq.bulk.robots import Robots
from fastreq.bulk.rows import row_of
from fastreq.bulk.sitemaps import Sitemaps
from fastreq.cli import arguments, exits, watch
from fastreq.cli.watch import Watch

_EXAMPLES = """\
input:  a URL per line; or JSON per line with "url", "method", "headers" (an object), "body";
        or CSV; or sitemap.xml, whose index is followed; each may end in .gz
output: a line of JSON for each, in the order in which they finish: index, url, final_url, status,
        ok, error, attempts, elapsed, timings, bytes, sha256, ts

limits: --per-host and --rate are for each origin, which is scheme, host and port

exit codes: 0 all rows are ok, 1 some are not, 2 wrong arguments, 7 no such scheduler, 23 cannot
            write, 130 Ctrl-C, 137 workers were killed again and again
"""

BLOCK = 2**20
"""Bytes that are copied at a time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Fetch many URLs, and write a row for each. Killed, it can be resumed."
    parser.epilog = _EXAMPLES
    add = parser.add_argument
    add("-i", "--input", metavar="FILE", required=True, help="what to fetch; - is stdin")
    add("-o", "--output", metavar="FILE", required=True, help="where rows go; - is stdout")
    add("--format", choices=inputs.FORMATS, help="of the input [as its name says, else txt]")
    add("--column", metavar="NAME", default="url", help="of a CSV input [url]")
    add("--resume", action="store_true", help="go on with the output of an earlier run")
    add("--concurrency", metavar="N", type=arguments.count, default=100, help="[100]")
    add("--per-host", metavar="N", type=arguments.count, default=8, help="connections [8]")
    add("--rate", metavar="N", type=arguments.rate, help="requests per second, as in 5/s")
    add("--retries", metavar="N", type=int, default=2, help="of what failed in passing [2]")
    add("--timeout", metavar="SECONDS", type=arguments.seconds, help="for one request in all")
    add("--bodies", choices=bodies.KINDS, default="none", help="what is kept of bodies [none]")
    add("--robots", action="store_true", help="keep to robots.txt")
    add("--workers", metavar="N", type=arguments.count, help="processes [1]")
    add("--scheduler", metavar="tcp://HOST:PORT", help="have a Dask cluster do it")
    add("--progress", choices=watch.KINDS, default="auto", help="on stderr [auto]")


def run(options: argparse.Namespace) -> int:
    if problem := _contradiction(options):
        return _refuse(problem)
    try:
        given = Input(options.input, options.format, options.column)
    except OSError as exc:
        return _refuse(f"cannot read {options.input!r}: {exc.strerror}")
    try:
        with closing(given):
            if options.workers or options.scheduler:
                return _spread(given, options)
            with closing(Output(options.output, options.resume)) as output:
                return fastreq.run(_fetch(given, output, options))
    except (FileExistsError, ValueError, ImportError) as exc:
        if isinstance(exc, FastreqError):
            raise
        return _refuse(str(exc))
    except BrokenExecutor as exc:
        print(f"fastreq: {exc}", file=sys.stderr)
        _show_how_to_go_on(options)
        return exits.KILLED
    except KeyboardInterrupt:
        _show_how_to_go_on(options)
        return exits.INTERRUPTED


def _show_how_to_go_on(options: argparse.Namespace) -> None:
    if "-" not in (options.input, options.output):
        again = [word for word in sys.argv[1:] if word != "--resume"]
        print(f"\nto go on: fastreq {shlex.join(again)} --resume", file=sys.stderr)


def _contradiction(options: argparse.Namespace) -> str:
    if options.retries < 0:
        return "--retries is 0 or more"
    if options.output == "-" and (options.resume or options.bodies in ("dir", "warc")):
        return "--resume, --bodies dir and --bodies warc need a file as --output"
    if options.workers and options.scheduler:
        return "--workers is of this machine, and --scheduler of a cluster; give one of them"
    if (options.workers or options.scheduler) and options.output == "-":
        return "--workers and --scheduler need a file as --output"
    return ""


def _refuse(text: str) -> int:
    print(f"fastreq: {' '.join(text.split())}; see `fastreq fetch --help`", file=sys.stderr)
    return exits.USAGE


def _client_options(options: argparse.Namespace) -> dict[str, Any]:
    timeout = {} if options.timeout is None else {"timeout": options.timeout}
    return {
        "limits": Limits(max_connections=options.concurrency, max_per_host=options.per_host),
        "policy": Policy(rate=options.rate),
        "retry": options.retries,
        **timeout,
    }


# ---- one process


async def _fetch(given: Input, output: Output, options: argparse.Namespace) -> int:
    """Fetch what has no row yet, and write its rows."""
    kept = bodies_of(options.bodies, options.output, output.warc_end)
    shown = Watch(options.progress, lambda: given.fraction)

    def flush() -> None:
        kept.flush()  # first, for the rows speak of it
        output.flush()

    async with Client(**_client_options(options)) as client:
        robots = Robots(client.get) if options.robots else None
        send = _sender(client, robots)
        crew = Crew(
            _left(given, _follower(client, send, options), output.done),
            lambda item: item.request(client.build_request),
            send,
            options.concurrency,
            False,
        )
        try:
            async with shown.shown(flush), Results(crew, None) as results:
                async for result in results:
                    _write(result, output, kept, shown)
        finally:
            if robots is not None:
                await robots.close()
            kept.close()
    output.flush()
    shown.show(end=True)
    failed = output.done.rows - output.done.ok + shown.done - shown.ok
    return exits.WRONG if failed else exits.OK


Follow = Callable[[str], Coroutine[Any, Any, list[Item]]]
"""Gives the items of a sitemap."""


async def _left(given: Input, follow: Follow, done: Done) -> AsyncIterator[Item]:
    """The items that have no row yet, those of the sitemaps of an index among them."""
    numbers = count()
    for item in given:
        for found in await follow(item.url) if item.is_sitemap else (item,):
            number = next(numbers)
            if not done.has(number, found.url):
                yield found._replace(number=number)


def _follower(
    client: Client, send: Callable[[Request], Awaitable[Response]], options: argparse.Namespace
) -> Follow:
    """What follows sitemaps; what they named is kept beside the output, to go on with."""
    folder = f"{options.output}.sitemaps" if options.output != "-" else None
    if folder is not None and not options.resume:
        shutil.rmtree(folder, ignore_errors=True)

    async def get(url: str) -> bytes:
        return (await send(client.build_request("GET", url))).raise_for_status().body

    sitemaps = Sitemaps(get, folder)

    async def follow(url: str) -> list[Item]:
        found = await sitemaps.follow(url)
        return [
            Item(0, place.url, error=place.error, is_sitemap=bool(place.error)) for place in found
        ]

    return follow


def _sender(
    client: Client, robots: Robots | None
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    if robots is None:
        return client.send

    async def send(request: Request) -> Response:
        await robots.check(request)
        return await client.send(request)

    return send


def _write(result: Result, output: Output, kept: Bodies, shown: Watch) -> None:
    item, response = result.given, result.response
    row = row_of(result, index=item.number)
    row["url"] = item.url
    if response is not None:
        kept.keep(row, response)
    output.write(row)
    shown.count(1, int(result.ok), row["bytes"])
    if result.request is not None:
        shown.time(result.request.url.host, row["elapsed"])


# ---- more than one


def _spread(given: Input, options: argparse.Namespace) -> int:
    """Have processes or machines write parts in a folder beside the output; then merge them."""
    out, parts = options.output, f"{options.output}.parts"
    if os.path.exists(out) and not os.path.isfile(out):
        return _refuse("--workers and --scheduler need a file as --output")
    if os.path.exists(parts) and not options.resume:
        return _refuse(f"{parts} exists; --resume goes on with it, or remove it")
    made = not os.path.exists(out)
    try:
        with closing(Output(out, options.resume)) as output:  # and nobody else's by now
            if output.done.rows:
                return _see_to_the_end(given, output, options, parts)
            report = _fan_out(given, parts, options)
            _merge(report, output, os.path.realpath(out))
    except BaseException:
        if made and not os.path.exists(parts):
            with suppress(OSError):
                os.remove(out)
        raise
    shutil.rmtree(parts, ignore_errors=True)
    return exits.WRONG if report.failed else exits.OK


def _see_to_the_end(given: Input, output: Output, options: argparse.Namespace, parts: str) -> int:
    """Do what is left to do where the output has rows: nothing, but to remove the parts."""
    items = 0
    for item in _all(given, options):
        if not output.done.has(item.number, item.url):
            return _refuse(
                f"{options.output} was begun by one process; leave out --workers, --scheduler"
            )
        items += 1
    if items != output.done.rows:
        return _refuse(f"{options.output} has {output.done.rows} rows, of {items}; use another -o")
    shutil.rmtree(parts, ignore_errors=True)
    return exits.OK if output.done.rows == output.done.ok else exits.WRONG


def _fan_out(given: Input, parts: str, options: argparse.Namespace) -> fastreq.FanOutReport:
    feed = _Feed(given, options)
    shown = Watch(options.progress, lambda: feed.fraction)

    def tell(state: Progress) -> None:
        feed.state = state
        shown.set(state)
        shown.show_if_due()

    report = fastreq.fan_out(
        feed.items(),
        parts,
        executor=options.scheduler or options.workers,
        concurrency=options.concurrency,
        progress=tell,
        robots=options.robots,
        bodies=options.bodies,
        bodies_folder=f"{options.output}.bodies",
        **_client_options(options),
    )
    shown.show(end=True)
    return report


class _Feed:
    """The items, as they are pulled, and how much of the work with them is done."""

    def __init__(self, given: Input, options: argparse.Namespace) -> None:
        self.state = Progress(0, 0, None, 0, 0.0)
        self._given = given
        self._options = options
        self._pulled = 0
        self._is_all = False

    def items(self) -> Iterator[Any]:
        """What `fan_out` makes rows of."""
        for item in _all(self._given, self._options):
            self._pulled += 1
            yield item
        self._is_all = True

    @property
    def fraction(self) -> float | None:
        """How much is done of what this run has to do, where that can be known."""
        read = 1.0 if self._is_all else self._given.fraction
        if not read or not self._pulled:
            return None
        todo = self._pulled / read - self.state.before
        return min(1.0, (self.state.done - self.state.before) / todo) if todo > 0 else 1.0


def _merge(report: fastreq.FanOutReport, output: Output, out: str) -> None:
    """Make one file of the parts, which takes the place of the output.

    Raises:
        OSError: it cannot be written, or rows are missing in it.
    """
    temporary = f"{out}.tmp"
    rows = 0
    try:
        with open(temporary, "wb") as merged:
            for file in report.files:
                with file.open("rb") as part:
                    while block := part.read(BLOCK):
                        rows += block.count(b"\n")
                        merged.write(block)
            merged.flush()
            os.fsync(merged.fileno())
        if rows != report.rows:
            raise OSError(f"{report.out} has {rows} rows, where {report.rows} were written")
        if sys.platform == "win32":
            output.close()  # there are no locks there, and no file that is open can be replaced
        os.replace(temporary, out)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(temporary)
        raise


def _all(given: Input, options: argparse.Namespace) -> Iterator[Item]:
    """The items, those of the sitemaps of an index among them."""
    numbers = count()
    client = Client(**_client_options(options))
    robots = Robots(client.get) if options.robots else None
    with asyncio.Runner(loop_factory=fastreq.new_event_loop) as runner:
        follow = _follower(client, _sender(client, robots), options)
        try:
            for item in given:
                found: Iterable[Item] = (item,)
                if item.is_sitemap:
                    found = runner.run(follow(item.url))
                for one in found:
                    yield one._replace(number=next(numbers))
        finally:
            if robots is not None:
                runner.run(robots.close())
            runner.run(client.aclose())
