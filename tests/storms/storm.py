"""What all storms have in common: their size and seed, their bodies, their figures.

A storm is small where the tests are run, and full where `make storm` runs it:

    FASTREQ_STORM=small|full    how much of it (FASTREQ_STORM_FACTOR multiplies the requests)
    FASTREQ_STORM_SEED=7        which one; printed with the figures
"""

import asyncio
import os
import random
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeVar

from servers.scripted import Handler, Server

from fastreq import Client, FastreqError, Response

T = TypeVar("T")

FULL = os.environ.get("FASTREQ_STORM", "small") == "full"
FACTOR = float(os.environ.get("FASTREQ_STORM_FACTOR", "1"))
SEED = int(os.environ.get("FASTREQ_STORM_SEED", "7"))

FIGURES: dict[str, Counter[str]] = {}
"""Of each storm that was run: what is printed at the end."""

LARGEST: set[tuple[str, str]] = set()
"""The figures, by storm and name, of which the largest counts, and not the sum."""


class Promise(NamedTuple):
    """A line of the table in section 0 of TRUST: what it counts, and how much of it may be."""

    what: str
    storm: str
    figure: str
    most: int = 0
    of: str = ""  # the figure that it has to be equal to, where that is not 0

    def line(self) -> str:
        """What it came to, in words."""
        seen = FIGURES.get(self.storm)
        if seen is None or self.figure not in seen or (self.of and self.of not in seen):
            return f"{self.what}: not run"
        value = seen[self.figure]
        if self.of:
            kept, hoped = value == seen[self.of], f"of {seen[self.of]:,}"
        else:
            kept, hoped = value <= self.most, f"at most {self.most:,}" if self.most else "none"
        return f"{self.what}: {value:,} ({hoped}){'' if kept else ' -- BROKEN'}"


PROMISES = [
    Promise("somebody else's response delivered", "C2 desync", "poisoned"),
    Promise("truncated bodies given as whole", "C1 faults", "truncated_as_whole"),
    Promise("floods stopped within 512 KiB", "C3 floods", "stopped", of="floods"),
    Promise("wrong bodies", "C1 faults", "wrong_bodies"),
    Promise("faults given as success", "C1 faults", "faults_as_success"),
    Promise("POSTs carried out twice, by faults", "C1 faults", "posts_twice"),
    Promise("POSTs carried out twice, by restarts", "C7 restarts", "posts_twice"),
    Promise("requests that work after random cancels", "C5 random cancels", "working", of="probes"),
    Promise("gzip cut short, given as whole", "C1 faults", "cut_gzip_as_whole"),
    Promise("injections: malformed requests on the wire", "1a injections", "malformed"),
    Promise("largest piece of a bomb, in bytes", "C12 memory", "largest_piece", most=256 * 1024),
    Promise("secrets at a foreign origin", "C18 secrets", "at_foreign_origins"),
    Promise("X-Api-Key at a foreign origin after a redirect", "C18 secrets", "foreign_x_api_key"),
]
"""What section 0 of TRUST promises, in its order."""

PROBES = 40
"""Requests that have to work once a storm is over."""


def sized(small: int, full: int) -> int:
    """How much of a storm is run."""
    return max(1, int((full if FULL else small) * FACTOR))


def seeded(*what: object) -> random.Random:
    """The same numbers for the same seed, whatever else was run before."""
    return random.Random(f"{SEED} {what}")


def note(storm: str, **figures: int) -> None:
    """Add to the figures of a storm."""
    FIGURES.setdefault(storm, Counter()).update(figures)


def note_largest(storm: str, **figures: int) -> None:
    """The same of what is the largest of its kind."""
    seen = FIGURES.setdefault(storm, Counter())
    for name, value in figures.items():
        LARGEST.add((storm, name))
        seen[name] = max(seen[name], value)


def hand_over() -> dict[str, Any]:
    """The figures of this process, of plain types, for another to `take_over()`."""
    figures = {storm: {**seen} for storm, seen in FIGURES.items()}
    return {"figures": figures, "largest": [list(pair) for pair in LARGEST]}


def take_over(handed: dict[str, Any]) -> None:
    """Add the figures of another process to our own."""
    largest = set(map(tuple, handed["largest"]))
    for storm, seen in handed["figures"].items():
        note(storm, **{name: n for name, n in seen.items() if (storm, name) not in largest})
        note_largest(storm, **{name: n for name, n in seen.items() if (storm, name) in largest})


def body_of(number: int, size: int) -> bytes:
    """The only right body of a request: no other request has any part of it."""
    mark = b"<%d>" % number
    return (mark * (size // len(mark) + 1))[:size]


async def outcome(response: Awaitable[T]) -> T | FastreqError:
    """What came of it; whatever is no FastreqError ends the storm."""
    try:
        return await response
    except FastreqError as exc:
        return exc


def show(result: Response | FastreqError) -> str:
    """An outcome in few words."""
    if isinstance(result, FastreqError):
        return f"{type(result).__name__}: {result}"
    return f"{result!r} {result.body[:60]!r}"


def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, T]) -> T:
    """Run a storm on a loop of its own; nothing may complain to the loop, no task be left."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_watched(main))


async def _watched(main: Coroutine[Any, Any, T]) -> T:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    result = await main
    for _ in range(5):
        await asyncio.sleep(0)
    assert [] == complaints, f"complaints to the loop: {complaints}"
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert set() == left, f"tasks that are left: {left}"
    return result


def check_pool(client: Client) -> None:
    """No lease, nobody in line, and every slot a connection that is idle."""
    engine = client._engine
    if engine is None:
        return
    pool = engine.pool
    assert pool._slots == len(pool._idle), repr(pool)
    for host in pool._hosts.values():
        assert host.slots == len(host.idle), repr(host)
        assert host.first_waiter() is None, repr(host)
    assert not pool._starved
    alive = {connection for connection in engine._connections if not connection.is_closed}
    assert alive == set(pool._idle)


async def check_health(client: Client, url: Callable[[int], str], size: int = 100) -> None:
    """The client works as if nothing had happened."""
    check_pool(client)
    for number in range(PROBES):
        response = await client.get(url(number))
        assert body_of(number, size) == response.body
    check_pool(client)


class Elsewhere:
    """A scripted server in a thread, so that the test's own loop may stand still."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop

    def url(self, path: str = "/") -> str:
        return self.server.url(path)

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        """Have the server do something, and wait, with this loop standing still."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def wait(self, what: Coroutine[Any, Any, T]) -> T:
        """Have the server do something, and wait, with this loop going on."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(what, self._loop))


@contextmanager
def elsewhere(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[Elsewhere]:
    """Run a scripted server in a thread of its own."""
    loop = asyncio.SelectorEventLoop()
    server = Server(handler, tls, None)
    there = Elsewhere(server, loop)
    thread = threading.Thread(target=_run_until_stopped, args=(loop,))
    thread.start()
    try:
        there.do(server.start("127.0.0.1"))
        yield there
    finally:
        try:
            there.do(server.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def _run_until_stopped(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@asynccontextmanager
async def cancelling(
    requests: Awaitable[T], rng: random.Random, chance: float
) -> AsyncIterator[asyncio.Task[T]]:
    """A task that is, now and then, cancelled after a random number of turns of the loop."""
    task = asyncio.ensure_future(requests)
    canceller = None
    if rng.random() < chance:
        canceller = asyncio.create_task(_cancel(task, int(rng.expovariate(1 / 8))))
    try:
        yield task
    finally:
        if canceller is not None:
            await canceller


async def _cancel(task: asyncio.Task[Any], turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
