"""Parts → workers: as many as these have use for at once, and of each shard one.

So a limit that one worker keeps to for a host holds over all of them, without any coordination.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Generic, TypeVar

from fastreq.bulk.executors import Workers
from fastreq.bulk.jobs import Part

T = TypeVar("T")

AHEAD = 4
"""Parts that wait for their shard, for each worker; so far the requests are read ahead."""


class Dispatch(Generic[T]):
    """Has parts done.

    Args:
        parts: pulled lazily.
        workers: who does them.
        work: submits a part.
        look: called with the parts that are under way, when others are done.
        seconds: until it is called where none is done; None: it is not.
    """

    def __init__(
        self,
        parts: Iterator[Part],
        workers: Workers,
        work: Callable[[Part], Future[T]],
        look: Callable[[Iterable[Part]], None],
        seconds: float | None,
    ) -> None:
        self._parts = parts
        self._workers = workers
        self._work = work
        self._look = look
        self._seconds = seconds
        self._waiting: deque[Part] = deque()  # their shard is busy, or their worker was lost
        self._running: dict[Future[T], Part] = {}

    def reports(self) -> Iterator[T]:
        """What came of each part, as they are done.

        Raises:
            BrokenExecutor: workers are lost again and again.
            Exception: what a part has raised.
        """
        try:
            while True:
                lost = self._submit()
                if lost is None:
                    if not self._running:
                        return
                    lost = yield from self._done()
                if lost is not None:
                    self._begin_again(lost)
        finally:
            for future in self._running:
                future.cancel()

    def _submit(self) -> BaseException | None:
        """Give the workers what they have use for; gives what says that one is lost."""
        while len(self._running) < self._workers.width and (part := self._next()) is not None:
            try:
                self._running[self._work(part)] = part
            except BrokenExecutor as exc:  # found out by nobody yet
                self._waiting.appendleft(part)
                return exc
        return None

    def _next(self) -> Part | None:
        """The next part whose shard is free; None: there is none by now."""
        busy = {part.shard for part in self._running.values()}
        for part in self._waiting:
            if part.shard not in busy:
                self._waiting.remove(part)
                return part
        while len(self._waiting) < AHEAD * self._workers.width:
            pulled = next(self._parts, None)
            if pulled is None or pulled.shard not in busy:
                return pulled
            self._waiting.append(pulled)
        return None

    def _done(self) -> Generator[T, None, BaseException | None]:
        """Wait until some parts are done; gives in the end what says that a worker is lost."""
        lost: BaseException | None = None
        for future in wait(self._running, self._seconds, FIRST_COMPLETED).done:
            try:
                report = future.result()
            except self._workers.lost as exc:
                lost = exc
                continue
            del self._running[future]
            self._workers.part_done()
            yield report
        self._look(self._running.values())
        return lost

    def _begin_again(self, lost: BaseException) -> None:
        """Have the parts done anew that were under way, in the order in which they were cut."""
        self._waiting.extendleft(reversed(self._running.values()))
        self._running.clear()
        try:
            self._workers.restart()
        except BrokenExecutor as exc:
            raise exc from lost
