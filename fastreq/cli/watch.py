"""How far `fastreq fetch` is: a line that changes, lines in a log, or lines of JSON; on stderr."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any, Final

from fastreq.bulk.progress import Progress

KINDS: Final = ("auto", "bar", "plain", "json", "none")

MAX_HOSTS: Final = 1000  # that are watched for the slowest

_SECONDS = {"bar": 0.2, "plain": 10.0, "json": 1.0}


class Watch:
    """Counts rows, and shows them."""

    def __init__(self, kind: str, fraction: Callable[[], float | None]) -> None:
        if kind == "auto":
            live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
            kind = "bar" if live else "plain"
        self._kind = kind
        self._fraction = fraction  # of the input that was read
        self._since = self._shown = monotonic()
        self._told: int | None = None  # rows, in the last line of a log
        self.done = self.ok = self.bytes = 0
        self._before = 0  # of `done`, rows of an earlier run
        self._slowest: tuple[str, float] | None = None  # as somebody else has found
        self._hosts: dict[str, tuple[float, int]] = {}  # seconds of answers, and how many

    def count(self, rows: int, ok: int, size: int) -> None:
        """There are more rows."""
        self.done += rows
        self.ok += ok
        self.bytes += size

    def set(self, state: Progress) -> None:
        """That is how far it is, as somebody else has counted."""
        self.done, self.ok = state.done, state.done - state.failed
        self._before, self._slowest = state.before, state.slowest
        # Those of this run, as far as rows are alike.
        self.bytes = state.bytes * (state.done - state.before) // max(state.done, 1)

    def time(self, host: str, seconds: float) -> None:
        """A host has answered, after so long."""
        total, count = self._hosts.get(host, (0.0, 0))
        if count or len(self._hosts) < MAX_HOSTS:
            self._hosts[host] = (total + seconds, count + 1)

    @asynccontextmanager
    async def shown(self, every: Callable[[], None]) -> AsyncIterator[None]:
        """Show it for as long as the block lasts, and call `every` second."""
        showing = asyncio.create_task(self._keep_showing(every))
        try:
            yield
        finally:
            showing.cancel()
            with suppress(asyncio.CancelledError):
                await showing

    async def _keep_showing(self, every: Callable[[], None]) -> None:
        called = monotonic()
        while True:
            await asyncio.sleep(min(1.0, _SECONDS.get(self._kind, 1.0)))
            self.show_if_due()
            if monotonic() - called >= 1.0:
                every()
                called = monotonic()

    def show_if_due(self) -> None:
        """Show how far it is, if that was some time ago."""
        if (now := monotonic()) - self._shown >= _SECONDS.get(self._kind, float("inf")):
            self._shown = now
            self.show()

    def show(self, *, end: bool = False) -> None:
        """Show how far it is now."""
        if self._kind == "json":
            print(json.dumps(self._state()), file=sys.stderr, flush=True)
        elif self._kind == "plain":
            if not (end and self.done == self._told):  # that line is there already
                print(f"fetch: {self._line()}", file=sys.stderr, flush=True)
            self._told = self.done
        elif self._kind == "bar":
            width = shutil.get_terminal_size().columns - 1
            tail = "\n" if end else ""
            print(f"\r\x1b[K{self._line()[:width]}", end=tail, file=sys.stderr, flush=True)

    def _state(self) -> dict[str, Any]:
        elapsed = monotonic() - self._since
        fraction = self._fraction()
        means = ((host, _mean(times)) for host, times in self._hosts.items())
        slowest = self._slowest or max(means, key=lambda mean: mean[1], default=None)
        return {
            "done": self.done,
            "ok": self.ok,
            "failed": self.done - self.ok,
            "rate": round((self.done - self._before) / elapsed, 1) if elapsed else 0.0,
            "bytes": self.bytes,
            "elapsed": round(elapsed, 1),
            "eta": round(elapsed * (1 - fraction) / fraction, 1) if fraction else None,
            "slowest": slowest[0] if slowest else None,
            "slowest_seconds": round(slowest[1], 3) if slowest else None,
        }

    def _line(self) -> str:
        state = self._state()
        elapsed = state["elapsed"] or 1.0
        parts = [
            f"{self.done:,} done",
            f"{self.ok:,} ok",
            f"{state['failed']:,} failed",
            f"{state['rate']:,.0f}/s",
            f"{self.bytes / 1e6 / elapsed:,.1f} MB/s",
        ]
        if state["eta"] is not None:
            parts.append(f"{state['eta']:,.0f} s left")
        if state["slowest"] is not None:
            parts.append(f"slowest {state['slowest']} {state['slowest_seconds'] * 1000:,.0f} ms")
        return ", ".join(parts)


def _mean(times: tuple[float, int]) -> float:
    return times[0] / times[1]
