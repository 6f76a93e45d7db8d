"""A body on its way out: a task takes its pieces from where they come, and writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol

from fastreq.exchange import Exchange
from fastreq.http1.request import PIECE, OutgoingBody

TURNS_TO_READ = 3
"""Turns of the loop within which it reads what has come, unless reading is paused."""


class Outlet(Protocol):
    """What an upload needs of its connection."""

    transport: asyncio.Transport
    write_paused: bool

    def is_readable(self) -> bool:
        """Whether something has come that nobody has read."""
        ...

    def stalls(self, exchange: Exchange) -> None:
        """The peer has to take something before more can be written."""
        ...

    def flows(self, exchange: Exchange) -> None:
        """It is we who owe the peer something."""
        ...


class Upload:
    """Sends a body in a task of its own, for its source may take for ever to give a piece, and that
    must not keep anybody from what the peer does meanwhile."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outlet: Outlet,
        exchange: Exchange,
        body: OutgoingBody,
        ended: Callable[[Upload], None],
    ) -> None:
        self.exchange = exchange
        self.is_awaited = True  # by whoever waits for the answer
        self._loop = loop
        self._outlet = outlet
        self._written = 0  # bytes since others had their turn
        self._room: asyncio.Future[None] | None = None  # awaited while writing is paused
        self._task = loop.create_task(self._run(body))
        self._task.add_done_callback(lambda _: ended(self))

    def __repr__(self) -> str:
        return f"<Upload {'ended' if self.done else 'under way'}>"

    @property
    def done(self) -> bool:
        """Whether the source is let go of."""
        return self._task.done()

    @property
    def error(self) -> BaseException | None:
        """What the source, or its length, was wrong with; nothing, if it was cancelled."""
        return None if self._task.cancelled() else self._task.exception()

    def cancel(self) -> None:
        """Send no more of it."""
        self._task.cancel()

    async def wait_done(self) -> None:
        """Wait until the source is let go of, after `cancel()` too."""
        await asyncio.wait([self._task])

    def resume(self) -> None:
        """The transport has room."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    async def _run(self, body: OutgoingBody) -> None:
        """Write all of it, unless the transport closes."""
        transport = self._outlet.transport
        async with aclosing(body.pieces()) as pieces:
            async for piece in pieces:
                await self._let_read()
                await self._make_room()
                if transport.is_closing():
                    return
                transport.write(piece)
                self._written += len(piece)
        self.exchange.sent = not transport.is_closing()
        await self._make_room()

    async def _let_read(self) -> None:
        """Let the loop read what has come, and every so often do what else there is.

        An answer may be there, and its sender gone: then the next write is an error that hides it.
        """
        if self._written >= PIECE:
            self._written = 0
            await asyncio.sleep(0)
        for _ in range(TURNS_TO_READ):
            if not self._outlet.is_readable():
                break
            await asyncio.sleep(0)

    async def _make_room(self) -> None:
        """Wait until the transport's buffer has room."""
        while self._outlet.write_paused:
            self._outlet.stalls(self.exchange)
            self._room = self._loop.create_future()
            await self._room
        self._outlet.flows(self.exchange)
