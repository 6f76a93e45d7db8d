"""Options as values: frozen, checked when they are made, passed whole."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final


class Unset:
    """The type of `UNSET`, which says "as the client has it"."""

    def __repr__(self) -> str:
        return "..."


UNSET: Final = Unset()

# What users of other clients type, and what it is here.
_NEIGHBOURS: Final = {
    "allow_redirects": "follow_redirects",
    "body": "content",
    "ca_certs": "verify",
    "connector": "limits",
    "event_hooks": "hooks",
    "limit": "limits=fastreq.Limits(max_connections=...)",
    "limit_per_host": "limits=fastreq.Limits(max_per_host=...)",
    "max_clients": "limits=fastreq.Limits(max_connections=...)",
    "max_connections": "limits=fastreq.Limits(max_connections=...)",
    "max_keepalive_connections": "limits=fastreq.Limits(max_keepalive=...)",
    "proxies": "proxy",
    "raise_for_status": "the method response.raise_for_status()",
    "redirect": "follow_redirects",
    "redirect_count": "max_redirects",
    "retries": "retry",
    "retry_count": "retry",
    "ssl": "verify",
    "stream": "the method client.stream()",
    "timeouts": "timeout",
    "urlencoded": "data",
    "verify_mode": "verify",
    "verify_ssl": "verify",
}


def unknown_keyword(call: str, name: str, known: Iterable[str]) -> TypeError:
    """The error for a keyword that nobody knows, with the one that was meant."""
    meant = _NEIGHBOURS.get(name)
    if meant is None:
        from difflib import get_close_matches  # only for an error

        meant = next(iter(get_close_matches(name, known, 1)), None)
    if meant is None:
        return TypeError(f"{call} has no {name}=; it takes {', '.join(sorted(known))}")
    spelling = meant if meant.endswith(")") else f"{meant}="
    return TypeError(f"{call} has no {name}=; fastreq spells it {spelling}")


def _check_seconds(owner: str, name: str, value: object, *, zero: bool) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or math.isnan(value) or value < 0 or (value == 0 and not zero):  # type: ignore[operator, arg-type]
        wanted = "seconds, 0 or more" if zero else "seconds above 0"
        raise ValueError(f"{owner}({name}={value!r}): expected {wanted}, or None for no limit")


def check_count(
    name: str, value: int | None, *, least: int = 1, optional: bool = True
) -> int | None:
    """Check an option that counts something.

    Raises:
        ValueError: it is no whole number, or too small.
    """
    right = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if right or (optional and value is None):
        return value
    none = ", or None for no limit" if optional else ""
    raise ValueError(f"{name}={value!r}: expected a whole number from {least}{none}")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether what it gives would have to be awaited: a coroutine function, or an object with one
    as its `__call__`."""
    return any(map(inspect.iscoroutinefunction, (function, type(function).__call__)))


class _Default(float):
    """A number that nobody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """How long each phase of a request may take, in seconds; None is no limit.

    Attributes:
        connect: DNS, TCP and TLS together.
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
        check_count("Limits(...) max_connections", self.max_connections, least=1)
        check_count("Limits(...) max_per_host", self.max_per_host, least=1)
        check_count("Limits(...) max_keepalive", self.max_keepalive, least=0)
        _check_seconds("Limits", "keepalive_expiry", self.keepalive_expiry, zero=True)
        _check_seconds("Limits", "max_age", self.max_age, zero=True)
