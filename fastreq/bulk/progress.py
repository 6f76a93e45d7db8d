"""How far a bulk job has come, for whoever wants to show it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple, Protocol

INTERVAL = 1.0
"""Seconds between two lines at the least."""


class Progress(NamedTuple):
    """How far a job has come."""

    done: int  # requests, of `map`; bytes, of `download`
    failed: int
    total: int | None  # where it is known
    bytes: int  # of the bodies
    elapsed: float  # seconds
    before: int = 0  # of `done`, what an earlier run had done
    slowest: tuple[str, float] | None = None  # of `fan_out`: a host, and seconds of its answers

    @property
    def rate(self) -> float:
        """What is done per second, of this run."""
        return (self.done - self.before) / self.elapsed if self.elapsed else 0.0


class Done(Protocol):
    """What is counted."""

    @property
    def ok(self) -> bool: ...
    @property
    def response(self) -> Any: ...


class Meter:
    """Counts results, and tells: each to a function, or now and then in a line on stderr."""

    def __init__(self, show: bool | Callable[[Progress], None], total: int | None) -> None:
        self._tell = show if callable(show) else None
        self._total = total
        self._done = self._failed = self._bytes = self._before = 0
        self._slowest: tuple[str, float] | None = None
        self._started = self._shown = monotonic()

    def count(self, result: Done | None) -> None:
        """Count a result; None is the end."""
        if result is None:
            self._show(end=True)
        else:
            size = len(result.response.body) if result.response is not None else 0
            self.add(1, int(not result.ok), size)

    def add(self, done: int, failed: int, size: int) -> None:
        """Count some requests, those of them that failed, and the bytes of their bodies."""
        self._done += done
        self._failed += failed
        self._bytes += size
        self._show(end=False)

    def set(
        self, done: int, failed: int, size: int, before: int, slowest: tuple[str, float] | None
    ) -> None:
        """The same, counted by somebody else."""
        self._done, self._failed, self._bytes = done, failed, size
        self._before, self._slowest = before, slowest
        self._show(end=False)

    def _show(self, end: bool) -> None:
        now = monotonic()
        state = Progress(
            self._done,
            self._failed,
            self._total,
            self._bytes,
            now - self._started,
            self._before,
            self._slowest,
        )
        if self._tell is not None:
            self._tell(state)
        elif end or now - self._shown >= INTERVAL:
            self._shown = now
            print(line(state), file=sys.stderr)


def line(state: Progress) -> str:
    """One line that says how far it is."""
    of = f" of {state.total:,}" if state.total is not None else ""
    return (
        f"{state.done:,}{of} done, {state.failed:,} failed, {state.rate:,.0f}/s, "
        f"{state.bytes / 1e6:,.1f} MB, {state.elapsed:.0f} s"
    )


def show_bytes(state: Progress) -> None:
    """A line on stderr that tells of a download, written over."""
    of = f" of {state.total / 1e6:,.1f}" if state.total else ""
    end = "\n" if state.done == state.total else "\r"
    rate = state.rate / 1e6
    print(f"{state.bytes / 1e6:,.1f}{of} MB, {rate:,.1f} MB/s", end=end, file=sys.stderr)
