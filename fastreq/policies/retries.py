"""Whether a request is tried again, and when."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, TypeAlias

from fastreq.content.sources import replayable
from fastreq.errors import (
    BlockedAddress,
    ConnectError,
    ConnectTimeout,
    FastreqError,
    IncompleteBody,
    NetworkError,
    ProxyError,
    ReadTimeout,
    TLSError,
    WriteTimeout,
)
from fastreq.messages import Request, Response
from fastreq.policies.retry_after import retry_after

# RFC 9110, section 9.2.2: those that may be sent twice without being asked for twice.
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# Who asks for retries has them of QUERY as well, which is safe by its own definition
# (draft-ietf-httpbis-safe-method-w-body, section 2); unasked, after a keep-alive race, it is not
# repeated (TRUST, section 4).
RETRIED: Final = IDEMPOTENT | {"QUERY"}

MAX_RETRY_AFTER: Final = 60.0
"""Seconds of a Retry-After that are waited; where it is more, the response is handed out."""

Random: TypeAlias = Callable[[float, float], float]
"""`random.uniform`, or what stands for it in a test."""


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, when and after what a failed request is tried again.

    Attributes:
        total: tries after the first.
        statuses: answers after which it is tried again.
        methods: methods that are tried again, also after the network failed. One outside of them is
            if it carries an Idempotency-Key, or if no connection was made, as nothing was sent.
        backoff: seconds before the second try at most; twice as many before each further one.
        max_backoff: seconds at most, however many tries there were.
        jitter: wait a random part of these seconds, so that clients do not come in step.
        respect_retry_after: wait as long as the server says, at least; more than 60 seconds are not
            waited, and its answer is handed out.
        budget: retries are at most this part of a client's recent requests to the same origin, so
            that a host that is down is not stormed; None is no limit.
    """

    total: int = 3
    _: KW_ONLY
    statuses: frozenset[int] = frozenset({429, 502, 503, 504})
    methods: frozenset[str] = RETRIED
    backoff: float = 0.2
    max_backoff: float = 30
    jitter: bool = True
    respect_retry_after: bool = True
    budget: float | None = 0.2

    def __post_init__(self) -> None:
        self._check("total", _is_whole(self.total) and self.total >= 0, "a whole number from 0")
        self._freeze("statuses", _is_status, "status codes, such as {503}")
        self._freeze("methods", _is_method, "methods, such as {'GET'}")
        self._check("backoff", _is_seconds(self.backoff), "seconds, 0 or more")
        self._check("max_backoff", _is_seconds(self.max_backoff), "seconds, 0 or more")
        self._check("jitter", isinstance(self.jitter, bool), "True or False")
        respect = isinstance(self.respect_retry_after, bool)
        self._check("respect_retry_after", respect, "True or False")
        budget = self.budget is None or (_is_seconds(self.budget) and self.budget <= 1)
        self._check("budget", budget, "a part from 0 to 1, or None for no limit")

    @classmethod
    def of(cls, value: int | Retry) -> Retry:
        """A bare number is the total.

        Raises:
            ValueError: it is neither a Retry nor a whole number from 0.
        """
        if isinstance(value, Retry):
            return value
        if not _is_whole(value) or value < 0:
            raise ValueError(f"retry={value!r}: expected a whole number from 0, or fastreq.Retry")
        return cls(value)

    def _check(self, name: str, right: bool, expected: str) -> None:
        if not right:
            raise ValueError(f"Retry({name}={getattr(self, name)!r}): expected {expected}")

    def _freeze(self, name: str, is_right: Callable[[Any], bool], expected: str) -> None:
        given = getattr(self, name)
        many = isinstance(given, Iterable) and not isinstance(given, (str, bytes))
        values = tuple(given) if many else ()
        self._check(name, many and all(map(is_right, values)), expected)
        object.__setattr__(self, name, frozenset(values))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: Any) -> bool:
    number = isinstance(value, float) or _is_whole(value)
    return number and math.isfinite(value) and value >= 0


def _is_status(value: Any) -> bool:
    return _is_whole(value) and 100 <= value <= 599


def _is_method(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Z-]+", value) is not None


MAX_BUDGETS: Final = 4096
"""Origins whose requests are counted; those that were asked longest ago are forgotten."""


class Budgets:
    """A budget for each origin: one that is down takes no retries away from the others."""

    def __init__(self) -> None:
        self._budgets: dict[str, Budget] = {}  # that was asked for last at the end

    def __repr__(self) -> str:
        return f"<Budgets origins={len(self._budgets)}>"

    def of(self, origin: str) -> Budget:
        """The budget of an origin."""
        budget = self._budgets.pop(origin, None) or Budget()
        if len(self._budgets) >= MAX_BUDGETS:
            del self._budgets[next(iter(self._budgets))]
        self._budgets[origin] = budget
        return budget


