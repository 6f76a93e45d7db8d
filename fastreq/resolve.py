"""Names to addresses: a few threads, a short memory, one lookup for all who ask the same.

The loops' own getaddrinfo would do two names at a time on uvloop, and remember nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from fastreq.errors import DNSError, quoted

MAX_THREADS = 32
MAX_NAMES = 1024
MAX_ADDRESSES = 128  # of one name
CACHE_SECONDS = 10.0

MAX_NAME = 253  # RFC 1035, section 2.3.4, as text
MAX_LABEL = 63


class Address(NamedTuple):
    """What a name stands for: an IP literal that `create_connection` takes without a lookup."""

    family: int
    ip: str  # may have a zone: fe80::1%eth0


_Answer = tuple[Address, ...] | Exception


class _Lookup:
    """A name that is being asked for, and who waits for the answer."""

    __slots__ = ("host", "port", "waiters")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.waiters: set[asyncio.Future[_Answer]] = set()


class Resolver:
    """Asks the system, in daemon threads that are started on need and end when idle.

    It belongs to no loop: one resolver may serve several, one after the other or at once.
    """

    def __init__(
        self,
        getaddrinfo: Callable[..., Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._getaddrinfo = getaddrinfo  # None: the socket module's, as it is at the time
        self._clock = clock
        self._cache: dict[str, tuple[float, tuple[Address, ...]]] = {}  # good until; oldest first
        # The lock is for what follows, and for changing the cache; reading that needs none.
        self._lock = threading.Lock()
        self._lookups: dict[str, _Lookup] = {}  # waiting in the queue, or being asked
        self._queue: deque[_Lookup] = deque()
        self._threads = 0

    def __repr__(self) -> str:
        return f"<Resolver cached={len(self._cache)} lookups={len(self._lookups)}>"

    async def resolve(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of an ASCII name, in the order of the system's preference.

        A cached answer is given without awaiting anything. Cancelling leaves the lookup to the
        others who wait for it; one that nobody waits for is dropped from the queue, or its answer
        is kept for the next who asks. Failures are not kept.

        Raises:
            DNSError: there is no such name, or no answer, or none that makes sense.
        """
        cached = self._cache.get(host)
        if cached is not None and self._clock() < cached[0]:
            return cached[1]
        _check_name(host)
        waiter: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        lookup = self._join(host, port, waiter)
        try:
            answer = await waiter
        finally:
            with self._lock:
                lookup.waiters.discard(waiter)
        if isinstance(answer, Exception):
            raise DNSError(f"cannot resolve {host!r}: {_reason(answer)}").at("dns") from answer
        return answer

    def _join(self, host: str, port: int, waiter: asyncio.Future[_Answer]) -> _Lookup:
        with self._lock:
            lookup = self._lookups.get(host)
            if lookup is not None:
                lookup.waiters.add(waiter)
                return lookup
            lookup = self._lookups[host] = _Lookup(host, port)
            lookup.waiters.add(waiter)
            self._queue.append(lookup)
            if self._threads < MAX_THREADS:
                self._start_thread(lookup)
            return lookup

    def _start_thread(self, lookup: _Lookup) -> None:
        thread = threading.Thread(target=self._work, name="fastreq-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            if self._threads:
                return  # those that run will come to it
            self._queue.remove(lookup)
            del self._lookups[lookup.host]
            raise DNSError(f"cannot resolve {lookup.host!r}: {exc}").at("dns") from exc
        self._threads += 1

    # ---- in the threads

    def _work(self) -> None:
        while (lookup := self._next()) is not None:
            answer = self._ask(lookup)
            with self._lock:
                del self._lookups[lookup.host]
                if not isinstance(answer, Exception):
                    self._remember(lookup.host, answer)
                waiters = list(lookup.waiters)
            for waiter in waiters:
                with suppress(RuntimeError):  # its loop was closed meanwhile
                    waiter.get_loop().call_soon_threadsafe(_settle, waiter, answer)

    def _next(self) -> _Lookup | None:
        with self._lock:
            while self._queue:
                lookup = self._queue.popleft()
                if lookup.waiters:
                    return lookup
                del self._lookups[lookup.host]
            self._threads -= 1
            return None

    def _ask(self, lookup: _Lookup) -> _Answer:
        getaddrinfo = self._getaddrinfo or socket.getaddrinfo
        try:
            # Without AI_ADDRCONFIG, which hides ::1 where only the loopback has IPv6. An address
            # that cannot be reached fails at once, and the race goes on to the next.
            found = getaddrinfo(lookup.host, lookup.port, type=socket.SOCK_STREAM)
            return _usable(found) or OSError("the answer has no usable address")
        except Exception as exc:
            return exc

    def _remember(self, host: str, addresses: tuple[Address, ...]) -> None:
        self._cache.pop(host, None)
        self._cache[host] = (self._clock() + CACHE_SECONDS, addresses)
        if len(self._cache) > MAX_NAMES:
            del self._cache[next(iter(self._cache))]


def _settle(waiter: asyncio.Future[_Answer], answer: _Answer) -> None:
    if not waiter.done():
        waiter.set_result(answer)


def _check_name(host: str) -> None:
    """Refuse what is no name before the C library sees it."""
    labels = host.removesuffix(".").split(".")
    if (
        not host.isascii()
        or len(host) > MAX_NAME + host.endswith(".")
        or not all(0 < len(label) <= MAX_LABEL for label in labels)
        or any(character <= " " or character == "\x7f" for character in host)
    ):
        raise DNSError(f"cannot resolve {quoted(host)}: this is not a host name").at("dns")


def _usable(found: Any) -> tuple[Address, ...]:
    """The addresses of an answer, each once, without what is not one."""
    addresses: dict[Address, None] = {}
    for family, _type, _protocol, _name, sockaddr in found[:MAX_ADDRESSES]:
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        try:
            ip = ipaddress.ip_address(sockaddr[0])
        except ValueError:
            continue
        if isinstance(sockaddr[0], str) and ip.version == (6 if family == socket.AF_INET6 else 4):
            addresses[Address(family, sockaddr[0])] = None
    return tuple(addresses)


_CODES = {
    value: name
    for name, value in vars(socket).items()
    if name.startswith("EAI_") and isinstance(value, int)
}

_HINTS = {
    socket.EAI_NONAME: "no such host",
    socket.EAI_AGAIN: "no name server answered; is the network up?",
}


def _reason(exc: Exception) -> str:
    if not isinstance(exc, socket.gaierror):
        return str(exc) or type(exc).__name__
    code = exc.errno or 0
    said = f"{exc.strerror} ({_CODES.get(code, code)})"
    return f"{_HINTS[code]}: {said}" if code in _HINTS else said
