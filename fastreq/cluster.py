"""`fan_out`: a long list of requests over many processes, or machines, into files.

    requests ─ parts of a shard's URLs ─► executor ─► worker: Client.map ─► part file

A host always falls into the same shard, and of each shard one part is under way, so limits per
host hold over all workers without any coordination. A worker writes its part under another name
and renames it at the end: a part is whole, or it is not there. That is what resuming goes by.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import Any, NamedTuple

from fastreq.building import URLTypes, split_options
from fastreq.bulk.bodies import Bodies, bodies_of_part, check_kind, sweep
from fastreq.bulk.crew import Crew, Results
from fastreq.bulk.executors import Workers, opened
from fastreq.bulk.progress import Meter, Progress
from fastreq.bulk.robots import Robots, check_parser
from fastreq.bulk.rows import row_of
from fastreq.client import Client
from fastreq.errors import FastreqError
from fastreq.loop import run
from fastreq.messages import Request, Response
from fastreq.options import Limits, check_count
from fastreq.url import URL

MANIFEST = "manifest.json"


class Part(NamedTuple):
    """Some requests of one shard."""

    shard: int
    number: int  # in the shard, from 1
    items: list[tuple[int, str | Request]]  # (index in the whole job, URL or Request)

    @property
    def name(self) -> str:
        """Of its file; what is asked for is a part of it, so that another job is noticed."""
        asked = hashlib.sha256(repr([(n, _shown(item)) for n, item in self.items]).encode())
        return f"{self.shard:04d}-{self.number:06d}-{asked.hexdigest()[:12]}.jsonl"


class PartReport(NamedTuple):
    """What came of a part; bodies stay in its file."""

    rows: int
    ok: int
    bytes: int
    skipped: bool  # an earlier run had done it


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
    """

    out: Path
    rows: int = 0
    ok: int = 0
    failed: int = 0
    parts: int = 0
    skipped: int = 0
    bytes: int = 0
    seconds: float = 0.0
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
        for file in sorted(self.out.glob("*.jsonl")):
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

    Args:
        requests: URLs to get, or Requests with bodies of bytes; pulled lazily.
        out: a folder for the part files, which all workers see.
        executor: None: a process per core of this machine; a number: so many processes;
            "tcp://host:port": a Dask scheduler (pip install 'fastreq-http[dask]'); or any
            `concurrent.futures.Executor`.
        shards: how many, at the most, work at once; a host is always in one of them.
        part: requests in a part file.
        concurrency: requests at once, of each worker.
        max_per_host: connections to one host, from all workers together.
        resume: leave out the parts that an earlier run of the same job has done.
        progress: True: a line on stderr now and then; or a function, called for each part.
        robots: keep to robots.txt, which each part asks for once per origin; what it does not
            allow is a row with an error.
        bodies: what is kept of them: "none"; "inline", in the rows; "dir", a file for each;
            "warc", a file for each part.
        bodies_folder: for these files; None: `bodies` in `out`.
        options: as of `Client()` and `Client.request()`; they must be picklable.

    Raises:
        ValueError: `out` belongs to another job, or a number cannot be.
        FileExistsError: `out` has parts, and `resume` is False.
        ImportError: `robots` or `bodies` need the extra `crawl`.
    """
    check_kind(bodies)
    if robots:
        check_parser()
    for name, value in {"shards": shards, "part": part, "concurrency": concurrency}.items():
        check_count(name, value, optional=False)
    of_client, of_request = _split(options, max_per_host)
    folder = Path(out)
    _prepare(folder, {"shards": shards, "part": part}, resume)
    report = FanOutReport(folder)
    meter = Meter(progress, None) if progress else None
    kept = str(folder / "bodies" if bodies_folder is None else bodies_folder)
    beyond = (Beyond(robots, bodies, kept),) if robots or bodies != "none" else ()

    def work(chosen: Workers, todo: Part) -> Future[PartReport]:
        path = str(folder / todo.name)
        return chosen.submit(
            run_part, todo.items, path, concurrency, of_client, of_request, *beyond
        )

    with opened(executor) as workers:
        for done in _in_flight(_parts(requests, shards, part), workers, work, folder):
            report.add(done)
            if meter is not None:
                meter.add(done.rows, done.rows - done.ok, done.bytes)
    for left in folder.glob("*.tmp"):  # by workers that were killed
        left.unlink(missing_ok=True)
    sweep(bodies, kept)
    if meter is not None:
        meter.count(None)
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
    items: list[tuple[int, str | Request]],
    path: str,
    concurrency: int,
    of_client: dict[str, Any],
    of_request: dict[str, Any],
    beyond: Beyond = NOTHING_BEYOND,
) -> PartReport:
    """Do a part, on whichever machine this is: one loop, one client, one file."""
    if os.path.exists(path):
        return _count(path)
    # A scheduler may take a worker for dead that is only slow, and have another do its part.
    temporary = f"{path}.{token_hex(4)}.tmp"
    name = os.path.basename(path).removesuffix(".jsonl")
    kept = bodies_of_part(beyond.bodies, beyond.folder, name)
    asked = partial(_results, items, concurrency, of_client, of_request, beyond.robots)
    report = run(_write(items, temporary, asked, kept))
    os.replace(temporary, path)
    return report


@asynccontextmanager
async def _results(
    items: list[tuple[int, str | Request]],
    concurrency: int,
    of_client: dict[str, Any],
    of_request: dict[str, Any],
    keeps_to_robots: bool,
) -> AsyncIterator[Results]:
    given = (item for _, item in items)
    async with Client(**of_client) as client:
        if not keeps_to_robots:
            async with client.map(given, concurrency=concurrency, **of_request) as results:
                yield results
            return
        robots = Robots(client.get)

        def build(item: str | Request) -> Request:
            if isinstance(item, Request):
                return item
            return client.build_request("GET", item, **of_request)

        async def send(request: Request) -> Response:
            await robots.check(request)
            return await client.send(request)

        try:
            async with Results(Crew(given, build, send, concurrency, False), None) as results:
                yield results
        finally:
            await robots.close()


async def _write(
    items: list[tuple[int, str | Request]],
    path: str,
    asked: Callable[[], AbstractAsyncContextManager[Results]],
    kept: Bodies,
) -> PartReport:
    rows = ok = size = 0
    try:
        with open(path, "w", encoding="utf-8") as file:  # noqa: ASYNC230 (rows are small)
            async with asked() as results:
                async for result in results:
                    row = row_of(result, index=items[result.index][0])
                    if result.response is not None:
                        kept.keep(row, result.response)
                    file.write(json.dumps(row) + "\n")
                    rows, ok, size = rows + 1, ok + result.ok, size + row["bytes"]
            kept.close()  # first, for the rows speak of it
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        kept.drop()
        raise
    return PartReport(rows, ok, size, False)


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


def _prepare(folder: Path, job: dict[str, int], resume: bool) -> None:
    """Make the folder, or see that it is this job's."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / MANIFEST
    if not resume and any(folder.glob("*.jsonl")):
        raise FileExistsError(f"{folder} has parts of an earlier run; remove it, or resume=True")
    if manifest.exists():
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if found != job:
            raise ValueError(f"{folder} belongs to a job with {found}, not {job}; use another out=")
    else:
        temporary = folder / f"{MANIFEST}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(job), encoding="utf-8")
        os.replace(temporary, manifest)


