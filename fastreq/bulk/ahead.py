"""What blocks is read in a thread: stdin, a named pipe; so that it holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

MOST: Final = 1000  # items that are read ahead


class Ahead(Generic[T]):
    """The items of an iterator, which a thread asks for.

    The thread is a daemon: where it waits for stdin nobody can call it back, and Python ends
    without it. The iterator is the thread's from the first item on.

        async with aclosing(Ahead(lines)) as ahead:
            async for line in ahead:
                ...
    """

    def __init__(self, source: Iterator[T], most: int = MOST) -> None:
        self._source = source
        self._items: deque[T] = deque()
        self._room = threading.Semaphore(most)
        self._lock = threading.Lock()  # for what follows, and the items
        self._is_over = False
        self._error: BaseException | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()
        while True:
            with self._lock:
                if self._items:
                    self._room.release()
                    return self._items.popleft()
                if self._error is not None:
                    raise self._error
                if self._is_over:
                    raise StopAsyncIteration
                self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    async def aclose(self) -> None:
        """Ask for no more; the thread ends once it does not wait for what it reads."""
        self._is_closed = True
        self._room.release()

    # ---- in the thread

    def _read(self) -> None:
        error = None
        try:
            for item in self._source:
                self._room.acquire()
                if self._is_closed:
                    break
                with self._lock:
                    self._items.append(item)
                    self._wake()
        except BaseException as exc:
            error = exc
        with self._lock:
            self._error, self._is_over = error, True
            self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                waiting.get_loop().call_soon_threadsafe(_come_true, waiting)


def _come_true(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
