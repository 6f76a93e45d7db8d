"""Deadlines are numbers on what may be late; one timer per client looks at all of them.

A timer per request would cost more than all the parsing does. So whatever can be late has a
`due`, a number that may be moved for nothing, and the one timer stands at the earliest of them.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol

NEVER = float("inf")

GRANULARITY = 0.02
"""Seconds between two sweeps at the least, so that many deadlines close together cost one."""

BLOCKED = 0.25
"""Seconds by which the timer may be late before an error text blames the event loop."""


def blocked(late: float) -> str:
    """What an error text says of an event loop that was late by so many seconds."""
    if late <= BLOCKED:
        return ""
    return f" (the event loop was blocked for {late:.1f} s: look there first)"


class Timed(Protocol):
    """What can be late."""

    due: float
    """`time.monotonic()` before which nothing needs to be done; it may be too early."""

    def check(self, now: float, late: float) -> float:
        """Act if the time has come; give the new `due`. The loop was `late` by so many seconds."""
        ...


class Deadlines:
    """The deadlines of a client, on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.next: float = NEVER  # when the timer goes off
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._watched: set[Timed] = set()

    def __repr__(self) -> str:
        return f"<Deadlines watched={len(self._watched)} next={self.next}>"

    def watch(self, item: Timed) -> None:
        """Look at `item` when it is due, until `forget()`."""
        self._watched.add(item)
        self.moved_up(item.due)

    def forget(self, item: Timed) -> None:
        """Look at `item` no more; the last to go takes the timer with it."""
        self._watched.discard(item)
        if not self._watched:
            self.close()

    def moved_up(self, due: float) -> None:
        """Something watched is due at `due` now. A caller may test `due < next` on its own."""
        if due < self.next:
            if self._timer is not None:
                self._timer.cancel()
            now = monotonic()
            self.next = max(due, now)  # for how late the timer is hangs on when it could go off
            self._timer = self._loop.call_later(self.next - now, self._wake)

    def close(self) -> None:
        """Drop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.next = NEVER

    def _wake(self) -> None:
        late = monotonic() - self.next
        if late > GRANULARITY:
            # What has arrived while the loop was busy is read first, and only then judged.
            self._timer = self._loop.call_later(GRANULARITY, self._sweep, late)
        else:
            self._sweep(0.0)

    def _sweep(self, late: float) -> None:
        now = monotonic()
        for item in tuple(self._watched):
            if item.due <= now:
                self._check(item, now, late)
        self.close()
        earliest = min((item.due for item in self._watched), default=NEVER)
        if earliest < NEVER:
            self.moved_up(max(earliest, now + GRANULARITY))

    def _check(self, item: Timed, now: float, late: float) -> None:
        """See to one; whatever is wrong with it does not keep the others from their deadlines."""
        try:
            item.due = item.check(now, late)
        except Exception as exc:
            item.due = NEVER
            self._loop.call_exception_handler(
                {"message": f"a deadline of {item!r} could not be seen to", "exception": exc}
            )
