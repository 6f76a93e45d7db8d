"""A ceiling over the bodies that are being buffered: `Client(max_in_flight=...)`."""

from __future__ import annotations

from typing import Protocol


class Reading(Protocol):
    """A connection that receives a body."""

    def hold(self) -> None:
        """Read no more for now."""
        ...

    def go_on(self) -> None:
        """Read again."""
        ...


class Ceiling:
    """Keeps the bytes of all bodies that are not whole yet under a limit.

    Over it, only the connection that began first goes on; so one body always gets done, and makes
    room for the next. Each connection may overshoot by what one read brings.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sizes: dict[Reading, int] = {}  # bytes so far, oldest first
        self._held: dict[Reading, None] = {}  # in the order in which they were stopped
        self._total = 0

    def __repr__(self) -> str:
        return f"<Ceiling {self._total} of {self._limit} bytes, {len(self._held)} held>"

    def grew(self, connection: Reading, size: int) -> None:
        """The body on a connection has so many bytes now, and wants more."""
        self._total += size - self._sizes.get(connection, 0)
        self._sizes[connection] = size
        if self._total > self._limit and connection is not next(iter(self._sizes)):
            self._held[connection] = None
            connection.hold()

    def ended(self, connection: Reading) -> None:
        """The body on a connection is whole, or will never be."""
        self._total -= self._sizes.pop(connection, 0)
        self._held.pop(connection, None)
        oldest = next(iter(self._sizes), None)
        if oldest is not None and oldest in self._held:
            self._release(oldest)
        while self._held and self._total <= self._limit:
            self._release(next(iter(self._held)))

    def _release(self, connection: Reading) -> None:
        del self._held[connection]
        connection.go_on()
