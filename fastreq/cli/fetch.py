"""`fastreq fetch`: a list of URLs into a file of rows, one for each, whatever happens."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import aclosing, closing, suppress
from itertools import count
from typing import Any

import fastreq
from fastreq import (
    Client,
    FastreqError,
    Hooks,
    Limits,
    Policy,
    RedirectFollowed,
    Request,
    Response,
    Retry,
)
from fastreq.bulk import bodies, inputs, jobs
from fastreq.bulk.ahead import Ahead
from fastreq.bulk.aside import Aside
from fastreq.bulk.bodies import Bodies, bodies_of
from fastreq.bulk.crew import Crew, Result, Results
from fastreq.bulk.inputs import Input, Item
from fastreq.bulk.output import Done, Output
from fastreq.bulk.progress import Progress
from fastreq.bulk.robots import Robots
from fastreq.bulk.rows import row_of
from fastreq.bulk.sitemaps import Sitemaps
from fastreq.cli import arguments, exits, watch
from fastreq.cli.load import allow_files
from fastreq.cli.request import add_header, add_trust, verify_of
from fastreq.cli.watch import Watch
from fastreq.url import parse_url

_FORMATS = """\
input:  a URL per line; or JSON per line with "url", "method", "headers" (an
        object), "body"; or CSV; or sitemap.xml, whose index is followed; each may
        end in .gz
output: a line of JSON for each, in the order in which they finish: index, url,
        final_url, status, ok, error, attempts, elapsed, timings, bytes, sha256, ts

limits: --per-host and --rate are for each origin, which is scheme, host and port

exit codes: 0 all rows are ok, 1 some are not, 2 wrong arguments, or files of
another job, 7 no such scheduler, 23 cannot write, 130 Ctrl-C, 137 workers were
killed again and again
"""

BLOCK = 2**20
"""Bytes that are copied at a time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Fetch many URLs, and write a row for each. Killed, it can be resumed."
    parser.epilog = _FORMATS
    add = parser.add_argument
    add("-i", "--input", metavar="FILE", required=True, help="what to fetch; - is stdin")
    add("-o", "--output", metavar="FILE", required=True, help="where rows go; - is stdout")
    add("--format", choices=inputs.FORMATS, help="of the input [as its name says, else txt]")
    add("--column", metavar="NAME", help="of a CSV input [url]")
    add("--resume", action="store_true", help="go on with the output of an earlier run")
    add("--concurrency", metavar="N", type=arguments.count, default=100, help="[100]")
    add("--per-host", metavar="N", type=arguments.count, default=8, help="connections [8]")
    add("--rate", metavar="N", type=arguments.rate, help="requests per second, as in 5/s")
    add("--retries", metavar="N", type=int, default=2, help="of what failed in passing [2]")
    add("--timeout", metavar="SECONDS", type=arguments.seconds, help="for one request in all")
    add_header(parser)
    add_trust(parser)
    add("--bodies", choices=bodies.KINDS, default="none", help="what is kept of bodies [none]")
    add("--robots", action="store_true", help="keep to robots.txt")
    add("--workers", metavar="N", type=arguments.count, help="processes [1]")
    add("--scheduler", metavar="tcp://HOST:PORT", help="have a Dask cluster do it")
    add("--progress", choices=watch.KINDS, default="auto", help="on stderr [auto]")


def run(options: argparse.Namespace) -> int:
    if problem := _contradiction(options):
        return _refuse_arguments(problem)
    try:
        given = Input(options.input, options.format, options.column or "url")
    except OSError as exc:
        return _refuse_arguments(f"cannot read {options.input!r}: {exc.strerror}")
    allow_files(options.concurrency)
    options.resume = options.resume and _is_begun(options)
    try:
        with closing(given):
            if options.column and given.kind != "csv":
                return _refuse_arguments("--column is for CSV")
            if options.workers or options.scheduler:
                return _spread(given, options)
            return _fetch_here(given, options)
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


def _is_begun(options: argparse.Namespace) -> bool:
    """Whether there is something to go on with."""
    return os.path.isfile(options.output) or os.path.isdir(f"{options.output}.parts")


def _show_how_to_go_on(options: argparse.Namespace) -> None:
    """Print the command that goes on, if there is a file to go on with."""
    if _is_begun(options):
        again = [word for word in sys.argv[1:] if word != "--resume"]
        print(f"to go on: {exits.program()} {shlex.join(again)} --resume", file=sys.stderr)


def _contradiction(options: argparse.Namespace) -> str:
    if options.retries < 0:
        return "--retries is 0 or more"
    if options.output == "-" and (options.resume or options.bodies in ("dir", "warc")):
        return "--resume, --bodies dir and --bodies warc need a file as --output"
    if options.workers and options.scheduler:
        return "--workers is of this machine, and --scheduler of a cluster; give one of them"
    if (options.workers or options.scheduler) and options.output == "-":
        return "--workers and --scheduler need a file as --output"
    if _is_same_file(options.input, options.output):
        return "--input and --output are the same file"
    return ""


def _is_same_file(one: str, other: str) -> bool:
    """Whether that is one plain file."""
    return os.path.isfile(one) and os.path.isfile(other) and os.path.samefile(one, other)


def _refuse_arguments(text: str) -> int:
    return _refuse(f"{text}; see `fastreq fetch --help`")


def _refuse(text: str) -> int:
    print(f"fastreq: {' '.join(text.split())}", file=sys.stderr)
    return exits.USAGE


