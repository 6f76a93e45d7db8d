"""Options as values: frozen, checked when they are made, passed whole."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Collection
from dataclasses import astuple, dataclass, fields
from typing import Any, Final, TypeVar

VERSION = "0.1.0"

_T = TypeVar("_T")
_Count = TypeVar("_Count", bound=int | None)


class Unset:
    """The type of `UNSET`, which says "as the client has it"."""

    def __repr__(self) -> str:
        return "..."


UNSET: Final = Unset()

OF_CLIENT: Final = frozenset(
    """
    allow base_url cert hooks json_dumps limits max_body max_in_flight max_redirects policy proxy
    sensitive_headers transport trust_env verify
    """.split()
)
"""The keywords of `Client()` that no request has."""

OF_REQUEST: Final = frozenset({"compress", "content", "data", "files", "json"})
"""The keywords of a request that `Client()` has not."""

# What users of other clients type, and what it is here.
_NEIGHBOURS: Final = {
    "allow_redirects": "follow_redirects",
    "body": "content",
    "ca_certs": "verify",
    "connection_timeout": "timeout=fastreq.Timeout(connect=...)",
    "connector": "limits",
    "content_type": 'headers={"Content-Type": ...}',
    "cookie_jar": "cookies",
    "event_hooks": "hooks",
    "form": "data",
    "limit": "limits=fastreq.Limits(max_connections=...)",
    "limit_per_host": "limits=fastreq.Limits(max_per_host=...)",
    "max_clients": "limits=fastreq.Limits(max_connections=...)",
    "max_connections": "limits=fastreq.Limits(max_connections=...)",
    "max_keepalive_connections": "limits=fastreq.Limits(max_keepalive=...)",
    "mounts": "transport",
    "proxies": "proxy",
    "query": "params",
    "raise_for_status": "the method response.raise_for_status()",
    "redirect": "follow_redirects",
    "redirect_count": "max_redirects",
    "retries": "retry",
    "retry_count": "retry",
    "ssl": "verify",
    "stream": "the method client.stream()",
    "timeouts": "timeout",
    "urlencoded": "data",
    "user": "auth",
    "user_agent": 'headers={"User-Agent": ...}',
    "verify_mode": "verify",
    "verify_ssl": "verify",
}


def unknown_keyword(call: str, name: str, known: Collection[str]) -> TypeError:
    """The error for a keyword that a call has not, with the one that was meant, and where that is
    said if it is elsewhere."""
    meant = name if _owner(name, known) else _NEIGHBOURS.get(name) or _nearest(name, known)
    if meant is None:
        return TypeError(f"{call} has no {name}=; it takes {', '.join(sorted(known))}")
    spelling = meant if meant.endswith((")", "}")) else f"{meant}="
    whose = _owner(meant.partition("=")[0], known)
    if meant == name:
        return TypeError(f"{call} has no {name}=; it is an option of {whose}")
    where = f", an option of {whose}" if whose else ""
    return TypeError(f"{call} has no {name}=; fastreq spells it {spelling}{where}")


def _owner(name: str, known: Collection[str]) -> str:
    """Who else has an option, where this call has not."""
    if name in known:
        return ""
    if name in OF_CLIENT:
        return "Client()"
    return f"a request, as in client.post(url, {name}=...)" if name in OF_REQUEST else ""


def _nearest(name: str, known: Collection[str]) -> str | None:
    """What a slip of the finger made this of."""
    from difflib import get_close_matches  # only for an error

    for names in (known, OF_CLIENT | OF_REQUEST):
        for match in get_close_matches(name, sorted(names), 1, cutoff=0.75):
            return match
    return None


def _check_seconds(owner: str, name: str, value: object, *, zero: bool) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and (value > 0 or (zero and value == 0))):  # type: ignore[operator]
        wanted = "seconds, 0 or more" if zero else "seconds above 0"
        raise ValueError(f"{owner}({name}={value!r}): expected {wanted}, or None for no limit")
    if sys.float_info.max < value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{owner}({name}=...): larger than any float; None is no limit")


def check_count(
    name: str, value: _Count, *, owner: str = "", least: int = 1, optional: bool = True
) -> _Count:
    """Check an option that counts something.

    Raises:
        ValueError: it is no whole number, or too small.
    """
    right = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if right or (optional and value is None):
        return value
    given = f"{owner}({name}={value!r})" if owner else f"{name}={value!r}"
    none = ", or None for no limit" if optional else ""
    raise ValueError(f"{given}: expected a whole number from {least}{none}")


def check_type(name: str, value: _T, kind: type) -> _T:
    """Check an option that has to be of one type.

    Raises:
        TypeError: it is not; the text names the type, and what was given in its place.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}= is a {type(value).__name__}; expected a fastreq.{kind.__name__}")
    return value


