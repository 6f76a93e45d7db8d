"""How fast one host may be asked: our own rate, and the pauses that it asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, _AsyncGeneratorContextManager
from dataclasses import dataclass
from typing import Any, Final

from fastreq.errors import FastreqError
from fastreq.messages import Response
from fastreq.policies.retry_after import retry_after
from fastreq.url import URL

MAX_PAUSE: Final = 300.0
"""Seconds of one pause at most: a host that asks for more is tried again after so long."""

MAX_LATE: Final = 0.05
"""Seconds that a timer may be late without any cost in throughput; the loops' are by some ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How one host is treated; that is an origin: scheme, host and port.

    Attributes:
        rate: requests per second; None is no limit. 0.5 is one in two seconds.
        burst: requests that may go at once after a rest; from then on `rate` holds.
        max_connections: open connections to the host, where that is less than `Limits` says. Where
            a proxy is sent the requests, whose connections carry those of all hosts, so many
            requests of the host are under way at once.
        limiter: any async context manager that can be entered many times, entered for each request
            before it is sent, and left when its answer has ended; of a stream, with its body.
        obey_server: a 429 or 503 with Retry-After, or spent RateLimit fields of any answer, pause
            all requests to the host, for at most 300 seconds.
    """

    rate: float | None = None
    burst: int = 1
    max_connections: int | None = None
    limiter: AbstractAsyncContextManager[Any] | None = None
    obey_server: bool = True

    def __post_init__(self) -> None:
        self._check("rate", self.rate is None or _is_rate(self.rate), "a number above 0, or None")
        self._check("burst", _is_count(self.burst), "a whole number from 1")
        count = self.max_connections is None or _is_count(self.max_connections)
        self._check("max_connections", count, "a whole number from 1, or None")
        self._check("limiter", _is_limiter(self.limiter), "an async context manager, or None")
        once = isinstance(self.limiter, _AsyncGeneratorContextManager)
        self._check("limiter", not once, "one that can be entered many times, such as a Semaphore")
        self._check("obey_server", isinstance(self.obey_server, bool), "True or False")

    def _check(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise ValueError(f"Policy({name}={getattr(self, name)!r}): expected {expected}")


def check_policies(
    policies: Policy | Mapping[str, Policy] | None,
) -> Policy | dict[str, Policy] | None:
    """Check what `Client(policy=...)` was given, once and for all; a mapping is copied.

    Raises:
        TypeError: it is no Policy, nor a mapping of origins to policies.
        ValueError: a key is not an origin; the text has the right spelling.
    """
    if policies is None or isinstance(policies, Policy):
        return policies
    if not isinstance(policies, Mapping):
        raise TypeError(f"policy={policies!r}: expected a fastreq.Policy, or a mapping by origin")
    for key, policy in policies.items():
        _check_origin(key)
        if not isinstance(policy, Policy):
            raise TypeError(f"policy={{{key!r}: {policy!r}}}: expected a fastreq.Policy")
    return dict(policies)


def policy_for(policies: Policy | Mapping[str, Policy] | None, origin: str) -> Policy | None:
    """The policy for an origin, out of what `check_policies()` gave."""
    return policies if policies is None or isinstance(policies, Policy) else policies.get(origin)


def _check_origin(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"policy={{{key!r}: ...}}: expected an origin, such as 'https://host'")
    try:
        origin = URL(key if "://" in key else f"https://{key}").origin
    except FastreqError:
        origin = "https://host[:port]"
    if origin != key:
        raise ValueError(f"policy={{{key!r}: ...}}: that is no origin; write {origin!r}")


def _is_limiter(value: Any) -> bool:
    kind = type(value)
    return value is None or (hasattr(kind, "__aenter__") and hasattr(kind, "__aexit__"))


def _is_rate(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value > 0 and math.isfinite(value) and math.isfinite(1 / value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class HostPace:
    """When the next request to one host may start; times are those of one monotonic clock.

    Requests form a line, and only the first of it asks:

        since = clock()
        async with lock:  # asyncio's is first in, first out, and a cancelled waiter just leaves
            while seconds := pace.reserve(clock(), since):
                await asyncio.sleep(seconds)

    So nobody holds a turn while asleep, a pause is noticed by asking again, and cancelling costs
    no turn. In any `t` seconds start at most `rate * t + burst` requests, where timers are exact.
    """

    __slots__ = ("_interval", "_next", "_obeys", "_slack", "paused_until")

    def __init__(self, policy: Policy) -> None:
        self.paused_until = -math.inf  # nothing starts before
        self._obeys = policy.obey_server
        # A token bucket, kept as one number: when it will be full again (GCRA). Each request moves
        # that on by an interval, and may not move it further ahead than the burst.
        self._interval = 0.0 if policy.rate is None else 1 / policy.rate
        self._slack = self._interval * (policy.burst - 1)
        self._next = -math.inf

    def __repr__(self) -> str:
        return f"<HostPace full_at={self._next} paused_until={self.paused_until}>"

    def wait(self, now: float) -> float:
        """Seconds for which nothing starts, whoever asks: it is paused, or has no turn left."""
        return max(0.0, self.paused_until - now, self._next - self._slack - now)

    def reserve(self, now: float, since: float | None = None) -> float:
        """Take a turn now, which gives 0.0; or get the seconds after which to ask again.

        Args:
            now: the time.
            since: when the request got in line. A turn that came up after that, and is taken late
                as timers are late, counts from when it came up (by up to 50 ms).
        """
        if seconds := self.wait(now):
            return seconds
        in_line = now if since is None else min(since, now)
        came_up = max(in_line, now - MAX_LATE, self.paused_until)
        self._next = max(self._next, came_up) + self._interval
        return 0.0

    def give_back(self) -> None:
        """Give back a turn that was taken and not used: the request did not start after all."""
        self._next -= self._interval

    def pause(self, now: float, seconds: float) -> float:
        """Let nothing start for so long, at most 300 s; what was asked for before still holds.

        Returns:
            The seconds for which nothing starts now.
        """
        self.paused_until = max(self.paused_until, now + min(seconds, MAX_PAUSE))
        return max(0.0, self.paused_until - now)

    def heard(self, response: Response, now: float, wall: float) -> float:
        """Look whether the host asks for a pause, and make it.

        Args:
            response: any answer of this host.
            now: the time, by the clock of `reserve()`.
            wall: the time in seconds since 1970, for fields that have a date.

        Returns:
            The seconds for which nothing starts now, if the host asked for it; else 0.0.
        """
        if not self._obeys:
            return 0.0
        seconds = asked_pause(response, wall)
        return self.pause(now, seconds) if seconds > 0 else 0.0

    def is_idle(self, now: float) -> bool:
        """Whether a new HostPace would do the same, so that this one may be forgotten."""
        return self._next <= now and self.paused_until <= now


# ---- what the host says

# Structured fields, RFC 9651: a list of strings with parameters, `"default";r=0;t=30, "day";r=9`.
_STRING = r'"(?:[^"\\]|\\.)*+"'
_PARAMETER = re.compile(rf";[ ]*+([a-z*][a-z0-9_.*-]*+)(?:=({_STRING}|[^;,\"\s]++))?+")
_MEMBER = re.compile(rf"[ \t]*+(?:{_STRING}|[A-Za-z*][^;,\"\s]*+)")
_COMMA = re.compile(r"[ \t]*+(?:,|\Z)")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")

# A dictionary of one limit, `limit=100, remaining=0, reset=30`: draft 7 of the RateLimit fields,
# which many servers speak that were written then.
_PAIR = re.compile(rf"[ \t]*+([a-z*][a-z0-9_.*-]*+)=({_STRING}|[^;,\"\s]++)")

_LIMITED = re.compile(rb"ratelimit", re.IGNORECASE)  # in a name

_FIRST_EPOCH = 1e9  # 2001: a reset below it is in seconds from now, one above it is a date
_FIRST_EPOCH_MS = 1e11


def asked_pause(response: Response, wall: float) -> float:
    """Seconds for which the host wants to be left alone; 0.0 if it does not say so.

    Where there is a Retry-After, the RateLimit fields are not looked at (their draft says so).
    """
    if response.status in (429, 503):
        seconds = retry_after(response, wall)
        if seconds is not None:
            return seconds
    fields = response.headers
    if not any(map(_LIMITED.search, (name for name, _ in fields.raw))):  # the usual case
        return 0.0
    return max(
        (
            0.0,
            *(_spent(value) for value in fields.get_list("RateLimit")),
            _spent_of_one(", ".join(fields.get_list("RateLimit"))),
            _spent_before(fields.get("RateLimit-Remaining"), fields.get("RateLimit-Reset"), wall),
            _spent_before(
                fields.get("X-RateLimit-Remaining"), fields.get("X-RateLimit-Reset"), wall
            ),
        )
    )


def _spent(value: str) -> float:
    """Of `RateLimit: "name";r=0;t=30`: the longest reset of what has nothing remaining."""
    at, longest = 0, 0.0
    while at < len(value):
        member = _MEMBER.match(value, at)
        if member is None:
            return 0.0
        at, parameters = member.end(), {}
        while parameter := _PARAMETER.match(value, at):
            parameters[parameter[1]] = parameter[2]
            at = parameter.end()
        comma = _COMMA.match(value, at)
        if comma is None:
            return 0.0
        at = comma.end()
        if _number(parameters.get("r")) == 0:
            longest = max(longest, _number(parameters.get("t")) or 0.0)
    return longest


def _spent_of_one(value: str) -> float:
    """Of `RateLimit: limit=9, remaining=0, reset=30`: seconds to the reset."""
    at, pairs = 0, {}
    while at < len(value):
        pair = _PAIR.match(value, at)
        if pair is None:
            return 0.0
        pairs[pair[1]], at = pair[2], pair.end()
        while parameter := _PARAMETER.match(value, at):
            at = parameter.end()
        comma = _COMMA.match(value, at)
        if comma is None:
            return 0.0
        at = comma.end()
    return (_number(pairs.get("reset")) or 0.0) if _number(pairs.get("remaining")) == 0 else 0.0


def _spent_before(remaining: str | None, reset: str | None, wall: float) -> float:
    """Of the older fields: seconds to the reset, or its date in seconds or milliseconds."""
    seconds = _number(reset)
    if _number(remaining) != 0 or seconds is None:
        return 0.0
    if seconds >= _FIRST_EPOCH_MS:
        seconds /= 1000
    return seconds - wall if seconds >= _FIRST_EPOCH else seconds


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None
