"""How far a bulk job has come, for whoever wants to show it; and how that is shown on stderr."""

from __future__ import annotations

import os
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


MAX_HOSTS = 1000
"""Hosts that are watched for the slowest."""


class HostTimes:
    """How long hosts take to answer."""

    def __init__(self) -> None:
        self._hosts: dict[str, tuple[float, int]] = {}  # seconds of answers, and how many

    def add(self, host: str, seconds: float) -> None:
        """A host has answered, after so long."""
        total, count = self._hosts.get(host, (0.0, 0))
        if count or len(self._hosts) < MAX_HOSTS:
            self._hosts[host] = (total + seconds, count + 1)

    def slowest(self) -> tuple[str, float] | None:
        """The host that takes longest, and the seconds of its answers on average."""
        means = ((host, total / count) for host, (total, count) in self._hosts.items())
        return max(means, key=lambda mean: mean[1], default=None)


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
        f"{size_shown(state.bytes)}, {state.elapsed:.0f} s"
    )


class Bytes:
    """Shows on stderr how far a download is: a line a second, written over where that can be."""

    def __init__(self) -> None:
        self._shown = monotonic()
        self._is_drawn = False

    def __call__(self, state: Progress) -> None:
        """There are more bytes."""
        now = monotonic()
        is_end = state.done == state.total
        if not is_end and now - self._shown < INTERVAL:
            return
        self._shown = now
        of = f" of {size_shown(state.total)}" if state.total else ""
        text = f"{size_shown(state.bytes)}{of}, {size_shown(state.rate)}/s"
        if is_live():
            redraw(text)
            self._is_drawn = True
        else:
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """There is nothing more to show: what comes next has a line of its own."""
        if self._is_drawn:
            print(file=sys.stderr, flush=True)
            self._is_drawn = False


# ---- on stderr


def is_live() -> bool:
    """Whether stderr is a terminal on which a line can change."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """How many characters a line that changes may have."""
    from shutil import get_terminal_size  # which `import fastreq` does without

    return get_terminal_size().columns - 1


def redraw(text: str, end: str = "") -> None:
    """Write over the line that was drawn last; cut to what fits."""
    print(f"\r\x1b[K{text[: width()]}", end=end, file=sys.stderr, flush=True)


_UNITS = ("bytes", "KiB", "MiB", "GiB")


def size_shown(number: float) -> str:
    """A size for people: "256 MiB"."""
    power = min(max(int(number).bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    number /= 1024**power
    return f"{number:{',.0f' if number >= 1000 else '.3g'}} {_UNITS[power]}"
