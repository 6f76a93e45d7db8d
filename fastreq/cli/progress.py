"""How far it is, of something that is counted: a bar, how much of how much, and the rate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from fastreq.cli.live import showing


class Progress:
    """What is done of something; count it up in `done`."""

    def __init__(self, total: int | None, shown: Callable[[float], str]) -> None:
        self.done = 0
        self.before = 0  # what was done already, and tells nothing of the rate
        self.total = total  # None: not known yet
        self._shown = shown  # a number of what is counted, for people
        self._since = monotonic()

    def part(self) -> float:
        return self.done / self.total if self.total else 0.0

    def numbers(self) -> str:
        rate = (self.done - self.before) / (monotonic() - self._since)
        of = f" of {self._shown(self.total)}" if self.total else ""
        return f"{self._shown(self.done)}{of}, {self._shown(rate)}/s"


@asynccontextmanager
async def progress(
    name: str, total: int | None, shown: Callable[[float], str] = "{:.0f}".format
) -> AsyncIterator[Progress]:
    """Show how far it is, for as long as the block lasts."""
    counter = Progress(total, shown)
    async with showing(name, counter.part, counter.numbers):
        yield counter