class Budget:
    """Counts a client's requests to one origin, and their retries, of the last 10 seconds.

    Retries may be a part of the requests (`Retry.budget`) and in any case 10, so that a lone
    request can be tried again: at most one retry a second is no storm.
    """

    SECONDS: Final = 10
    LEAST: Final = 10

    __slots__ = ("_requests", "_retries", "_second")

    def __init__(self) -> None:
        # One count for each second, in turn; the current one is at `_second % SECONDS`.
        self._requests = [0] * self.SECONDS
        self._retries = [0] * self.SECONDS
        self._second = 0

    def __repr__(self) -> str:
        return f"<Budget requests={sum(self._requests)} retries={sum(self._retries)}>"

    def sent(self, now: float) -> None:
        """Count a request, when it is first tried; `now` is by a monotonic clock."""
        self._requests[self._slot(now)] += 1

    def spend(self, part: float | None, now: float) -> bool:
        """Count a retry, if there is one left; `part` is the request's `Retry.budget`."""
        slot = self._slot(now)
        if part is not None:
            most = max(self.LEAST, part * sum(self._requests))
            if sum(self._retries) + 1 > most:
                return False
        self._retries[slot] += 1
        return True

    def _slot(self, now: float) -> int:
        second = int(now)
        if second > self._second:
            for passed in range(max(self._second + 1, second - self.SECONDS + 1), second + 1):
                self._requests[passed % self.SECONDS] = self._retries[passed % self.SECONDS] = 0
            self._second = second
        return self._second % self.SECONDS


def delay(
    retry: Retry,
    attempt: int,
    response: Response | None,
    error: FastreqError | None,
    request: Request,
    now: float,
    random: Random,
) -> float | None:
    """Seconds to wait before the request is tried again; None to give up.

    The budget is asked by the caller, after this.

    Args:
        retry: what the caller wants.
        attempt: how many times the request was tried so far.
        response: what came of the last try,
        error: or why nothing came of it.
        request: what was sent.
        now: seconds since 1970, for a Retry-After that is a date.
        random: `random.uniform`.
    """
    if attempt > retry.total or not replayable(request.body):
        return None
    if error is not None:
        return backoff(retry, attempt, random) if _is_worth_it(retry, request, error) else None
    if response is None or response.status not in retry.statuses or not _may(retry, request):
        return None
    asked = retry_after(response, now) if retry.respect_retry_after else None
    if asked is None:
        return backoff(retry, attempt, random)
    # The jitter comes on top: those who were all told the same second should not come in step.
    return None if asked > MAX_RETRY_AFTER else asked + backoff(retry, attempt, random)


def backoff(retry: Retry, attempt: int, random: Random) -> float:
    """Seconds before the try after `attempt` tries: exponential, with full jitter."""
    # 2.0 ** 1024 is an error, and a backoff of years is cut anyway.
    longest = min(retry.max_backoff, retry.backoff * 2.0 ** min(attempt - 1, 64))
    return random(0.0, longest) if retry.jitter else longest


# After these the server may or may not have acted. Other errors (of protocol, decoding, a
# wait in line, the end of all time) come again, or leave no time.
_PASSING = (NetworkError, ReadTimeout, WriteTimeout, IncompleteBody)


def _is_worth_it(retry: Retry, request: Request, error: FastreqError) -> bool:
    if is_lasting(error):
        return False
    if isinstance(error, ProxyError):  # nothing was sent here either
        return is_passing(error, retry.statuses)
    if isinstance(error, (ConnectError, ConnectTimeout)):
        return True  # nothing was sent
    return isinstance(error, _PASSING) and _may(retry, request)


def is_lasting(error: FastreqError) -> bool:
    """Whether it would be the same again: an address that is not let through, a certificate."""
    if isinstance(error, TLSError):
        return isinstance(error.__cause__, ssl.SSLCertVerificationError)
    return isinstance(error, BlockedAddress)


def is_passing(error: ProxyError, statuses: frozenset[int]) -> bool:
    """Whether the proxy may do better another time: it hung up, or it said so."""
    return error.status in statuses or isinstance(error.__cause__, ConnectionError)


def _may(retry: Retry, request: Request) -> bool:
    """Whether the request may be acted upon twice (RFC 9110, section 9.2.2)."""
    return request.method in retry.methods or "idempotency-key" in request.fields.names
