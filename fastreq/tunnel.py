"""Tunnels: what is said to a proxy until it leads on to where we want to go.

That is CONNECT (RFC 9110, section 9.3.6) or SOCKS5 (RFC 1928, with the passwords of RFC 1929). Both
are written as conversations without I/O; `Tunnel` is the connection on which one is held.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Generator
from typing import Any, Final, TypeAlias, cast

from fastreq.errors import ConnectError, ProxyError, RemoteProtocolError, quoted
from fastreq.http1.body import StreamedBody
from fastreq.http1.response import ResponseReader
from fastreq.messages import ResponseHead
from fastreq.policies.proxies import MAX_SOCKS_TEXT, Proxy

MAX_HEAD: Final = 16 * 1024
"""Bytes of all heads that may answer a CONNECT (docs/limits.md)."""

Conversation: TypeAlias = Generator[bytes, bytes, bytes]
"""Yields what to send, b"" where there is only to wait; is sent what has come since; returns what
came after its end."""


def conversation(proxy: Proxy, host: str, port: int) -> Conversation:
    """What to say to the proxy so that it leads on to a host, which is a name or an IP address.

    Raises:
        ProxyError: it refuses, or does not speak as a proxy does.
        ConnectError: it cannot reach the host.
    """
    return (connect if proxy.forwards else socks5)(proxy, host, port)


class Tunnel(asyncio.Protocol):
    """A connection to a proxy, until it leads on: then another protocol takes its place."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._received = b""
        self._end: ConnectionError | None = None  # of the connection
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Tunnel {'ended' if self._end else 'open'}>"

    async def lead_to(self, host: str, port: int, proxy: Proxy) -> None:
        """Have the proxy lead on. Any error, cancelling included, closes the connection.

        Raises:
            ProxyError: it refuses, or does not speak as a proxy does.
            ConnectError: it cannot reach the host.
        """
        try:
            early = self._received or await self._converse(conversation(proxy, host, port))
            if early:  # it could only be taken for what it is not (CVE-2023-40217)
                raise ProxyError(f"sent {quoted(early)} before it was asked")
            if self._end is not None:
                raise ProxyError("closed the tunnel as soon as it was open") from self._end
        except BaseException as exc:
            self.transport.abort()
            if isinstance(exc, (ProxyError, ConnectError)):
                exc.args = (f"proxy {proxy} {exc}",)
                exc.phase = "proxy"
            raise

    def hand_over(self, protocol: Any) -> None:
        """Give the connection to another protocol, to which it is new."""
        self.transport.pause_reading()  # uvloop chooses between kinds of protocols when it starts
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        self.transport.resume_reading()

    async def _converse(self, talk: Conversation) -> bytes:
        """Hold a conversation; gives what came after its end."""
        to_send = next(talk)
        while True:
            if to_send:
                self.transport.write(to_send)
            received = await self._receive()
            try:
                to_send = talk.send(received)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]

    async def _receive(self) -> bytes:
        while not self._received:
            if self._end is not None:
                raise ProxyError("closed the connection before it had answered") from self._end
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        received, self._received = self._received, b""
        return received

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ---- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP is connected."""
        self.transport = cast(asyncio.Transport, transport)

    def secured(self, transport: asyncio.Transport) -> None:
        """The proxy speaks TLS."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """The proxy says something."""
        self._received += data
        self._wake()

    def eof_received(self) -> None:
        """The proxy has nothing more to say; the transport closes itself when we return."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._end = ConnectionResetError(str(exc or "the connection ended"))
        self._wake()


# ---- CONNECT


def connect(proxy: Proxy, host: str, port: int) -> Conversation:
    """Ask an HTTP proxy for a tunnel. Its answer's body is nobody's, least of all the origin's."""
    authority = _authority(host, port)
    reader = ResponseReader("CONNECT", StreamedBody())
    reader.switches = True
    received = yield _connect_request(authority, proxy.authorization)
    size = used = 0
    while True:
        try:
            used = reader.receive(memoryview(received)[: MAX_HEAD - size])
        except RemoteProtocolError as exc:
            if reader.head is None:
                raise ProxyError(f"does not answer CONNECT as a proxy does: {exc}") from exc
        if reader.head is not None:
            break
        size += used
        if size >= MAX_HEAD:
            raise ProxyError(f"answers CONNECT with a head of more than {MAX_HEAD:,} bytes")
        received = yield b""
    if not 200 <= reader.head.status < 300:
        raise _refusal(authority, reader.head, proxy)
    return received[used:]


