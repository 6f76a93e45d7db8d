"""Who does the parts of a `fan_out`: processes of our own, a Dask cluster, or any executor."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")

MAX_RESTARTS = 2
"""Times that a pool of our own is made anew after one of its processes was killed."""


class Workers:
    """An executor, and how many parts it has use for at once."""

    def __init__(self, executor: Executor, width: int, make: Callable[[], Executor] | None) -> None:
        self.executor = executor
        self.width = width
        self._make = make  # None: it is somebody else's
        self._restarts = 0

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have it done; a process of our own may be started for it."""
        with nullcontext() if self._make is None else _interrupt_held():
            return self.executor.submit(function, *arguments)

    def restart(self) -> None:
        """Go on with a new one, where the old has lost a process.

        Raises:
            BrokenExecutor: it is not ours to make, or loses one again and again.
        """
        if self._make is None or self._restarts == MAX_RESTARTS:
            raise BrokenExecutor("a worker process was killed; the finished parts are kept")
        self._restarts += 1
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.executor = self._make()


@contextmanager
def opened(given: Executor | str | int | None) -> Iterator[Workers]:
    """The workers that `executor=` of `fan_out` means, for as long as they are needed."""
    if isinstance(given, str):
        with _dask(given) as workers:
            yield workers
    elif given is None or isinstance(given, int):
        with processes(cores() if given is None else given) as workers:
            yield workers
    else:
        yield Workers(given, getattr(given, "_max_workers", None) or cores(), None)


def cores() -> int:
    """How many this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return count or 1


@contextmanager
def processes(count: int) -> Iterator[Workers]:
    """So many processes of our own."""

    def make() -> Executor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # Not by fork: a process with threads and a loop is not safe to be copied.
        spawn = get_context("spawn")
        return ProcessPoolExecutor(count, mp_context=spawn, initializer=_end_at_interrupt)

    workers = Workers(make(), count, make)
    try:
        yield workers
    finally:
        workers.executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupt_held() -> Iterator[None]:
    """Hold back Ctrl-C, from us and, until they can bear it, from the processes started here.

    A worker takes a moment to import what it needs, and would die of it with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_at_interrupt() -> None:
    """Ctrl-C reaches workers as well: they end without a word, and the submitter tells."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextmanager
def _dask(address: str) -> Iterator[Workers]:
    """A Dask cluster, where each thread of a worker does one part at a time."""
    try:
        connect = import_module("distributed").Client
    except ImportError as exc:
        raise ImportError(f"executor={address!r} needs pip install 'fastreq-http[dask]'") from exc
    # pure=False: equal calls are not one; retries: of the parts of a worker that was killed.
    with connect(address) as dask, dask.get_executor(pure=False, retries=2) as executor:
        yield Workers(executor, max(1, sum(dask.nthreads().values())), None)
