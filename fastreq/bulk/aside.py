"""Which item is next: what waits for its host is put aside, so that it holds up no other host's.

Lists are often sorted by host. With a fixed crew, a host that is slow, or wants a pause, would soon
have all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any, Final, Generic, Self, TypeVar

from fastreq.messages import Response
from fastreq.policies.hosts import HostPace, Policy

T = TypeVar("T")

MOST: Final = 10_000
"""Items that are put aside at once; beyond them the source waits, whoever is free."""

READY: Final = 64  # hosts that could be asked at once, before more is read

BREATH: Final = 500  # items that are read before others have their turn

MAX_HOSTS: Final = 4096
"""Hosts that are remembered, of those that have nothing to remember."""


class _Host(Generic[T]):
    """A host, and what waits for it."""

    __slots__ = ("is_listed", "items", "most", "name", "pace", "since", "under_way")

    def __init__(self, name: str, most: float, policy: Policy) -> None:
        self.name = name
        self.items: deque[T] = deque()
        self.under_way = 0
        self.most = most  # under way
        self.pace = HostPace(policy)
        self.is_listed = False  # among those that may be asked, now or at some time
        self.since: float | None = None  # when the next began to wait for its turn

    def is_idle(self, now: float) -> bool:
        """Whether it may be forgotten."""
        return not self.items and not self.under_way and self.pace.is_idle(now)


class Aside(Generic[T]):
    """The items of a source, first those of hosts that are free; of one host in their order.

    Args:
        source: the items. What it raises is raised once all before has been handed out.
        host_of: gives the host of an item; "" of what has none, and need not wait.
        most_of_host: items of a host that are under way at once.
        policy: the pace and the pauses of each host.
        most: items that are put aside at once.
    """

    def __init__(
        self,
        source: AsyncIterator[T],
        host_of: Callable[[T], str],
        most_of_host: int,
        policy: Policy,
        most: int = MOST,
    ) -> None:
        self._source = source
        self._host_of = host_of
        self._most_of_host = most_of_host
        self._policy = policy
        self._most = most
        self._aside = 0  # items
        self._hosts: dict[str, _Host[T]] = {}
        self._most_hosts = MAX_HOSTS  # before the idle ones are looked for
        self._ready: deque[_Host[T]] = deque()  # that have items, and may be asked
        self._pausing: list[tuple[float, int, _Host[T]]] = []  # and when they may be, as a heap
        self._order = count()
        self._reader: asyncio.Task[None] | None = None
        self._is_over = False  # all has been read
        self._error: BaseException | None = None  # of the source
        self._taker: asyncio.Future[None] | None = None  # who waits for an item
        self._room: asyncio.Future[None] | None = None  # the reader, who has read enough

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        while True:
            now = monotonic()
            while self._pausing and self._pausing[0][0] <= now:
                self._ready.append(heappop(self._pausing)[2])
            while self._ready:
                host = self._ready.popleft()
                if not (seconds := host.pace.reserve(now, host.since)):
                    return self._take(host)
                host.since = host.since or now
                heappush(self._pausing, (now + seconds, next(self._order), host))
            if self._is_over and not self._aside:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._go_on_reading()
            await self._wait()

    def ended(self, item: T) -> None:
        """An item that was handed out is not under way any more."""
        host = self._hosts[self._host_of(item)]
        host.under_way -= 1
        self._list(host)

    def heard(self, response: Response) -> None:
        """Obey what a response says of its host's pace."""
        host = self._host(response.request.url.origin)
        host.pace.heard(response, monotonic(), time.time())

    def longest_pause(self) -> tuple[str, float] | None:
        """The host whose items wait longest because of its pace, and the seconds; None: none."""
        if not self._pausing:
            return None
        due, _, host = max(self._pausing)
        return host.name, max(0.0, due - monotonic())

    async def aclose(self) -> None:
        """Read no more, and close the source, if it can be."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        if (aclose := getattr(self._source, "aclose", None)) is not None:
            await aclose()

    # ---- handing out

    def _take(self, host: _Host[T]) -> T:
        item = host.items.popleft()
        host.under_way += 1
        host.is_listed, host.since = False, None
        self._aside -= 1
        self._list(host)
        if len(self._ready) < READY // 2:
            self._go_on_reading()
        return item

    def _list(self, host: _Host[T]) -> None:
        """See that a host's next item is handed out at some time, if it may be."""
        if host.items and not host.is_listed and host.under_way < host.most:
            host.is_listed = True
            self._ready.append(host)
            _wake(self._taker)

    async def _wait(self) -> None:
        """Wait until there may be something to hand out."""
        loop = asyncio.get_running_loop()
        taker = self._taker = loop.create_future()
        timer = None
        if self._pausing:
            timer = loop.call_later(max(0.0, self._pausing[0][0] - monotonic()), _wake, taker)
        try:
            await taker
        finally:
            self._taker = None
            if timer is not None:
                timer.cancel()

    # ---- reading

    async def _read(self) -> None:
        breath = 0
        try:
            async for item in self._source:
                host = self._host(self._host_of(item))
                host.items.append(item)
                self._aside += 1
                self._list(host)
                breath += 1
                if breath % BREATH == 0:
                    await asyncio.sleep(0)
                while self._aside >= self._most or len(self._ready) >= READY:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        except Exception as exc:
            self._error = exc
        finally:
            self._is_over = True
            _wake(self._taker)

    def _go_on_reading(self) -> None:
        if self._aside < self._most:
            _wake(self._room)

    def _host(self, name: str) -> _Host[T]:
        host = self._hosts.get(name)
        if host is None:
            self._forget_idle()
            most, policy = (self._most_of_host, self._policy) if name else (float("inf"), Policy())
            host = self._hosts[name] = _Host(name, most, policy)
        return host

    def _forget_idle(self) -> None:
        if len(self._hosts) >= self._most_hosts:
            now = monotonic()
            self._hosts = {name: h for name, h in self._hosts.items() if not h.is_idle(now)}
            self._most_hosts = max(MAX_HOSTS, 2 * len(self._hosts))


def _wake(waiting: asyncio.Future[Any] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
