"""Who does the parts of a `fan_out`: processes of our own, a Dask cluster, or any executor."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from fastreq.errors import ConnectError
from fastreq.options import check_count

T = TypeVar("T")

MAX_RESTARTS: Final = 2
"""Times in a row, without a part done in between, that a pool of our own is made anew."""

CONNECT_SECONDS: Final = 10
"""For a scheduler to answer."""


class Workers:
    """An executor, and how many parts it has use for at once.

    Attributes:
        width: parts at once.
        lost: what a future raises whose worker was lost.
    """

    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, executor: Executor, width: int) -> None:
        self.executor = executor
        self.width = width

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have it done."""
        return self.executor.submit(function, *arguments)

    def part_done(self) -> None:
        """Take note that they get something done."""

    def restart(self) -> None:
        """Go on with a new executor, where this one has lost a worker.

        Raises:
            BrokenExecutor: it is not ours to make, or loses one again and again.
        """
        raise BrokenExecutor("a worker process was killed; the finished parts are kept")


class Processes(Workers):
    """Processes of our own. They end with this one, however it ends."""

    def __init__(self, count: int) -> None:
        self._restarts = 0  # since a part was done
        super().__init__(self._start(count), count)

    def _start(self, count: int) -> Executor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        # Not by fork: a process with threads and a loop is not safe to be copied.
        spawn = get_context("spawn")
        self._heard, self._lifeline = spawn.Pipe(duplex=False)
        return ProcessPoolExecutor(
            count, mp_context=spawn, initializer=_begin, initargs=(self._heard,)
        )

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have it done; a process may be started for it."""
        with _interrupt_held():
            return super().submit(function, *arguments)

    def part_done(self) -> None:
        self._restarts = 0

    def restart(self) -> None:
        if self._restarts == MAX_RESTARTS:
            super().restart()
        self._restarts += 1
        self.end(at_once=True)  # the others first: they would go on with what is begun anew
        self.executor = self._start(self.width)

    def end(self, *, at_once: bool) -> None:
        """End them: when they have done what they are at, or in the midst of it.

        A second Ctrl-C has to wait: Python would not end with an executor that is half shut down.
        """
        with _interrupt_held():
            if at_once:
                self._lifeline.close()
            self.executor.shutdown(cancel_futures=True)
            self._lifeline.close()
            self._heard.close()


class Dask(Workers):
    """A Dask cluster, where each thread of a worker does one part at a time."""

    def __init__(self, address: str) -> None:
        try:
            distributed = import_module("distributed")
        except ImportError as exc:
            raise ImportError(
                f"executor={address!r} needs pip install 'fastreq-http[dask]'"
            ) from exc
        try:
            self._client = distributed.Client(address, timeout=CONNECT_SECONDS)
        except OSError as exc:
            raise ConnectError(f"no Dask scheduler at {address}: {exc}").at("connect") from exc
        # A worker that takes others with it, and a scheduler that is gone.
        self.lost = (BrokenExecutor, distributed.KilledWorker, CancelledError)
        # pure=False: equal calls are not one; retries: of the parts of a worker that was killed.
        super().__init__(
            self._client.get_executor(pure=False, retries=2),
            max(1, sum(self._client.nthreads().values())),
        )

    def close(self) -> None:
        """Leave the cluster; what its threads are at they do to the end."""
        self.executor.shutdown(wait=False)
        self._client.close()


@contextmanager
def opened(given: Executor | str | int | None) -> Iterator[Workers]:
    """The workers that `executor=` of `fan_out` means, for as long as they are needed.

    Raises:
        TypeError: it is nothing of the kind.
        ValueError: it is no number of processes.
        ImportError: it needs what is not installed.
        ConnectError: there is no scheduler.
    """
    if isinstance(given, str):
        dask = Dask(given)
        try:
            yield dask
        finally:
            dask.close()
    elif given is None or isinstance(given, int):
        with processes(cores() if given is None else given) as workers:
            yield workers
    elif hasattr(given, "submit"):
        yield Workers(given, getattr(given, "_max_workers", None) or cores())
    else:
        raise TypeError(f"executor={given!r}: expected an Executor, an address, a number, or None")


def cores() -> int:
    """How many this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return count or 1


@contextmanager
def processes(count: int) -> Iterator[Workers]:
    """So many processes of our own. An exception, such as that of Ctrl-C, ends them at once."""
    check_count("executor", count, optional=False)
    workers = Processes(count)
    try:
        yield workers
    except BaseException:
        workers.end(at_once=True)
        raise
    workers.end(at_once=False)


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


def _begin(lifeline: Connection) -> None:
    """Begin as a worker process.

    Ctrl-C reaches it as well: it ends without a word, and the submitter tells. And it ends when the
    submitter lets go of the lifeline: on purpose, or because it was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    try:
        lifeline.poll(None)
    finally:
        os._exit(1)
