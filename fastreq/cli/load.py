"""A load on a server: a fixed crew sends the same request again and again, and counts.

There is a worker for each connection, and no task for each request. Where a rate is given, every
request has a time at which it is due, set before anything is sent: `start + number / rate`. Who is
free takes the next one and waits for its time, so at no time have more than `1 + rate * seconds`
been sent. Where the server is so slow that nobody is free, the request goes out late, and the wait
is part of its latency: what a user would have waited (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any, NamedTuple

from fastreq.cli.latencies import Dumped, Latencies

TIMER = 0.001
"""Seconds: the step of an event loop's timers. A shorter sleep may be none at all (uvloop)."""

TIMER_LATE = 0.002
"""Seconds that a timer may be late by itself. Who slept until a request was due, and woke up no
later than that, measures from there: the delay was ours and not the server's."""

SPARE_FILES = 64
"""Open files beside those of the connections."""

Ask = Callable[[], Awaitable[tuple[int, int]]]
"""Sends the request, and gives the status and the bytes of the whole body."""


class Load(NamedTuple):
    """What is to be sent, and when."""

    connections: int
    requests: int | None  # in all; None: as many as there is time for
    seconds: float | None  # after which none is started; None: however long it takes
    rate: float | None  # requests per second in all; None: as fast as they are answered


@dataclass
class Tally:
    """What has happened so far."""

    latencies: Latencies = field(default_factory=Latencies)  # of all that were answered
    statuses: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)  # by type
    said: dict[str, str] = field(default_factory=dict)  # by the first of each type
    bytes: int = 0  # of bodies, decoded
    failed: int = 0  # no answer, or a status of 400 or above
    unsent: int = 0  # that were due in time, when no connection was free
    dropped: int = 0  # that were under way when it was interrupted
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of this process, user and system

    @property
    def done(self) -> int:
        """Requests that have ended, well or not."""
        return self.latencies.count + self.errors.total()

    def answered(self, status: int, size: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.bytes += size
        self.failed += status >= 400
        self.latencies.add(seconds)

    def broke(self, error: Exception) -> None:
        kind = type(error).__name__
        self.errors[kind] += 1
        self.said.setdefault(kind, " ".join(str(error).split()))
        self.failed += 1

    # ---- from one process to another

    def dump(self) -> dict[str, Any]:
        names = ("errors", "said", "bytes", "failed", "unsent", "dropped", "seconds", "cpu")
        return {
            **{name: getattr(self, name) for name in names},
            "statuses": list(self.statuses.items()),
            "latencies": self.latencies.dump(),
        }

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> Tally:
        return cls(
            **dumped
            | {
                "errors": Counter(dumped["errors"]),
                "statuses": Counter(dict(dumped["statuses"])),
                "latencies": Latencies.load(Dumped(*dumped["latencies"])),
            }
        )


class Crew:
    """The workers, and the times at which their requests are due."""

    def __init__(self, load: Load, ask: Ask, tally: Tally) -> None:
        self._load = load
        self._ask = ask
        self._tally = tally
        self._taken = 0  # requests that a worker has, or had
        self._since = 0.0
        self._until = math.inf

    async def work(self) -> None:
        """Send the load. Cancelling drops what is under way, and leaves a tally of the rest."""
        load, tally = self._load, self._tally
        self._since, cpu = perf_counter(), process_time()
        if load.seconds is not None:
            self._until = self._since + load.seconds
        workers = min(load.connections, load.requests or load.connections)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._worker())
            tally.unsent = self._left_due()
        finally:
            tally.seconds = perf_counter() - self._since
            tally.cpu = process_time() - cpu

    async def _worker(self) -> None:
        # Names of its own, since this is done for each request.
        ask, tally, answered = self._ask, self._tally, self._tally.answered
        while (began := await self._turn()) is not None:
            try:
                status, size = await ask()
            except Exception as exc:  # each client has its own
                tally.broke(exc)
                await asyncio.sleep(0)  # what fails at once must not keep the others from it
            except asyncio.CancelledError:
                tally.dropped += 1
                raise
            else:
                answered(status, size, perf_counter() - began)

    async def _turn(self) -> float | None:
        """Wait until the next request is due; gives when it was, or None if there is none."""
        rate, requests = self._load.rate, self._load.requests
        if requests is not None and self._taken >= requests:
            return None
        now = perf_counter()
        if rate is None:
            self._taken += 1
            return now if now < self._until else None
        due = self._since + self._taken / rate
        if now >= self._until or due >= self._until:
            return None
        self._taken += 1
        if due <= now:
            return due
        while (now := perf_counter()) < due:
            await asyncio.sleep(max(due - now, TIMER))
        return now if now - due < TIMER_LATE else due

    def _left_due(self) -> int:
        """Requests that were due before the end, and that nobody was free to send."""
        rate, requests, seconds = self._load.rate, self._load.requests, self._load.seconds
        if rate is None or seconds is None:
            return 0
        due = math.ceil(rate * seconds)
        return max(min(due, requests or due) - self._taken, 0)


def allow_files(connections: int) -> None:
    """Let this process have so many connections open, as far as the system allows that."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
