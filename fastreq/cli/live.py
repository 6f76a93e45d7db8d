"""A line that tells how far it is, while it lasts: changing on a terminal, now and then in a log.

It is on stderr, so stdout has the result and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastreq.cli.screen import is_drawable

WIDTH = 24  # of the bar
LIVE_SECONDS = 0.1
LOG_SECONDS = 10.0


@asynccontextmanager
async def showing(
    name: str, part: Callable[[], float], numbers: Callable[[], str]
) -> AsyncIterator[None]:
    """Show a line for as long as the block lasts, and take it away where it is drawn.

    Args:
        name: of what goes on.
        part: how much of it is done, from 0 to 1.
        numbers: what is said beside that.
    """
    task = asyncio.create_task(_keep_showing(name, part, numbers))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if is_live():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


async def _keep_showing(name: str, part: Callable[[], float], numbers: Callable[[], str]) -> None:
    marks = "━─" if is_drawable("━─", sys.stderr) else "#-"
    while True:
        await asyncio.sleep(LIVE_SECONDS if is_live() else LOG_SECONDS)
        if is_live():
            full = round(WIDTH * min(part(), 1.0))
            bar = marks[0] * full + marks[1] * (WIDTH - full)
            width = shutil.get_terminal_size().columns - 1
            line = f"  {name}  {bar}  {numbers()}"[:width]
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(f"{name}: {numbers()}", file=sys.stderr, flush=True)


def is_live() -> bool:
    """Whether stderr is a terminal on which a line can change."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