def _client_options(options: argparse.Namespace) -> dict[str, Any]:
    timeout = {} if options.timeout is None else {"timeout": options.timeout}
    return {
        "limits": Limits(max_connections=options.concurrency, max_per_host=options.per_host),
        "policy": Policy(rate=options.rate),
        # No budget: so many were asked for, and the limits of each host keep it from a storm.
        "retry": Retry(options.retries, budget=None),
        "headers": options.headers,
        "verify": verify_of(options),
        **timeout,
    }


# ---- one process


def _fetch_here(given: Input, options: argparse.Namespace) -> int:
    with closing(Output(options.output, options.resume)) as output:
        try:
            return fastreq.run(_fetch(given, output, options))
        except (FileExistsError, ValueError, ImportError):
            output.forget_if_empty()
            raise


async def _fetch(given: Input, output: Output, options: argparse.Namespace) -> int:
    """Fetch what has no row yet, and write its rows."""
    if output.bodies not in (None, options.bodies):
        raise ValueError(f"{options.output} was begun with --bodies {output.bodies}")
    kept = bodies_of(options.bodies, options.output, output.warc_end, goes_on=output.goes_on)
    shown = Watch(options.progress, lambda: given.fraction, lambda: items.longest_pause())

    def flush() -> None:
        kept.flush()  # first, for the rows speak of it
        output.flush()

    async def redirected(event: RedirectFollowed) -> None:
        assert robots is not None
        await robots.check(event.request)

    hooks = Hooks(redirect=redirected) if options.robots else None
    async with Client(**_client_options(options), hooks=hooks) as client:
        robots = Robots(client.get) if options.robots else None
        send = _sender(client, robots)

        async def send_and_hear(request: Request) -> Response:
            response = await send(request)
            items.heard(response)
            return response

        left = _left(given, _follower(client, send, options), output.done, shown)
        items = Aside(left, _host_of, options.per_host, Policy(rate=options.rate))
        crew = Crew(
            items,
            lambda item: item.request(client.build_request),
            send_and_hear,
            options.concurrency,
            False,
            items.ended,
        )
        try:
            async with shown.shown(flush), Results(crew, None) as results:
                async for result in results:
                    _write(result, output, kept, shown)
        except BaseException:
            shown.show_broken_off()
            raise
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

BREATH = 1000  # lines that have their row, before others have their turn


async def _left(
    given: Input, follow: Follow, done: Done, shown: Watch
) -> AsyncGenerator[Item, None]:
    """The items that have no row yet, those of the sitemaps of an index among them.

    Raises:
        ValueError: what is done is another job's.
    """
    number = 0
    async with aclosing(_items(given)) as items:
        async for item in items:
            for found in await follow(item.url) if item.is_sitemap else (item,):
                is_done = done.has(number, found.url)
                shown.read(is_done=is_done)
                if not is_done:
                    yield found._replace(number=number)
                elif number % BREATH == 0:
                    await asyncio.sleep(0)
                number += 1
    if number < done.lines:
        raise ValueError(f"the output has rows of {done.lines} lines, the input {number}")


async def _items(given: Input) -> AsyncGenerator[Item, None]:
    """The items of the input; what may block is read in a thread."""
    if not given.blocks:
        for item in given:
            yield item
        return
    async with aclosing(Ahead(iter(given))) as ahead:
        async for item in ahead:
            yield item


_ORIGIN = re.compile(
    r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*+(?::(?!(?:80|443)\b)[1-9][0-9]*+)?+(?=[/?#]|\Z)"
)


def _host_of(item: Item) -> str:
    """The origin whose turn an item waits for; "" of what is no URL."""
    if item.error:
        return ""
    if usual := _ORIGIN.match(item.url):  # without parsing each URL once more
        return usual[0]
    try:
        return parse_url(item.url).origin
    except FastreqError:
        return ""


def _follower(
    client: Client, send: Callable[[Request], Awaitable[Response]], options: argparse.Namespace
) -> Follow:
    """What follows sitemaps; what they named is kept beside the output, to go on with."""
    folder = f"{options.output}.sitemaps" if options.output != "-" else None

    async def get(url: str) -> bytes:
        return (await send(client.build_request("GET", url))).raise_for_status().body

    sitemaps = Sitemaps(get, folder, goes_on=options.resume)

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
    if response is not None:  # what was spent in line says nothing of the host
        shown.time(response.request.url.host, response.timings.total - response.timings.queue)
    elif result.request is not None and row["attempts"]:
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
    jobs.remove(parts)
    return exits.WRONG if report.failed else exits.OK


def _see_to_the_end(given: Input, output: Output, options: argparse.Namespace, parts: str) -> int:
    """Do what is left to do where the output has rows: nothing, but to remove the parts."""
    items, shown = 0, Watch(options.progress, lambda: 1.0)
    for item in _all(given, options):
        if not output.done.has(item.number, item.url):
            return _refuse(
                f"{options.output} was begun by one process; leave out --workers, --scheduler"
            )
        shown.read(is_done=True)
        items += 1
    if items != output.done.rows:
        return _refuse(f"{options.output} has {output.done.rows} rows, of {items}; use another -o")
    jobs.remove(parts)
    shown.show(end=True)
    return exits.OK if output.done.rows == output.done.ok else exits.WRONG


def _fan_out(given: Input, parts: str, options: argparse.Namespace) -> fastreq.FanOutReport:
    feed = _Feed(given, options)
    shown = Watch(options.progress, lambda: feed.fraction)

    def tell(state: Progress) -> None:
        feed.state = state
        shown.set(state)
        shown.show_if_due()

    try:
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
    except BaseException:
        shown.show_broken_off()
        raise
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
    temporary = f"{out}.parts.tmp"
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
