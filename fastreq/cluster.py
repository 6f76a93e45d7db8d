"""`fan_out`: a long list of requests over many processes, or machines, into files.

    requests ─ parts of a shard's URLs ─► executor ─► worker: Client.map ─► part file

A host always falls into the same shard, and of each shard one part is under way, so limits per
host hold over all workers without any coordination. A worker writes its part under another name
and renames it at the end: a part is whole, or it is not there. That is what resuming goes by.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from fastreq.building import URLTypes, split_options
from fastreq.bulk.bodies import Bodies, bodies_of_part, check_kind, sweep
from fastreq.bulk.crew import Crew, Results
from fastreq.bulk.dispatch import Dispatch
from fastreq.bulk.executors import opened
from fastreq.bulk.inputs import Item
from fastreq.bulk.jobs import Asked, Cut, Folder, Part, PartReport, check_seen
from fastreq.bulk.progress import Meter, Progress
from fastreq.bulk.robots import Robots, check_parser
from fastreq.bulk.rows import row_of
from fastreq.bulk.unfinished import Unfinished, so_far
from fastreq.client import Client
from fastreq.loop import run
from fastreq.messages import Request, Response
from fastreq.options import Limits, check_count
from fastreq.trace import Hooks, RedirectFollowed

LOOK_SECONDS = 1.0
"""Between two looks at the parts that are under way."""

# Options that say what is asked for. Headers may bear secrets, which are others by the next run.
_ASKED = ("base_url", "params", "content", "data", "json", "files")


@dataclass
class FanOutReport:
    """What came of `fan_out`.

    Attributes:
        out: the folder with the part files.
        rows: rows in all, of earlier runs too.
        ok: rows with a response of a status below 400.
        failed: the others.
        parts: part files.
        skipped: of them, those that an earlier run had done.
        bytes: of the bodies.
        seconds: that this run took.
        files: the part files.
    """

    out: Path
    rows: int = 0
    ok: int = 0
    failed: int = 0
    parts: int = 0
    skipped: int = 0
    bytes: int = 0
    seconds: float = 0.0
    files: list[Path] = field(default_factory=list, repr=False)
    _started: float = field(default_factory=monotonic, repr=False)

    def add(self, part: PartReport) -> None:
        """Count a part."""
        self.parts += 1
        self.skipped += part.skipped
        self.rows += part.rows
        self.ok += part.ok
        self.failed += part.rows - part.ok
        self.bytes += part.bytes
        self.seconds = monotonic() - self._started

    def lines(self) -> Iterator[dict[str, Any]]:
        """All rows, part by part."""
        for file in self.files:
            with file.open(encoding="utf-8") as lines:
                yield from map(json.loads, lines)


def fan_out(
    requests: Iterable[URLTypes | Request],
    out: str | os.PathLike[str],
    *,
    executor: Executor | str | int | None = None,
    shards: int = 64,
    part: int = 1000,
    concurrency: int = 100,
    max_per_host: int | None = None,
    resume: bool = True,
    progress: bool | Callable[[Progress], None] = False,
    robots: bool = False,
    bodies: str = "none",
    bodies_folder: str | os.PathLike[str] | None = None,
    **options: Any,
) -> FanOutReport:
    """Send requests from many processes or machines, and write a row for each into part files.

    Ctrl-C, or any other exception, ends processes of our own at once; the workers of a cluster, or
    of an executor of yours, do the parts that they have to their end. Calling it again goes on.

    Args:
        requests: URLs to get, or Requests with bodies of bytes; pulled lazily.
        out: a folder for the part files, which all workers see.
        executor: None: a process per core of this machine; a number: so many processes;
            "tcp://host:port": a Dask scheduler (pip install 'fastreq-http[dask]'); or any
            `concurrent.futures.Executor`.
        shards: how many, at the most, work at once; a host is always in one of them.
        part: requests in a part file. Each has a client of its own, so the pace of a host and a
            pause that it has asked for are forgotten at its end.
        concurrency: requests at once, of each worker.
        max_per_host: connections to one origin (scheme, host and port), from all workers together.
        resume: leave out what an earlier run of the same job has done.
        progress: True: a line on stderr now and then; or a function, called when parts are done,
            and every second with what those under way have come to.
        robots: keep to robots.txt, which each part asks for once per origin; what it does not
            allow is a row with an error.
        bodies: what is kept of them: "none"; "inline", in the rows; "dir", a file for each;
            "warc", a file for each part.
        bodies_folder: for these files; None: `bodies` in `out`.
        options: those of `Client()` and `Client.request()`; they must be picklable.

    Returns:
        What came of it; its `lines()` reads all rows.

    Raises:
        ValueError: `out` belongs to another job, or a number cannot be.
        TypeError: `requests` is one URL, or an option is unknown.
        FileExistsError: `out` has parts, and `resume` is False.
        BlockingIOError: another process writes into `out`.
        FileNotFoundError: workers do not see the same `out`.
        ConnectError: the Dask scheduler does not answer.
        BrokenExecutor: workers are killed again and again, and nothing is done in between.
        ImportError: `robots` or `bodies` need the extra `crawl`, or a scheduler the extra `dask`.
    """
    check_kind(bodies)
    if robots:
        check_parser()
    for name, value in {"shards": shards, "part": part, "concurrency": concurrency}.items():
        check_count(name, value, optional=False)
    of_client, of_request = _split(options, max_per_host)
    asked = {name: options[name] for name in _ASKED if name in options}
    parts = Cut(requests, shards, part, asked)
    job = {"shards": shards, "part": part, "robots": robots, "bodies": bodies}
    folder = Folder(Path(out).absolute(), job, resume)
    kept = str(Path(bodies_folder or folder.path / "bodies").absolute())
    beyond = (Beyond(robots, bodies, kept),) if robots or bodies != "none" else ()
    report = FanOutReport(folder.path)
    teller = _Teller(report, Meter(progress, None) if progress else None)

    with opened(executor) as workers:
        first = list(islice(parts, 1))
        with folder.claimed(parts.opening):

            def work(todo: Part) -> Future[PartReport]:
                path = folder.admit(todo)
                return workers.submit(
                    run_part, todo.items, path, concurrency, of_client, of_request, *beyond
                )

            seconds = LOOK_SECONDS if progress else None
            dispatch = Dispatch(chain(first, parts), workers, work, teller.look, seconds)
            for done in dispatch.reports():
                teller.add(done)
            report.files = folder.files()
            folder.sweep()
            sweep(bodies, kept)
    teller.end()
    report.seconds = monotonic() - report._started
    return report


# ---- on a worker


class Beyond(NamedTuple):
    """What a worker does beyond rows."""

    robots: bool = False
    bodies: str = "none"
    folder: str = ""  # for bodies


NOTHING_BEYOND = Beyond()


def run_part(
    items: list[tuple[int, Asked]],
    path: str,
    concurrency: int,
    of_client: dict[str, Any],
    of_request: dict[str, Any],
    beyond: Beyond = NOTHING_BEYOND,
) -> PartReport:
    """Do a part, on whichever machine this is: one loop, one client, one file."""
    if os.path.exists(path):
        return _count(path)
    check_seen(path)
    name = os.path.basename(path).removesuffix(".jsonl")
    kept = bodies_of_part(beyond.bodies, beyond.folder, name)
    unfinished = Unfinished(path)
    try:
        if beyond.bodies != "warc":  # whose records are gone with the worker
            missing = unfinished.take_over(index for index, _ in items)
            items = [item for item in items if item[0] in missing]
        given = (item for _, item in items)
        asked = _results(given, concurrency, of_client, of_request, beyond.robots)
        run(_write(items, asked, unfinished, kept))
        kept.close()  # first, for the rows speak of it
        return unfinished.finish()
    except BaseException:
        kept.drop()
        raise
    finally:
        unfinished.close()


@asynccontextmanager
async def _results(
    given: Iterable[Asked],
    concurrency: int,
    of_client: dict[str, Any],
    of_request: dict[str, Any],
    keeps_to_robots: bool,
) -> AsyncIterator[Results]:
    theirs = of_client.get("hooks") or Hooks()

    async def redirected(event: RedirectFollowed) -> None:
        assert robots is not None
        await robots.check(event.request)
        if theirs.redirect is not None and isinstance(told := theirs.redirect(event), Awaitable):
            await told

    if keeps_to_robots:
        of_client = {**of_client, "hooks": replace(theirs, redirect=redirected)}
    async with Client(**of_client) as client:
        robots = Robots(client.get) if keeps_to_robots else None

        def build(item: Asked) -> Request:
            if isinstance(item, Request):
                return item
            if isinstance(item, Item):
                return item.request(client.build_request, **of_request)
            return client.build_request("GET", item, **of_request)

        async def send(request: Request) -> Response:
            if robots is not None:
                await robots.check(request)
            return await client.send(request)

        try:
            async with Results(Crew(given, build, send, concurrency, False), None) as results:
                yield results
        finally:
            if robots is not None:
                await robots.close()


async def _write(
    items: list[tuple[int, Asked]],
    asked: AbstractAsyncContextManager[Results],
    unfinished: Unfinished,
    kept: Bodies,
) -> None:
    async with asked as results:
        async for result in results:
            index, given = items[result.index]
            row = row_of(result, index=index)
            if isinstance(given, Item):
                row["url"] = given.url
            if result.response is not None:
                kept.keep(row, result.response)
            unfinished.write(row, result.request.url.host if result.request is not None else "")


def _count(path: str) -> PartReport:
    rows = ok = size = 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            rows, ok, size = rows + 1, ok + row["ok"], size + row["bytes"]
    return PartReport(rows, ok, size, True)


# ---- on the machine that submits


def _split(
    options: dict[str, Any], max_per_host: int | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the client, and those of its requests."""
    of_client, of_request = split_options("fan_out()", options)
    if max_per_host is not None:
        limits = of_client.get("limits", Limits())
        of_client["limits"] = replace(
            limits, max_per_host=check_count("max_per_host", max_per_host)
        )
    return of_client, of_request


class _Teller:
    """Counts what is done, and tells it, with what the parts under way have come to."""

    def __init__(self, report: FanOutReport, meter: Meter | None) -> None:
        self._report = report
        self._meter = meter
        self._before = 0  # rows of an earlier run
        self._slowest: tuple[str, float] | None = None

    def add(self, done: PartReport) -> None:
        """Count a part."""
        self._report.add(done)
        self._before += done.rows if done.skipped else 0
        self._slowest = _slower(self._slowest, done.slowest)

    def look(self, under_way: Iterable[Part]) -> None:
        """Tell."""
        if self._meter is None:
            return
        rows, failed, size = self._report.rows, self._report.failed, self._report.bytes
        slowest = self._slowest
        for part in under_way:
            if (state := so_far(str(self._report.out / part.name))) is not None:
                rows += state.rows
                failed += state.rows - state.ok
                size += state.bytes
                slowest = _slower(slowest, state.slowest)
        self._meter.set(rows, failed, size, self._before, slowest)

    def end(self) -> None:
        """Tell, for the last time."""
        if self._meter is not None:
            self._meter.count(None)


def _slower(one: tuple[str, float] | None, other: tuple[str, float] | None) -> Any:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda slowest: slowest[1])
