"""How far it is: a line that changes on a terminal, else a line every ten seconds, on stderr."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic

from fastreq.cli.screen import is_drawable

WIDTH = 28  # of the bar


class Progress:
    """What is done of something; count it up in `done`."""

    def __init__(self, name: str, total: int | None, shown: Callable[[float], str]) -> None:
        self.done = 0
        self.before = 0  # what was done already, and tells nothing of the rate
        self.total = total  # None: not known yet
        self._name = name
        self._shown = shown  # a number of what is counted, for people
        self._since = monotonic()
        self._is_live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._marks = "━─" if is_drawable("━─", sys.stderr) else "#-"

    async def keep_showing(self) -> None:
        while True:
            await asyncio.sleep(0.1 if self._is_live else 10)
            self._show()

    def _show(self) -> None:
        rate = (self.done - self.before) / (monotonic() - self._since)
        of = f" of {self._shown(self.total)}" if self.total else ""
        numbers = f"{self._shown(self.done)}{of}, {self._shown(rate)}/s"
        if not self._is_live:
            print(f"{self._name}: {numbers}", file=sys.stderr)
            return
        full = WIDTH * self.done // self.total if self.total else 0
        drawn = self._marks[0] * full + self._marks[1] * (WIDTH - full)
        line = f"  {self._name}  {drawn}  {numbers}"
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._is_live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@asynccontextmanager
async def progress(
    name: str, total: int | None, shown: Callable[[float], str] = "{:.0f}".format
) -> AsyncIterator[Progress]:
    """Show how far it is, for as long as the block lasts."""
    shown_progress = Progress(name, total, shown)
    showing = asyncio.create_task(shown_progress.keep_showing())
    try:
        yield shown_progress
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing
        shown_progress.clear()
