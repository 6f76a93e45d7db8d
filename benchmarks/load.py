"""A load: so many callers, each of which asks again when it has been answered.

What is measured is between `begin()` and `end()`, after a warm-up in which every caller has asked
at least once. Each answer is checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
import zlib
from array import array
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

WHOLE = 4096  # bytes of a body up to which every byte of every answer is looked at
SLICE = 64  # bytes at the start, in the middle and at the end of a longer one


class WrongAnswer(Exception):
    """The client gave what the server did not send."""


class Expected:
    """What may be answered.

    Every byte of the answers of the warm-up is looked at; of those that are measured, the length
    and three slices where they are long, since a checksum of 10 MiB would cost more than the
    client does.
    """

    def __init__(self, paths: Sequence[Path], status: int = 200) -> None:
        self.status = status
        self.sizes = [path.stat().st_size for path in paths]
        self.whole = [path.read_bytes() for path in paths if path.stat().st_size <= WHOLE]
        self.checksum = crc32_of(paths[0]) if not self.whole else 0
        self.slices: list[tuple[slice, bytes]] = []
        if not self.whole:
            size = self.sizes[0]
            with paths[0].open("rb") as file:
                for start in 0, size // 2, size - SLICE:
                    file.seek(start)
                    self.slices.append((slice(start, start + SLICE), file.read(SLICE)))

    def check(self, status: int, body: Any) -> None:
        """Look at an answer.

        Raises:
            WrongAnswer: it is another.
        """
        if status != self.status:
            raise WrongAnswer(f"status {status} instead of {self.status}: {bytes(body)[:200]!r}")
        if self.whole:
            for whole in self.whole:
                if body == whole:
                    return
            raise WrongAnswer(f"not the body that was sent: {bytes(body)[:200]!r}")
        if len(body) != self.sizes[0]:
            raise WrongAnswer(f"{len(body)} bytes instead of {self.sizes[0]}")
        for place, wanted in self.slices:
            if body[place] != wanted:
                raise WrongAnswer(f"other bytes at {place.start}: {bytes(body[place])!r}")

    def check_all(self, status: int, body: Any) -> None:
        """Look at each byte of an answer.

        Raises:
            WrongAnswer: it is another.
        """
        self.check(status, body)
        if self.checksum and zlib.crc32(memoryview(body)) != self.checksum:
            raise WrongAnswer("other bytes somewhere: the checksum differs")

    def check_file(self, path: Path) -> None:
        """Look at each byte of a file that was downloaded.

        Raises:
            WrongAnswer: it is another.
        """
        if path.stat().st_size != self.sizes[0] or crc32_of(path) != self.checksum:
            raise WrongAnswer(f"{path.stat().st_size} bytes, or others than were sent")


def crc32_of(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


class Load:
    """Callers, and what each of them asks for."""

    def __init__(
        self,
        urls: Sequence[str],
        expected: Expected,
        *,
        concurrency: int,
        seconds: float,
        warm_up: float,
        distinct: bool = False,
        is_plain_get: bool = False,
    ) -> None:
        self.urls = urls
        self.expected = expected
        self.concurrency = concurrency
        self.seconds = seconds
        self.warm_up = warm_up
        self.distinct = distinct
        self.is_plain_get = is_plain_get  # the same GET again and again, on kept connections
        self.cpu = self.wall = 0.0  # what was measured, in seconds
        self._numbers = itertools.count()

    @property
    def url(self) -> str:
        """What the first caller asks for."""
        return self.urls[0]

    def urls_of(self, caller: int) -> Iterator[str]:
        """What a caller asks for, one after the other, without end."""
        url = self.urls[caller % len(self.urls)]
        if self.distinct:
            return (f"{url}?n={number}" for number in self._numbers)
        return itertools.repeat(url)

    def begin(self) -> None:
        """The warm-up is over."""
        self.wall, self.cpu = perf_counter(), time.process_time()

    def end(self) -> None:
        """The last answer is here."""
        self.wall, self.cpu = perf_counter() - self.wall, time.process_time() - self.cpu

    async def drive(self, ask: Callable[[str], Awaitable[tuple[int, Any]]]) -> array[float]:
        """Apply the load to an asynchronous client, and give the latencies in seconds."""

        async def caller(
            urls: Iterator[str], until: float, check: Callable[[int, Any], None]
        ) -> None:
            began = perf_counter()
            while True:  # once, however late it is: every connection is to be there
                status, body = await ask(next(urls))
                now = perf_counter()
                append(now - began)
                check(status, body)
                if now >= until:
                    return
                began = now

        async def callers(seconds: float, check: Callable[[int, Any], None]) -> None:
            until = perf_counter() + seconds
            async with asyncio.TaskGroup() as group:
                for number in range(self.concurrency):
                    group.create_task(caller(self.urls_of(number), until, check))

        latencies = array("d")
        append = latencies.append
        await callers(self.warm_up, self.expected.check_all)
        del latencies[:]
        self.begin()
        await callers(self.seconds, self.expected.check)
        self.end()
        return latencies

    def drive_threads(self, ask: Callable[[str], tuple[int, Any]]) -> array[float]:
        """Apply the load to a client that blocks, by a thread for each caller."""

        def caller(urls: Iterator[str], until: float, check: Callable[[int, Any], None]) -> None:
            try:
                began = perf_counter()
                while not errors:
                    status, body = ask(next(urls))
                    now = perf_counter()
                    latencies.append(now - began)
                    check(status, body)
                    if now >= until:
                        return
                    began = now
            except Exception as exc:
                errors.append(exc)

        def callers(seconds: float, check: Callable[[int, Any], None]) -> None:
            until = perf_counter() + seconds
            threads = [
                threading.Thread(target=caller, args=(self.urls_of(number), until, check))
                for number in range(self.concurrency)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if errors:
                raise errors[0]

        latencies = array("d")
        errors: list[Exception] = []
        callers(self.warm_up, self.expected.check_all)
        del latencies[:]
        self.begin()
        callers(self.seconds, self.expected.check)
        self.end()
        return latencies


@contextlib.asynccontextmanager
async def neighbours(ask: Callable[[str], Awaitable[Any]], url: str, count: int) -> Any:
    """Keep so many requests to a slow URL under way."""

    async def ask_again() -> None:
        while True:
            await ask(url)

    tasks = [asyncio.create_task(ask_again()) for _ in range(count)]
    try:
        yield
        failed = [task for task in tasks if task.done()]
        for task in failed:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
