"""Leases per host: which connection carries which request, and who has to wait.

The pool knows no sockets. A *slot* is the right to have a connection open; whoever holds a lease
or is opening a connection holds a slot, and so does every idle connection. Slots, connections and
waiters move in `_pass_on()` alone, in one step, so that cancelling can lose none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Hashable
from time import monotonic
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from fastreq.deadline import NEVER, Deadlines, blocked
from fastreq.errors import ClientClosed, PoolTimeout
from fastreq.options import Limits


class Connection(Protocol):
    """What the pool needs to know of a connection."""

    host: Any
    retire_at: float

    def is_usable(self, now: float) -> bool: ...
    def close(self) -> None: ...
    def when_lost(self, call: Callable[[Any], None]) -> None: ...
    async def wait_closed(self) -> None: ...


C = TypeVar("C", bound=Connection)

LEAVING_SECONDS = 1.0
"""How long a server that does not close its side keeps another connection from being opened."""

REMEMBERED = 1024
"""Keys without a connection whose counts are remembered."""


class OriginStats(NamedTuple):
    """The connections of one origin."""

    open: int  # opened, or being opened
    leased: int
    idle: int
    waiting: int  # requests in line
    opened: int  # connections, since the origin's first
    reused: int  # leases of a connection that had carried another request


class PoolStats(dict[str, OriginStats]):
    """Per origin that has a connection, or a request in line, what `Client.stats()` gives:
    `stats["https://example.com"].idle`."""

    gone: tuple[int, int] = (0, 0)  # opened and reused, at origins that have none any more

    @property
    def total(self) -> OriginStats:
        """The sum over all origins; what was opened and reused, since the client was first used."""
        gone = OriginStats(0, 0, 0, 0, *self.gone)
        return OriginStats(*(sum(column) for column in zip(gone, *self.values(), strict=True)))


class Host(Generic[C]):
    """The connections of one key, and the requests that wait for one."""

    __slots__ = ("idle", "key", "leaving", "limit", "opened", "reused", "slots", "waiters")

    def __init__(self, key: Hashable, limit: float) -> None:
        self.key = key
        self.limit = limit  # of slots
        self.slots = 0
        self.idle: dict[C, None] = {}  # newest last
        self.waiters: dict[Waiter[C], None] = {}  # in line
        # Closed, without a slot, and to the server still there; until when they count.
        self.leaving: dict[C, float] = {}
        self.opened = 0
        self.reused = 0

    def __repr__(self) -> str:
        return f"<Host {self.key} slots={self.slots} idle={len(self.idle)}>"

    def first_waiter(self) -> Waiter[C] | None:
        """Whoever has waited longest; those who were cancelled, or late, are struck off."""
        while self.waiters:
            waiter = next(iter(self.waiters))
            if not waiter.future.done():
                return waiter
            del self.waiters[waiter]
        return None


class Waiter(Generic[C]):
    """A request in line: it is given a connection, or None, the right to open one."""

    __slots__ = ("due", "future", "key", "since", "timeout")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, key: Hashable, timeout: float | None
    ) -> None:
        self.key = key
        self.future: asyncio.Future[C | None] = loop.create_future()
        self.since = monotonic()
        self.timeout = timeout
        self.due = NEVER if timeout is None else self.since + timeout

    def check(self, now: float, late: float) -> float:
        """Leave the line when it took too long."""
        if now < self.due:
            return self.due
        if not self.future.done():
            text = (
                f"no connection to {self.key} came free within {self.timeout} s; "
                "Timeout(pool=...) moves it"
            )
            self.future.set_exception(PoolTimeout(text + blocked(late)).at("pool"))
        return NEVER


class Pool(Generic[C]):
    """The connections of a client on one loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        deadlines: Deadlines,
        max_connections: Callable[[Hashable], int | None] | None = None,
    ) -> None:
        self.limits = limits
        self._loop = loop
        self._deadlines = deadlines
        self._per_host = limits.max_per_host or NEVER
        self._max_connections = max_connections  # of a key, where it is less
        self._total = limits.max_connections or NEVER
        self._most_idle = NEVER if limits.max_keepalive is None else limits.max_keepalive
        self._hosts: dict[Hashable, Host[C]] = {}
        self._slots = 0
        self._idle: dict[C, None] = {}  # of all hosts, newest last
        self._past: dict[
            Hashable, tuple[int, int]
        ] = {}  # opened and reused, of hosts that are gone
        self._gone = (0, 0)  # the same of all that are gone, remembered or not
        # Hosts with waiters that only the limit in all keeps waiting; served in turn.
        self._starved: dict[Host[C], None] = {}

    def __repr__(self) -> str:
        return f"<Pool leased={self._slots - len(self._idle)} idle={len(self._idle)}>"

    # ---- leasing

    def take(self, key: Hashable) -> C | None:
        """Lease an idle connection, the newest, if there is one; nothing is awaited."""
        host = self._hosts.get(key)
        if host is not None and host.idle:
            now = monotonic()
            while host.idle:
                connection, _ = host.idle.popitem()
                del self._idle[connection]
                if connection.is_usable(now):
                    host.reused += 1
                    return connection
                self._see_off(host, connection)
                self._pass_on(host, None)
        return None

    async def lease(
        self,
        key: Hashable,
        connect: Callable[[], Awaitable[C]],
        *,
        timeout: float | None = None,
        fresh: bool = False,
    ) -> C:
        """Lease a connection: an idle one, or a new one, once there is a slot for it.

        Cancelling leaves the line, or passes on what was just given.

        Args:
            key: what makes two connections interchangeable.
            connect: opens a connection.
            timeout: seconds in line.
            fresh: an idle connection will not do.

        Raises:
            PoolTimeout: nothing came free in time.
            ConnectError: whatever `connect` raises.
        """
        connection = None if fresh else self.take(key)
        if connection is not None:
            return connection
        host = self._hosts.get(key) or self._add_host(key)
        if not self._take_slot(host):
            connection = self._if_usable(host, await self._wait(host, timeout, first=fresh))
            if connection is not None and not fresh:
                host.reused += 1
                return connection
            if connection is not None:
                self._see_off(host, connection)
        return await self._open(host, connect)

    def _if_usable(self, host: Host[C], connection: C | None) -> C | None:
        """What was handed over may have gone bad on its way: then only its slot is left."""
        if connection is None or connection.is_usable(monotonic()):
            return connection
        self._see_off(host, connection)
        return None

    def _add_host(self, key: Hashable) -> Host[C]:
        limit = self._max_connections(key) if self._max_connections is not None else None
        host = self._hosts[key] = Host(key, min(self._per_host, limit or NEVER))
        host.opened, host.reused = self._past.pop(key, (0, 0))
        self._gone = (self._gone[0] - host.opened, self._gone[1] - host.reused)
        return host

    async def _open(self, host: Host[C], connect: Callable[[], Awaitable[C]]) -> C:
        """Open a connection on a slot that is ours."""
        try:
            while host.leaving and host.slots + len(host.leaving) > host.limit:
                await self._wait_until_left(host)
            connection = await connect()
        except BaseException:
            self._pass_on(host, None)
            raise
        host.opened += 1
        connection.host = host
        if self.limits.max_age is not None:
            # Jitter, so that what was opened together does not go together.
            connection.retire_at = monotonic() + self.limits.max_age * random.uniform(0.9, 1)
        return connection

    async def _wait_until_left(self, host: Host[C]) -> None:
        """Wait until there is one connection less; not long, for it may not close."""
        connection, until = next(iter(host.leaving.items()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until - monotonic()):
                await connection.wait_closed()
        host.leaving.pop(connection, None)

    def _take_slot(self, host: Host[C]) -> bool:
        """Take the right to open a connection, if need be from the oldest idle one elsewhere."""
        if host.first_waiter() is not None:
            return False
        oldest = None
        if host.slots >= host.limit or self._slots >= self._total:
            # One of ours is idle only where we want none of those.
            oldest = next(iter(host.idle if host.slots >= host.limit else self._idle), None)
            if oldest is None:
                return False
        host.slots += 1
        self._slots += 1
        if oldest is not None:
            self._drop(oldest)
        return True

    async def _wait(self, host: Host[C], timeout: float | None, first: bool) -> C | None:
        """Stand in line."""
        waiter: Waiter[C] = Waiter(self._loop, host.key, timeout)
        if first:  # it has been in line before
            host.waiters = {waiter: None, **host.waiters}
        else:
            host.waiters[waiter] = None
        self._note_starved(host)
        if waiter.due < NEVER:
            self._deadlines.watch(waiter)
        try:
            return await waiter.future
        except BaseException:
            given = waiter.future.done() and not waiter.future.cancelled()
            if given and waiter.future.exception() is None:
                self._pass_on(host, self._if_usable(host, waiter.future.result()))
            host.waiters.pop(waiter, None)
            self._tidy(host)
            raise
        finally:
            if timeout is not None:
                self._deadlines.forget(waiter)

    # ---- giving back

    def give_back(self, connection: C, reusable: bool) -> None:
        """End a lease; one that is not reusable is closed by now."""
        host: Host[C] = connection.host
        if not reusable:
            self._note_leaving(host, connection)
            self._pass_on(host, None)
        elif host.waiters or self._starved:
            self._pass_on(host, connection)
        else:
            self._rest(host, connection)

    def lose(self, connection: C) -> None:
        """Forget an idle connection, which closes; one that is leased is given back by its
        holder."""
        if connection in self._idle:
            del self._idle[connection]
            del connection.host.idle[connection]
            self._note_leaving(connection.host, connection)
            self._pass_on(connection.host, None)

    def _drop(self, connection: C) -> None:
        """Close an idle connection."""
        self.lose(connection)
        connection.close()

    def _see_off(self, host: Host[C], connection: C) -> None:
        """Close a connection that is not idle any more, and not leased yet."""
        self._note_leaving(host, connection)
        connection.close()

    def _note_leaving(self, host: Host[C], connection: C) -> None:
        """Until its socket is closed, whoever opens another counts it, so that no server sees
        more than the limit of its host."""
        if host.limit < NEVER:
            host.leaving[connection] = monotonic() + LEAVING_SECONDS
            connection.when_lost(lambda gone: self._left(host, gone))

    def _left(self, host: Host[C], connection: C) -> None:
        host.leaving.pop(connection, None)
        self._tidy(host)

    def _pass_on(self, host: Host[C], connection: C | None) -> None:
        """Give a connection, or its slot, to the next in line; else let it rest, or go."""
        waiter = host.first_waiter()
        starved = self._first_starved()
        if starved is not None and starved is not host:
            other = starved.first_waiter()
            if other is not None and (waiter is None or other.since < waiter.since):
                self._move_slot(host, connection, starved, other)
                return
        if waiter is not None:
            self._serve(host, waiter, connection)
        elif connection is None:
            self._free_slot(host)
        else:
            self._rest(host, connection)

    def _rest(self, host: Host[C], connection: C) -> None:
        """Keep a connection idle; where there are too many, the oldest goes."""
        host.idle[connection] = None
        self._idle[connection] = None
        if len(self._idle) > self._most_idle:
            self._drop(next(iter(self._idle)))

    def _serve(self, host: Host[C], waiter: Waiter[C], connection: C | None) -> None:
        """Give a waiter what it waits for."""
        del host.waiters[waiter]
        self._note_starved(host)
        waiter.future.set_result(connection)

    def _move_slot(
        self, host: Host[C], connection: C | None, starved: Host[C], waiter: Waiter[C]
    ) -> None:
        """Give a slot to another host, whose turn it is."""
        if connection is not None:
            self._see_off(host, connection)
        host.slots -= 1
        starved.slots += 1
        self._serve(starved, waiter, None)
        self._note_starved(host)
        self._tidy(host)

    def _free_slot(self, host: Host[C]) -> None:
        host.slots -= 1
        self._slots -= 1
        self._tidy(host)

    def _first_starved(self) -> Host[C] | None:
        """The host whose turn it is to be given a slot of another."""
        while self._starved:
            host = next(iter(self._starved))
            if host.first_waiter() is not None:
                return host
            del self._starved[host]
        return None

    def _note_starved(self, host: Host[C]) -> None:
        """Put a host at the end of those that wait for a slot of others, or strike it off."""
        self._starved.pop(host, None)
        if host.waiters and host.slots < host.limit:
            self._starved[host] = None

    def _tidy(self, host: Host[C]) -> None:
        """Forget a host that has nothing, so that a crawl of a million does not pile up."""
        if not host.waiters:
            self._starved.pop(host, None)
            if not host.slots and not host.leaving and self._hosts.get(host.key) is host:
                del self._hosts[host.key]
                self._remember(host)

    def _remember(self, host: Host[C]) -> None:
        """Keep the counts of a host that is gone, for it may come back."""
        self._gone = (self._gone[0] + host.opened, self._gone[1] + host.reused)
        self._past[host.key] = host.opened, host.reused
        if len(self._past) > REMEMBERED:
            del self._past[next(iter(self._past))]

    def close(self) -> None:
        """Close what is idle, and send everybody in line away."""
        for connection in tuple(self._idle):
            self._drop(connection)
        for host in tuple(self._hosts.values()):
            for waiter in host.waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(
                        ClientClosed("the client was closed while the request was in line")
                    )

    # ---- looking

    def stats(self) -> PoolStats:
        """How many connections each host has, and what for."""
        stats = PoolStats(
            {
                str(host.key): OriginStats(
                    open=host.slots,
                    leased=host.slots - len(host.idle),
                    idle=len(host.idle),
                    waiting=len(host.waiters),
                    opened=host.opened,
                    reused=host.reused,
                )
                for host in self._hosts.values()
                if host.slots or host.waiters  # else it is gone, but for what is leaving
            }
        )
        leaving = [host for host in self._hosts.values() if not (host.slots or host.waiters)]
        opened, reused = self._gone
        stats.gone = (
            opened + sum(host.opened for host in leaving),
            reused + sum(host.reused for host in leaving),
        )
        return stats
