"""Every exception of fastreq, as one tree.

    FastreqError
    ├── InvalidURL (ValueError) · UnsupportedProtocol (ValueError)
    ├── TransportError
    │   ├── NetworkError (ConnectionError)
    │   │   ├── ConnectError
    │   │   │   └── DNSError · TLSError · BlockedAddress
    │   │   └── ReadError · WriteError
    │   ├── TimeoutException (TimeoutError)
    │   │   └── PoolTimeout · ConnectTimeout · WriteTimeout · ReadTimeout · TotalTimeout
    │   ├── ProtocolError
    │   │   ├── LocalProtocolError      ours: a header with a newline
    │   │   └── RemoteProtocolError     theirs: a head that is no head
    │   │       └── IncompleteBody
    │   └── ProxyError
    ├── HTTPStatusError · TooManyRedirects
    └── DecodingError · BodyTooLarge · StreamConsumed · ClientClosed

Each has a message that says what happened, where, and what to do, and each can be pickled with
the request it belongs to.
"""

from __future__ import annotations

import re
from typing import Any

MAX_QUOTED = 128
"""Bytes of a peer's data that an error text shows (texts must not carry floods)."""

_MAX_URL = 200  # characters of one
_SECONDS = re.compile(r"\d s\b")


def quoted(data: bytes | bytearray | memoryview | str) -> str:
    """Show a peer's data in an error text: escaped, and cut."""
    whole = data if isinstance(data, str) else bytes(data[:MAX_QUOTED])
    return repr(whole[:MAX_QUOTED]) + ("..." if len(data) > MAX_QUOTED else "")


def printable(text: str) -> str:
    """What can be seen of a text, and all else by its number: nothing that a terminal obeys."""
    return "".join(
        char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in text
    )


def _rebuild(
    kind: type[FastreqError], args: tuple[Any, ...], state: dict[str, Any]
) -> FastreqError:
    error = kind(*args)
    error.__dict__.update(state)
    return error


class FastreqError(Exception):
    """The base of all errors that fastreq raises.

    Attributes:
        request: the `Request` that failed, or None where there was none yet.
        phase: where it failed: "pool", "dns", "connect", "proxy", "tls", "write", "head", "body",
            or "", as before anything was begun.
        elapsed: seconds since the request was started.
        attempts: how many times the request was tried.
    """

    _takes_time = False  # so that its text says how long

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.request: Any = None  # a Request; this module stands below messages.py
        self.phase: str = ""
        self.elapsed: float = 0.0
        self.attempts: int = 0
        self.queued: float = 0.0  # seconds of the last try in line, which are no part of `total`

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__dict__.copy()
        if self.request is not None:
            state["request"] = self.request.without_options()
        return _rebuild, (type(self), self.args, state)

    def at(self, phase: str) -> FastreqError:
        """Name the phase in which it happened; gives itself back, to be raised."""
        self.phase = phase
        return self

    def belongs_to(self, request: Any, attempts: int, elapsed: float) -> None:
        """Note whose it is, unless that is known, and how far that had come; what the text says of
        neither whom nor how long is added to it."""
        self.request = request = self.request or request
        self.attempts = attempts
        self.elapsed = elapsed
        if len(self.args) != 1 or not isinstance(self.args[0], str):  # it is not ours to know
            return
        text: str = self.args[0]
        missing = []
        if request.url.origin not in text:
            missing.append(f"{request.method} {printable(request.url.redacted[:_MAX_URL])}")
        if self._takes_time and not _SECONDS.search(text):
            missing.append(f"after {elapsed:.1f} s")
        if missing:
            self.args = (f"{text} ({', '.join(missing)})",)


class InvalidURL(FastreqError, ValueError):
    """The URL is not one, or is one that clients are known to read in two ways."""


class UnsupportedProtocol(FastreqError, ValueError):
    """The URL's scheme is not http, https, http+unix or https+unix."""


class TransportError(FastreqError):
    """The exchange failed on its way: network, time, protocol, proxy."""

    _takes_time = True


class NetworkError(TransportError, ConnectionError):
    """The network failed us."""


class ConnectError(NetworkError):
    """No connection could be made."""


class DNSError(ConnectError):
    """The name has no address, or nobody could say."""


class TLSError(ConnectError):
    """The TLS handshake failed, or the certificate was refused."""


class BlockedAddress(ConnectError):
    """The address is one that `allow=` does not let through."""

    _takes_time = False


class ReadError(NetworkError):
    """The connection broke while a response was awaited."""


class WriteError(NetworkError):
    """The connection broke while the request was being sent."""


class TimeoutException(TransportError, TimeoutError):
    """A deadline passed."""


class PoolTimeout(TimeoutException):
    """No connection, or no turn of a host with a policy, came in time (`Timeout(pool=...)`)."""


class ConnectTimeout(TimeoutException):
    """DNS, TCP, proxy and TLS took too long together (`Timeout(connect=...)`)."""


class WriteTimeout(TimeoutException):
    """The peer took no byte for too long (`Timeout(write=...)`)."""


class ReadTimeout(TimeoutException):
    """The peer sent no byte for too long (`Timeout(read=...)`)."""


class TotalTimeout(TimeoutException):
    """The whole took too long (`Timeout(total=...)`)."""


class ProtocolError(TransportError):
    """HTTP was not spoken as it should be."""


class LocalProtocolError(ProtocolError):
    """We were asked to send what is not HTTP; nothing of it was sent.

    Only a body that comes piece by piece shows on its way that it is of the wrong length, or no
    bytes; its connection is closed then.
    """

    _takes_time = False


class RemoteProtocolError(ProtocolError):
    """The server sent what is not HTTP, or more than the limits allow."""


class IncompleteBody(RemoteProtocolError):
    """The connection ended before the body did."""


class ProxyError(TransportError):
    """The proxy refused, or did not speak as a proxy does; `status` is that of its answer, or 0."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.status = 0


class HTTPStatusError(FastreqError):
    """`raise_for_status()` met a status of 400 or above; `response` holds the answer."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.response: Any = None  # a Response


class TooManyRedirects(FastreqError):
    """More redirects than `max_redirects`, or a loop of them."""

    _takes_time = True


class DecodingError(FastreqError):
    """The body is not what its Content-Encoding (or charset) says; `is_cut`: it ends too soon."""

    is_cut = False
    _takes_time = True


class BodyTooLarge(FastreqError):
    """A buffered body grew over `max_body`; read it with `stream()`, or raise `max_body=`."""

    _takes_time = True


class StreamConsumed(FastreqError):
    """The body of this response has been read, or dropped, already."""


class ClientClosed(FastreqError, RuntimeError):
    """The client was closed before the request."""
