"""Routes to connections: DNS, the race of addresses, proxies, TLS."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
import sys
from asyncio import sslproto
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import zip_longest
from time import perf_counter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from fastreq import tls
from fastreq.errors import BlockedAddress, ConnectError, TLSError
from fastreq.policies.proxies import Proxy
from fastreq.resolve import Address
from fastreq.tunnel import Tunnel

STAGGER = 0.25
"""Seconds between two attempts (RFC 8305, section 5, calls it Connection Attempt Delay)."""

HANDSHAKE_SECONDS = 86400.0  # how long is `Timeout(connect=)`'s to say; the loops want a number
SHUTDOWN_SECONDS = 0.1  # uvloop's default has it read an unwanted body for 30

MAX_SHOWN = 4  # addresses in an error text
MAX_TARGETS = 4  # addresses of one name that a proxy is asked to connect to


class Route(NamedTuple):
    """Where a connection leads, and how: two connections of one route are interchangeable."""

    scheme: str
    host: str  # an ASCII name, or an IP literal without brackets; its zone belongs to it
    port: int
    socket_path: str | None = None  # of a Unix domain socket
    tls: ssl.SSLContext | None = None  # None: plain
    server_hostname: str | None = None  # as `tls.server_name()` makes it; None: plain
    proxy: Proxy | None = None  # it leads to this proxy itself, which is sent requests for others
    via: Route | None = None  # it leads through a tunnel, and this is the way to the proxy

    def __str__(self) -> str:
        """The origin, as statistics name it; or the proxy, where it is that which answers."""
        if self.proxy is not None:
            return f"proxy {self.proxy}"
        if self.socket_path is not None:
            return f"{self.scheme}://{self.socket_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = {"http": 80, "https": 443}[self.scheme] == self.port
        return f"{self.scheme}://{host}" if default else f"{self.scheme}://{host}:{self.port}"

    @property
    def in_full(self) -> str:
        """Where it leads, and through what, as error texts name it."""
        return str(self) if self.via is None else f"{self} through {self.via}"


class Progress:
    """How far a connection has come, so that whoever runs out of time can say where.

    with progress.during("dns"):
        ...
    """

    __slots__ = (
        "_entered",
        "connect",
        "dns",
        "phase",
        "proxy",
        "remote_address",
        "resolved",
        "since",
        "tls",
    )

    def __init__(self, resolved: Callable[[str, list[str], float], None] | None = None) -> None:
        self.phase = ""  # "dns", "connect", "proxy", "tls"; stays when all is done
        # monotonic() of its beginning; 0.0: not begun, for one was idle, or came free.
        self.since = 0.0
        # Seconds that each phase took, up to its failure if it failed. With a proxy on the way
        # there are two of some, which count together.
        self.dns = 0.0
        self.connect = 0.0
        self.proxy = 0.0
        self.tls = 0.0
        self.resolved = resolved  # told of a name, of what it was found to mean, and the seconds
        # Of the proxy, if there is one on the way. A str is the path of a Unix domain socket.
        self.remote_address: tuple[str, int] | str | None = None
        self._entered = 0.0

    def __repr__(self) -> str:
        return f"<Progress {self.phase} {self.remote_address}>"

    def during(self, phase: str) -> Progress:
        """The next phase, which is timed; one at a time."""
        self.phase = phase
        return self

    def __enter__(self) -> None:
        self._entered = perf_counter()

    def __exit__(self, *exc: object) -> None:
        setattr(self, self.phase, getattr(self, self.phase) + perf_counter() - self._entered)


class Connection(Protocol):
    """What is expected of a protocol, besides being an asyncio.BufferedProtocol."""

    transport: asyncio.Transport
    """Set by `connection_made()`, which is called once, with the plain transport."""

    def secured(self, transport: asyncio.Transport) -> None:
        """TLS is up: `transport` stands before the plain one."""
        ...


class Names(Protocol):
    """What is expected of a resolver."""

    async def resolve(self, host: str, port: int) -> Sequence[Address]: ...


P = TypeVar("P", bound=Connection)


class Connector(Generic[P]):
    """Opens connections; owns none of them."""

    def __init__(
        self,
        resolver: Names,
        protocol_factory: Callable[[], P],
        allowed: Callable[[str], bool] | None = None,
    ) -> None:
        self._resolver = resolver
        self._allowed = allowed  # says of an address whether it may be dialled
        self._factory: Callable[[], Any] = protocol_factory

    async def connect(self, route: Route, progress: Progress) -> P:
        """Open a connection; with no timeout, which is for the caller to set.

        Cancelling leaves nothing behind, and `progress` tells how far it had come.

        Raises:
            DNSError: the name has no address.
            ConnectError: no address could be reached.
            ProxyError: the proxy refuses, or does not speak as a proxy does.
            TLSError: the handshake failed, or the certificate is not trusted.
        """
        if route.via is not None:
            protocol = await self._through(route, route.via, progress)
        else:
            addresses = await self._addresses(route, progress)
            with progress.during("connect"):
                if len(addresses) > 1:
                    protocol = await self._race(addresses, route)
                else:
                    try:
                        protocol = await self._dial(addresses[0], route)
                    except OSError as exc:
                        raise _refused(route, [(addresses[0], exc)]) from exc
            peer = protocol.transport.get_extra_info("peername")  # None if it is gone already
            progress.remote_address = route.socket_path or (
                peer[:2] if peer else (route.host, route.port)
            )
        if route.tls is not None:
            with progress.during("tls"):
                await _secure(protocol, route, route.tls)
        return protocol

    async def _through(self, route: Route, via: Route, progress: Progress) -> P:
        """Have a proxy lead on, and put a protocol of ours where the tunnel begins."""
        assert via.proxy is not None
        if via.proxy.resolves:
            self.refuse_unseen(route.host, via.proxy)
            targets = [route.host]
        else:
            targets = await self._addresses(route, progress)
        failures: list[ConnectError] = []
        for target in targets[:MAX_TARGETS]:
            tunnel = await Connector(self._resolver, Tunnel).connect(via, progress)
            try:
                with progress.during("proxy"):
                    await tunnel.lead_to(target, route.port, via.proxy)
            except ConnectError as exc:
                failures.append(exc)  # another address may do
            else:
                protocol: P = self._factory()
                tunnel.hand_over(protocol)
                return protocol
        raise failures[-1]

    def refuse_unseen(self, host: str, proxy: Proxy) -> None:
        """Refuse what cannot be checked, a name that a proxy looks up; check what is no name.

        Raises:
            BlockedAddress: `host` is a name, or an address that may not be dialled.
        """
        if self._allowed is None:
            return
        if not _is_ip(host):
            raise BlockedAddress(
                f"{host} is a name that proxy {proxy} looks up, so that allow= does not see its "
                "address; with socks5:// it is looked up here"
            ).at("connect")
        if not self._allowed(host):
            text = f"{host} is an address that allow= does not let through"
            raise BlockedAddress(text).at("connect")

    async def _addresses(self, route: Route, progress: Progress) -> list[str]:
        """The addresses to dial, in this order; whatever may not be dialled is taken out here."""
        if route.socket_path is not None or _is_ip(route.host):
            return self._checked(route, [route.socket_path or route.host])
        with progress.during("dns"):
            found = await self._resolver.resolve(route.host, route.port)
        addresses = interleave(found)
        if progress.resolved is not None and route.proxy is None:
            progress.resolved(route.host, addresses, progress.dns)
        return self._checked(route, addresses)

    def _checked(self, route: Route, addresses: list[str]) -> list[str]:
        """Those that may be dialled: checked here, after DNS, they are the very ones dialled."""
        if self._allowed is None or route.proxy is not None:  # which is its operator's choice
            return addresses
        allowed = [address for address in addresses if self._allowed(address)]
        if not allowed:
            shown = ", ".join(addresses[:MAX_SHOWN])
            text = f"{route.host} is {shown}, which allow= does not let through"
            raise BlockedAddress(text).at("connect")
        return allowed

    async def _race(self, addresses: list[str], route: Route) -> P:
        """Dial one address after the other; the first to answer wins (RFC 8305, section 5).

        The next is dialled 250 ms after the one before it, or as soon as one fails.
        """
        untried = deque(addresses)
        attempts: dict[asyncio.Task[P], str] = {}  # under way, oldest first
        failures: list[tuple[str, OSError]] = []
        winner: P | None = None
        try:
            while winner is None:
                if untried:
                    address = untried.popleft()
                    attempts[asyncio.create_task(self._dial(address, route))] = address
                elif not attempts:
                    raise _refused(route, failures) from failures[-1][1]
                await asyncio.wait(
                    attempts,
                    timeout=STAGGER if untried else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for attempt in [attempt for attempt in attempts if attempt.done()]:
                    address = attempts.pop(attempt)
                    try:
                        winner = attempt.result()
                        break
                    except OSError as exc:
                        failures.append((address, exc))
        finally:
            try:
                await _call_off(attempts)
            except asyncio.CancelledError:
                if winner is not None:
                    winner.transport.abort()
                raise
        return winner

    async def _dial(self, address: str, route: Route) -> P:
        """Dial an address; that of a Unix domain socket is its path."""
        loop, maker = asyncio.get_running_loop(), self._maker(route)
        made: Any
        if route.socket_path is not None:
            _, made = await loop.create_unix_connection(maker, address)
        elif "%" in address or _is_link_local(address):
            sock = await _dial_zone(loop, address, route.port)
            _, made = await loop.create_connection(maker, sock=sock)
        else:
            _, made = await loop.create_connection(maker, address, route.port)
        return made.protocol if isinstance(made, _Gate) else made  # type: ignore[no-any-return]

    def _maker(self, route: Route) -> Callable[[], Any]:
        return self._factory if route.tls is None else lambda: _Gate(self._factory())


async def _dial_zone(loop: asyncio.AbstractEventLoop, address: str, port: int) -> socket.socket:
    """Dial an IPv6 address on the link that its zone names, which uvloop would overlook."""
    zone = address.partition("%")[2]
    if not zone:
        raise OSError(errno.ENODEV, "a link-local address needs its zone: [fe80::1%25eth0]")
    try:
        if not zone.isdecimal():
            socket.if_nametoindex(zone)
    except OSError as exc:
        raise OSError(errno.ENODEV, f"there is no network interface {zone!r}") from exc
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


class _Gate(asyncio.Protocol):
    """Stands before a protocol until TLS does: hangs up on a server that speaks too soon.

    What comes in plain must never pass for what comes in TLS (CVE-2023-40217).
    """

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.protocol.connection_lost(exc)


def interleave(addresses: Sequence[Address]) -> list[str]:
    """The literals of the two families in turn, the first one's family first (RFC 8305, 4)."""
    families: dict[int, list[str]] = {}
    for family, ip in addresses:
        families.setdefault(family, []).append(ip)
    return [ip for turn in zip_longest(*families.values()) for ip in turn if ip is not None]


