"""How many connections of a client are begun in one turn of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque

PLACES = 64
"""Connections that are begun in a turn, which takes 3 to 5 ms; twice as many when a line ends."""


class Turnstile:
    """Lets so many through in a turn of the loop, and the rest in the turns that follow, in order.

    Thousands that are begun in one turn would hold up all else on the loop for as long as that
    takes, and be in memory all at once when each of them needs most of it (benchmark: 5,000 at
    once).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free = PLACES
        self._line: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Turnstile free={self._free} waiting={len(self._line)}>"

    async def turn(self) -> None:
        """Go through, in this turn if it has room. Cancelling leaves the line."""
        if self._free == PLACES:
            self._loop.call_soon(self._next_turn)
        if self._free:
            self._free -= 1
            return
        waiter = self._loop.create_future()
        self._line.append(waiter)
        await waiter

    def _next_turn(self) -> None:
        self._free = PLACES
        while self._line and self._free:
            waiter = self._line.popleft()
            if not waiter.done():  # cancelled
                waiter.set_result(None)
                self._free -= 1
        if self._free < PLACES:
            self._loop.call_soon(self._next_turn)