def _parts(requests: Iterable[URLTypes | Request], shards: int, size: int) -> Iterator[Part]:
    """Cut the requests into parts, each of one shard."""
    open_parts: dict[int, list[tuple[int, str | Request]]] = {}
    numbers: Counter[int] = Counter()
    for index, asked in enumerate(requests):
        item = asked if isinstance(asked, Request) else str(asked)
        shard = zlib.crc32(_host(item).encode()) % shards
        items = open_parts.setdefault(shard, [])
        items.append((index, item))
        if len(items) == size:
            numbers[shard] += 1
            yield Part(shard, numbers[shard], open_parts.pop(shard))
    for shard, items in open_parts.items():
        yield Part(shard, numbers[shard] + 1, items)


def _host(item: str | Request) -> str:
    """What decides the shard; of what is no URL, anything."""
    try:
        return (item.url if isinstance(item, Request) else URL(item)).host
    except FastreqError:
        return ""


def _shown(item: str | Request) -> Any:
    if isinstance(item, str):
        return item
    return item.method, str(item.url), item.fields.raw, item.content


def _in_flight(
    parts: Iterator[Part],
    workers: Workers,
    work: Callable[[Workers, Part], Future[PartReport]],
    folder: Path,
) -> Iterator[PartReport]:
    """Keep parts under way, one of each shard, and as many as the workers have use for."""
    waiting: deque[Part] = deque()  # whose shard is busy, or that were lost with their worker
    running: dict[Future[PartReport], Part] = {}
    more = True
    while more or waiting or running:
        busy = {part.shard for part in running.values()}
        broken = False
        while len(running) < workers.width:
            ready = next((part for part in waiting if part.shard not in busy), None)
            if ready is not None:
                waiting.remove(ready)
            elif not more or len(waiting) >= 4 * workers.width:
                break
            elif (ready := next(parts, None)) is None:
                more = False
                break
            elif ready.shard in busy:
                waiting.append(ready)
                continue
            _refuse_another_job(folder, ready)
            busy.add(ready.shard)
            try:
                running[work(workers, ready)] = ready
            except BrokenExecutor:  # found out by nobody yet
                waiting.appendleft(ready)
                broken = True
                break
        done = () if broken else wait(running, return_when=FIRST_COMPLETED).done
        for future in done:
            try:
                report = future.result()
            except BrokenExecutor:
                broken = True
                break
            del running[future]
            yield report
        if broken:
            # Parts in the order in which they were cut; those that are done say so themselves.
            waiting.extendleft(reversed(running.values()))
            running.clear()
            workers.restart()


def _refuse_another_job(folder: Path, part: Part) -> None:
    for found in folder.glob(f"{part.shard:04d}-{part.number:06d}-*.jsonl"):
        if found.name != part.name:
            raise ValueError(f"{folder} belongs to a job with other requests; use another out=")