def _connect_request(authority: str, authorization: str | None) -> bytes:
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if authorization is not None:
        lines.append(f"Proxy-Authorization: {authorization}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _authority(host: str, port: int) -> str:
    """Host and port, which is always there (RFC 9112, section 3.2.3)."""
    host = host.partition("%")[0]  # a zone means something on this machine only
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refusal(authority: str, head: ResponseHead, proxy: Proxy) -> ProxyError:
    reason = quoted(head.reason.decode("latin-1"))
    error = ProxyError(
        f"answered CONNECT {authority} with {head.status} {reason}; {_hint(head.status, proxy)}"
    )
    error.status = head.status
    return error


def _hint(status: int, proxy: Proxy) -> str:
    if status in (407, 401) and proxy.username is None:  # tinyproxy mixes them up
        return "it wants to know who you are: give its URL as http://user:password@host:port"
    if status in (407, 401):
        return "it does not take this user name and password"
    if status == 403:
        return "it lets nobody, or not you, go there"
    if status in (502, 503, 504):
        return "it cannot get there"
    return "is it a proxy, and may it open tunnels?"


# ---- SOCKS5

_VERSION, _PASSWORD_VERSION = 5, 1  # the latter is of RFC 1929
_NO_AUTHENTICATION, _PASSWORD, _NONE_OF_THESE = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4

_UNREACHABLE = {  # RFC 1928, section 6
    1: "it says that it failed, and not why",
    3: "the network is unreachable from there",
    4: "the host is unreachable from there, or not known",
    5: "connection refused: nothing listens there",
    6: "no answer: the TTL expired",
    8: "it does not do this kind of address",
}
_REFUSED = {2: "its rules do not let us go there", 7: "it does not know CONNECT"}


def socks5(proxy: Proxy, host: str, port: int) -> Conversation:
    """Ask a SOCKS5 proxy to connect us."""
    held = bytearray()
    methods = bytes([_NO_AUTHENTICATION] if proxy.username is None else [0, _PASSWORD])
    version, method = yield from _ask(held, bytes([_VERSION, len(methods)]) + methods, 2)
    _check_version(version)
    if method not in methods:
        raise ProxyError(_no_method(method, proxy))
    if method == _PASSWORD:
        version, failed = yield from _ask(held, _who_we_are(proxy), 2)
        if failed:
            raise ProxyError("does not take this user name and password")
        if version != _PASSWORD_VERSION:
            raise ProxyError(f"does not speak SOCKS5: version {version} of its passwords")
    request = bytes([_VERSION, 1, 0]) + _address(host) + port.to_bytes(2)
    version, reply, _, kind = yield from _ask(held, request, 4)
    _check_version(version)
    if reply in _UNREACHABLE:
        raise ConnectError(f"cannot reach {_authority(host, port)}: {_UNREACHABLE[reply]}")
    if reply:
        raise ProxyError(f"refuses: {_REFUSED.get(reply, f'reply {reply}')}")
    # Where it connects from, which nobody wants to know.
    length = {_IPV4: 4, _IPV6: 16}.get(kind)
    if kind == _NAME:
        (length,) = yield from _take(held, 1)
    if length is None:
        raise ProxyError(f"does not speak SOCKS5: address type {kind}")
    yield from _take(held, length + 2)
    return bytes(held)


def _ask(held: bytearray, question: bytes, count: int) -> Generator[bytes, bytes, bytes]:
    """The first bytes of the answer to a question."""
    if held:
        raise ProxyError(f"does not speak SOCKS5: it sent {quoted(held)} before it was asked")
    held += yield question
    return (yield from _take(held, count))


def _take(held: bytearray, count: int) -> Generator[bytes, bytes, bytes]:
    """The next bytes of what the proxy says, once they are there."""
    while len(held) < count:
        held += yield b""
    taken = bytes(held[:count])
    del held[:count]
    return taken


def _check_version(version: int) -> None:
    if version != _VERSION:
        raise ProxyError(f"does not speak SOCKS5: it begins with {chr(version)!r}; is it http://?")


def _no_method(method: int, proxy: Proxy) -> str:
    if method != _NONE_OF_THESE:
        return f"wants the authentication method {method}, which was not offered"
    if proxy.username is None:
        return "wants to know who you are: give its URL as socks5://user:password@host:port"
    return "takes no user name and password, and does not let in everybody either"


def _who_we_are(proxy: Proxy) -> bytes:
    username, password = proxy.username or b"", proxy.password
    return bytes([1, len(username)]) + username + bytes([len(password)]) + password


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if len(name) > MAX_SOCKS_TEXT:  # curl once made another request of it (CVE-2023-38545)
            raise ProxyError(f"takes names of at most {MAX_SOCKS_TEXT} bytes") from None
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed
