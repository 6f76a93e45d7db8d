"""A line that tells how far it is, while it lasts: changing on a terminal, now and then in a log.

It is on stderr, so stdout has the result and nothing else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastreq.bulk.progress import is_live, redraw, width
from fastreq.cli.screen import is_drawable

WIDTH = 24  # of the bar
LEAST = 8  # of it, else there is none
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
            redraw("")


async def _keep_showing(name: str, part: Callable[[], float], numbers: Callable[[], str]) -> None:
    while True:
        await asyncio.sleep(LIVE_SECONDS if is_live() else LOG_SECONDS)
        if is_live():
            redraw(with_bar(name, part(), numbers()))
        else:
            print(f"{name}: {numbers()}", file=sys.stderr, flush=True)


def with_bar(name: str, part: float, numbers: str) -> str:
    """A line with a bar in it, where there is room for one.

    Args:
        name: of what goes on.
        part: how much of it is done, from 0 to 1.
        numbers: what is said beside that.
    """
    room = min(WIDTH, width() - len(f"  {name}    {numbers}"))
    if room < LEAST:
        return f"  {name}  {numbers}"
    marks = "━─" if is_drawable("━─", sys.stderr) else "#-"
    full = round(room * min(part, 1.0))
    return f"  {name}  {marks[0] * full}{marks[1] * (room - full)}  {numbers}"