def check_flag(name: str, value: bool) -> bool:
    """Check an option that is said or not.

    Raises:
        TypeError: it is neither True nor False, as "no" is, which would count as True.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r}: expected True or False")
    return value


def is_async(function: Callable[..., Any]) -> bool:
    """Whether what it gives would have to be awaited: a coroutine function, or an object with one
    as its `__call__`."""
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


class _Default(float):
    """A number that nobody asked for."""

    def __repr__(self) -> str:
        return f"{self:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """How long each phase of a request may take, in seconds; None is no limit.

    Attributes:
        connect: DNS, TCP, proxy and TLS together.
        read: the longest silence while a response is awaited or read.
        write: the longest silence of a peer that does not take our bytes.
        pool: waiting for a connection to come free, and for the host's turn where it has a
            `Policy`. None: to queue is no error.
        total: all of it but the wait for a connection, up to the last byte of a buffered body,
            redirects and retries included. Streams have it only where the caller gave it.
    """

    connect: float | None = 10
    read: float | None = 30
    write: float | None = 30
    pool: float | None = None
    total: float | None = _Default(300)

    @property
    def total_of_stream(self) -> float | None:
        """`total` where it was given: a stream may well last longer than the default."""
        return None if isinstance(self.total, _Default) else self.total

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Timeout):
            return NotImplemented
        return astuple(self) == astuple(other) and self.total_of_stream == other.total_of_stream

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_seconds("Timeout", field.name, getattr(self, field.name), zero=False)

    @classmethod
    def of(cls, value: float | Timeout | None) -> Timeout:
        """A bare number is the total; None is no limit at all.

        Raises:
            ValueError: it is none of these, or not above 0.
        """
        if isinstance(value, Timeout):
            return value
        if value is None:
            return cls(connect=None, read=None, write=None, pool=None, total=None)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return cls(total=value)
        raise ValueError(f"timeout={value!r}: expected seconds, a fastreq.Timeout, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many connections a client keeps, and for how long.

    Attributes:
        max_connections: open connections in all.
        max_per_host: open connections per origin.
        max_keepalive: idle connections in all.
        keepalive_expiry: seconds that an idle connection is kept; less where the server says
            less in `Keep-Alive: timeout=`, of which 2 seconds are taken off.
        max_age: seconds after which a connection is not used again (a tenth of it is jitter),
            so that a changed address is noticed.
    """

    max_connections: int | None = 500
    max_per_host: int | None = 100
    max_keepalive: int | None = None
    keepalive_expiry: float | None = 15
    max_age: float | None = 3600

    def __post_init__(self) -> None:
        check_count("max_connections", self.max_connections, owner="Limits", least=1)
        check_count("max_per_host", self.max_per_host, owner="Limits", least=1)
        check_count("max_keepalive", self.max_keepalive, owner="Limits", least=0)
        _check_seconds("Limits", "keepalive_expiry", self.keepalive_expiry, zero=True)
        _check_seconds("Limits", "max_age", self.max_age, zero=True)
