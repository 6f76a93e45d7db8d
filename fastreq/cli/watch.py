"""How far `fastreq fetch` is: a line that changes, lines in a log, or lines of JSON; on stderr."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final

from fastreq.bulk.progress import HostTimes, Progress, is_live, redraw, size_shown
from fastreq.cli.live import with_bar

KINDS: Final = ("auto", "bar", "plain", "json", "none")

LONG: Final = 2.0  # seconds of a pause, before it is told

_SECONDS = {"bar": 0.2, "plain": 10.0, "json": 1.0}


def _no_pause() -> None:
    return None


class Watch:
    """Counts rows, and shows them.

    Args:
        kind: one of KINDS.
        fraction: how much of the input has been read, where that can be known; of what is done,
            where nobody calls `read()`.
        pause: the host that is waited for longest, and for how many seconds; None: none is.
    """

    def __init__(
        self,
        kind: str,
        fraction: Callable[[], float | None],
        pause: Callable[[], tuple[str, float] | None] = _no_pause,
    ) -> None:
        if kind == "auto":
            kind = "bar" if is_live() else "plain"
        self._kind = kind
        self._fraction = fraction
        self._pause = pause
        self._since = self._shown = monotonic()
        self._told: int | None = None  # rows, in the last line of a log
        self._read = self._skipped = 0  # lines of the input; of them, those that had their row
        self.done = self.ok = self.bytes = 0
        self._before = 0  # of `done`, rows of an earlier run
        self._slowest: tuple[str, float] | None = None  # as somebody else has found
        self._times = HostTimes()

    def read(self, *, is_done: bool = False) -> None:
        """A line of the input was read; `is_done`: an earlier run has written its row."""
        self._read += 1
        if is_done:
            self._skipped += 1
        elif self._read == self._skipped + 1:
            self._since = monotonic()  # what was passed over took no time worth speaking of

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
        self._times.add(host, seconds)

    @asynccontextmanager
    async def shown(self, every: Callable[[], None]) -> AsyncIterator[None]:
        """Show it for as long as the block lasts, and call `every` second.

        Raises:
            Exception: what `every` raised, as soon as it does.
        """
        try:
            async with asyncio.TaskGroup() as group:
                showing = group.create_task(self._keep_showing(every))
                try:
                    yield
                finally:
                    showing.cancel()
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

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
        """Show how far it is now; at the `end` in a line that stays."""
        if self._kind == "json":
            print(json.dumps(self._state()), file=sys.stderr, flush=True)
        elif self._kind == "bar" and not end:
            redraw(with_bar("fetch", self._part() or 0.0, self._line()))
        elif self._kind in ("bar", "plain"):
            if self._kind == "bar":
                redraw("")
            if not (end and self.done == self._told):  # that line is there already
                nothing = end and self._skipped and not self.done
                text = f"nothing left to do, {self._skipped:,} rows are there" if nothing else ""
                print(f"fetch: {text or self._line()}", file=sys.stderr, flush=True)
            self._told = self.done

    def show_broken_off(self) -> None:
        """Show how far it has come, if anything was done; the line of a bar is never left open."""
        if self.done:
            self.show(end=True)
        elif self._kind == "bar":
            redraw("")

    def _part(self) -> float | None:
        """How much of what this run has to do is done, where that can be known."""
        fraction = self._fraction()
        if not fraction or not self._read:
            return fraction
        todo = self._read / fraction - self._skipped
        return min(1.0, self.done / todo) if todo > 0 else 1.0

    def _state(self) -> dict[str, Any]:
        elapsed = monotonic() - self._since
        part = self._part()
        slowest = self._slowest or self._times.slowest()
        waits_for, waits = self._pause() or (None, 0.0)
        is_long = waits >= LONG
        return {
            "done": self.done,
            "ok": self.ok,
            "failed": self.done - self.ok,
            "rate": round((self.done - self._before) / elapsed, 1) if elapsed else 0.0,
            "bytes": self.bytes,
            "elapsed": round(elapsed, 1),
            "eta": round(elapsed * (1 - part) / part, 1) if part else None,
            "slowest": slowest[0] if slowest else None,
            "slowest_seconds": round(slowest[1], 3) if slowest else None,
            "waits_for": waits_for if is_long else None,
            "waits_seconds": round(waits, 1) if is_long else None,
        }

    def _line(self) -> str:
        state = self._state()
        per_second = size_shown(self.bytes / (state["elapsed"] or 1.0))
        parts = [
            f"{self.done:,} done",
            f"{self.ok:,} ok",
            f"{state['failed']:,} failed",
            f"{state['rate']:,.0f}/s",
            f"{per_second}/s",
        ]
        if state["eta"] is not None:
            parts.append(f"{state['eta']:,.0f} s left")
        if state["waits_for"] is not None:
            parts.append(f"waits {state['waits_seconds']:,.0f} s for {state['waits_for']}")
        if state["slowest"] is not None:
            parts.append(f"slowest {state['slowest']} {state['slowest_seconds'] * 1000:,.0f} ms")
        return ", ".join(parts)