async def _secure(protocol: Connection, route: Route, context: ssl.SSLContext) -> None:
    """Put TLS on a connection, or abort it."""
    plain = protocol.transport
    _mend(plain)
    try:
        if context.check_hostname and not route.server_hostname:
            raise ValueError("no name to look for in the certificate")  # start_tls() would not mind
        if plain.is_closing():
            raise ConnectionResetError("the server closed the connection, or spoke before TLS")
        secure = await asyncio.get_running_loop().start_tls(
            plain,
            protocol,  # type: ignore[arg-type]
            context,
            server_hostname=route.server_hostname,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
        if secure is None or plain.is_closing():  # aborted by somebody: both loops see no error
            raise ConnectionAbortedError("the connection was closed")
    except ssl.SSLError as exc:
        plain.abort()
        raise tls.explain(exc, route.in_full, route.port).at("tls") from exc
    except (OSError, ValueError) as exc:  # ValueError: OpenSSL does not take server_hostname
        plain.abort()
        text = f"{route.in_full}: the TLS handshake was not finished: {_why(exc)}"
        raise TLSError(text).at("tls") from exc
    except BaseException:
        plain.abort()
        raise
    protocol.secured(secure)


def _mend(transport: Any) -> None:
    """Let what is put on top of asyncio's TLS close it: in 3.11 and early 3.12 a TypeError."""
    if sys.version_info < (3, 13) and isinstance(transport, sslproto._SSLProtocolTransport):
        transport._force_close = lambda exc: transport.abort()  # type: ignore[attr-defined]


async def _call_off(attempts: dict[asyncio.Task[P], str]) -> None:
    """Cancel what is still dialling, and wait until it is gone."""
    for attempt in attempts:
        attempt.add_done_callback(_abandon)
        attempt.cancel()
    if attempts:
        await asyncio.wait(attempts)


def _abandon(attempt: asyncio.Task[P]) -> None:
    """Close what came of an attempt that nobody wants any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().transport.abort()


# ---- texts


def _refused(route: Route, failures: list[tuple[str, OSError]]) -> ConnectError:
    reasons = [f"{address}: {_why(exc)}" for address, exc in failures[:MAX_SHOWN]]
    if len(failures) > MAX_SHOWN:
        reasons.append(f"and {len(failures) - MAX_SHOWN} more addresses")
    error = ConnectError(f"cannot connect to {route} ({'; '.join(reasons)})")
    error.phase = "connect"
    return error


_TOO_MANY_FILES = (
    "this process has no file descriptor left; "
    "raise `ulimit -n`, or lower Limits(max_connections=...)"
)

_REASONS = {
    errno.ECONNREFUSED: "connection refused: nothing listens there",
    errno.ECONNRESET: "the server closed the connection",
    errno.EHOSTUNREACH: "unreachable: no route to the host",
    errno.ENETUNREACH: "unreachable: no route to its network",
    errno.ETIMEDOUT: "no answer, says the operating system",
    errno.EADDRNOTAVAIL: "no local port, or no local address, is left to connect from",
    errno.EACCES: "permission denied: a firewall, perhaps",
    errno.EPERM: "not permitted: a firewall, perhaps",
    errno.EMFILE: _TOO_MANY_FILES,
    errno.ENFILE: "the machine has no file descriptor left",
}


def _why(exc: Exception) -> str:
    code = getattr(exc, "errno", None)
    if code == errno.ENODEV:
        return str(exc.args[-1])
    if code is not None:
        return _REASONS.get(code) or os.strerror(code)
    return str(exc) or _REASONS[errno.ECONNRESET]  # as both loops raise it for an EOF


def _is_link_local(address: str) -> bool:
    return (
        address[:2].lower() == "fe"
        and ":" in address
        and ipaddress.IPv6Address(address).is_link_local
    )


@lru_cache(maxsize=1024)  # benchmark: connect
def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
