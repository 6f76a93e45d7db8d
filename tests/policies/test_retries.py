"""Retries: what is tried again, when, and how often in all."""

import dataclasses
import io
import itertools
import math
import random
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq import errors
from fastreq.headers import Headers
from fastreq.messages import Request, Response
from fastreq.policies.retries import (
    MAX_BUDGETS,
    RETRIED,
    Budget,
    Budgets,
    Retry,
    backoff,
    delay,
)
from fastreq.url import parse_url

NOW = 1_800_000_000.0
DEFAULT = Retry()
METHODS = [*sorted(RETRIED), "POST", "PATCH", "CONNECT", "get"]


def longest(low, high):
    """In place of random.uniform: the worst case, so that times are exact."""
    assert 0.0 == low
    return high


def request_with(method="GET", body=b"", **fields):
    return Request(method, parse_url("http://h/"), Headers(fields), body)


def after(outcome, retry=DEFAULT, attempt=1, request=None, uniform=longest):
    """The delay after a response or an error."""
    response = outcome if isinstance(outcome, Response) else None
    error = outcome if isinstance(outcome, Exception) else None
    return delay(retry, attempt, response, error, request or request_with(), NOW, uniform)


async def pieces():
    yield b"x"


class Upload:
    """Looks like something to be iterated twice; its file would be at the end."""

    def __init__(self):
        self.file = io.BytesIO(b"x")

    def __iter__(self):
        while piece := self.file.read(1):
            yield piece


BODIES = {
    "empty": (b"", True),
    "bytes": (b"x", True),
    "list": ([b"x", b"y"], False),  # the client makes a tuple of it
    "tuple": ((b"x", b"y"), True),
    "generator": ((piece for piece in [b"x"]), False),
    "async generator": (pieces(), False),
    "file": (io.BytesIO(b"x"), False),
    "iterable": (Upload(), False),
}


# ---- the options


def test_defaults():
    assert {
        "total": 3,
        "statuses": {429, 502, 503, 504},
        "methods": {"GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PUT", "DELETE"},
        "backoff": 0.2,
        "max_backoff": 30,
        "jitter": True,
        "respect_retry_after": True,
        "budget": 0.2,
    } == {field.name: getattr(Retry(), field.name) for field in dataclasses.fields(Retry)}


def test_values():
    """A Retry is a value: compared, hashed, not changed."""
    assert Retry(2, statuses=[503]) == Retry(total=2, statuses=frozenset({503}))
    assert 1 == len({Retry(methods=("GET",)), Retry(methods={"GET"})})
    with pytest.raises(dataclasses.FrozenInstanceError):
        Retry().total = 5
    with pytest.raises(TypeError):
        Retry(3, {503})


@each_row(
    "options",
    [
        {"total": -1},
        {"total": 1.0},
        {"total": True},
        {"total": None},
        {"statuses": {"503"}},
        {"statuses": 503},
        {"statuses": "503"},
        {"statuses": {99}},
        {"statuses": {600}},
        {"methods": "GET"},
        {"methods": {"get"}},
        {"methods": {"GET "}},
        {"methods": {b"GET"}},
        {"methods": None},
        {"backoff": -0.1},
        {"backoff": math.nan},
        {"backoff": math.inf},
        {"backoff": None},
        {"backoff": True},
        {"max_backoff": -1},
        {"max_backoff": "1"},
        {"jitter": 1},
        {"respect_retry_after": None},
        {"budget": -0.1},
        {"budget": 1.1},
        {"budget": math.nan},
    ],
    ids=str,
)
def test_wrong_options(options):
    [(name, value)] = options.items()
    with pytest.raises(ValueError, match=rf"^Retry\({name}=.*\): expected (?!None)") as caught:
        Retry(**options)
    assert repr(value) in str(caught.value)


def test_the_outermost_of_what_is_right():
    """Limits are part of what they limit."""
    retry = Retry(statuses={100, 599}, budget=1, backoff=0, max_backoff=0)

    assert ({100, 599}, 1) == (retry.statuses, retry.budget)


def test_a_proxy_that_answers_with_a_status_to_retry():
    """Nothing was sent to anybody else, so whatever the method is."""
    error = errors.ProxyError("503 from the proxy")
    assert after(error, request=request_with("POST")) is None
    error.status = 503
    assert 0.2 == after(error, request=request_with("POST"))


def test_of():
    retry = Retry(5)

    assert Retry(0) == Retry.of(0)
    assert Retry(2) == Retry.of(2)
    assert retry is Retry.of(retry)
    for wrong in (-1, True, 1.5, None, "3"):
        with pytest.raises(ValueError, match=r"expected a whole number from 0, or fastreq\.Retry"):
            Retry.of(wrong)


# ---- whether


@each_row("status", [200, 301, 400, 401, 403, 404, 408, 429, 500, 501, 502, 503, 504])
@each_row("body", BODIES)
def test_status_method_body(status, body):
    """Row 37: what is not idempotent is not repeated; nor what cannot be sent again."""
    given, can_be_sent_again = BODIES[body]
    for method in METHODS:
        expected = status in {429, 502, 503, 504} and method in RETRIED and can_be_sent_again
        found = after(Response(status), request=request_with(method, given))

        assert expected == (found is not None), method


UNSENT = [errors.ConnectError(), errors.DNSError(), errors.TLSError(), errors.ConnectTimeout()]
DOUBTFUL = [
    errors.NetworkError(),
    errors.ReadError(),
    errors.WriteError(),
    errors.ReadTimeout(),
    errors.WriteTimeout(),
    errors.IncompleteBody(),
]
FINAL = [
    errors.BlockedAddress(),
    errors.PoolTimeout(),
    errors.TotalTimeout(),
    errors.TimeoutException(),
    errors.RemoteProtocolError(),
    errors.LocalProtocolError(),
    errors.ProxyError(),
    errors.InvalidURL(),
    errors.UnsupportedProtocol(),
    errors.TooManyRedirects(),
    errors.HTTPStatusError(),
    errors.DecodingError(),
    errors.BodyTooLarge(),
    errors.StreamConsumed(),
    errors.ClientClosed(),
    errors.TransportError(),
    errors.FastreqError(),
]


@each_row("error", UNSENT + DOUBTFUL + FINAL, ids=lambda error: type(error).__name__)
@each_row("body", BODIES)
def test_error_method_body(error, body):
    given, can_be_sent_again = BODIES[body]
    for method in METHODS:
        may = error in UNSENT or (error in DOUBTFUL and method in RETRIED)
        found = after(error, request=request_with(method, given))

        assert (may and can_be_sent_again) == (found is not None), method


def test_every_error_is_in_the_table():
    """A new one must be decided about."""
    known = {type(error) for error in UNSENT + DOUBTFUL + FINAL}
    tree = [errors.FastreqError]
    for error in tree:
        tree += error.__subclasses__()

    ours = {error for error in tree if error.__module__ == "fastreq.errors"}
    assert ours - {errors.ProtocolError} == known


def test_a_certificate_that_was_refused():
    error = errors.TLSError("the certificate has expired")
    error.__cause__ = ssl.SSLCertVerificationError()
    assert after(error) is None

    error.__cause__ = ssl.SSLEOFError()
    assert after(error) is not None


def test_an_idempotency_key_makes_a_post_repeatable():
    request = request_with("POST", b"x", **{"idempotency-KEY": "1"})

    assert after(Response(503), request=request) is not None
    assert after(errors.ReadError(), request=request) is not None


def test_what_is_said_counts():
    retry = Retry(statuses={500}, methods={"POST"})

    assert after(Response(500), retry, request=request_with("POST")) is not None
    assert after(Response(500), retry, request=request_with("GET")) is None
    assert after(Response(503), retry, request=request_with("POST")) is None
    assert after(errors.ReadTimeout(), retry, request=request_with("POST")) is not None


@pytest.mark.parametrize("total", range(5))
@pytest.mark.parametrize("outcome", [Response(503), errors.ConnectError()])
def test_as_many_as_were_wanted(total, outcome):
    """Row 38: and no more."""
    tries = next(n for n in itertools.count(1) if after(outcome, Retry(total), n) is None)
    assert total + 1 == tries


# ---- when


def test_the_backoff_doubles():
    found = [after(Response(503), Retry(9), attempt) for attempt in range(1, 10)]
    assert [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30] == pytest.approx(found)


def test_no_overflow():
    assert 30 == after(Response(503), Retry(10**9), 10**6)
    assert 0 == after(Response(503), Retry(10**9, backoff=0), 10**6)


@given(st.integers(1, 50), st.floats(0, 100), st.floats(0, 100), st.randoms(use_true_random=True))
def test_full_jitter(attempt, first, most, source):
    """Anything from 0 to the exponential, which nobody exceeds."""
    retry = Retry(100, backoff=first, max_backoff=most)
    found = backoff(retry, attempt, source.uniform)

    assert 0 <= found <= min(most, first * 2 ** (attempt - 1))
    assert min(most, first * 2 ** (attempt - 1)) == backoff(retry, attempt, longest)


def test_jitter_is_uniform():
    source = random.Random(1)
    found = sorted(after(Response(503), uniform=source.uniform) for _ in range(10_000))

    assert 0.1 == pytest.approx(sum(found) / len(found), rel=0.05)
    assert 0.002 > found[100] - 0.002
    assert 0.196 < found[-100]


def test_no_jitter():
    def never(low, high):
        raise AssertionError("no random number is needed")

    assert 0.4 == after(Response(503), Retry(jitter=False), 2, uniform=never)


@each_row(
    ("value", "seconds"),
    [
        ("0", 0.2),
        ("3", 3.2),
        ("60", 60.2),
        ("61", None),  # the response is handed out
        ("9" * 400, None),
        ("soon", 0.2),
        ("-5", 0.2),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10.2),
        ("Friday, 15-Jan-27 08:00:10 GMT", 10.2),
        ("Fri Jan 15 08:00:10 2027", 10.2),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.2),
        ("Fri, 15 Jan 2027 08:01:01 GMT", None),
    ],
)
@each_row("status", [429, 503])
def test_retry_after(value, seconds, status):
    """At least so long, and the jitter on top."""
    response = Response(status, headers={"Retry-After": value})

    assert seconds == pytest.approx(after(response))
    assert 0.2 == after(response, Retry(respect_retry_after=False))


def test_retry_after_is_a_minimum():
    response = Response(503, headers={"Retry-After": "3"})
    source = random.Random(1)

    assert 3 <= min(after(response, uniform=source.uniform) for _ in range(1000))


# ---- the budget


def storm(count, seconds, retry=DEFAULT):
    """Retries of so many requests, all of which fail, spread over some time."""
    budget, retries = Budget(), 0
    due = sorted((seconds * n / count, 1) for n in range(count))
    while due:
        now, attempt = due.pop(0)
        if attempt == 1:
            budget.sent(now)
        if attempt <= retry.total and budget.spend(retry.budget, now):
            retries += 1
            due.append((now + 0.2 * 2 ** (attempt - 1), attempt + 1))
            due.sort()
    return retries


@pytest.mark.parametrize("seconds", [0, 0.01, 1, 5, 9, 10, 11, 30, 100])
def test_a_storm(seconds):
    """1,000 requests to a host that is down: a fifth of them again, and ten per ten seconds."""
    least = Budget.LEAST * (1 + seconds // Budget.SECONDS)
    assert storm(1000, seconds) <= 200 + least


def test_without_a_budget():
    assert 3000 == storm(1000, 1, Retry(budget=None))


def test_the_budget_is_used():
    assert 200 == storm(1000, 1)


def test_a_lone_request_has_all_its_retries():
    assert 3 == storm(1, 0)
    assert 9 == storm(1, 0, Retry(9))

    budget = Budget()
    assert [True] * 10 + [False] == [budget.spend(0.0, 5.0) for _ in range(11)]


def test_one_request_a_second_has_a_retry_each():
    assert 60 <= storm(60, 60, Retry(1))


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=300))
def test_any_ten_seconds(steps):
    """Retries of the last nine seconds, at least, are within the budget of the last ten."""
    budget, now, sent, spent = Budget(), 1000.0, [], []
    for pause, is_retry in steps:
        now += pause
        if not is_retry:
            budget.sent(now)
            sent.append(now)
        elif budget.spend(0.2, now):
            spent.append(now)
        recent_retries = sum(time > now - 9 for time in spent)
        recent_requests = sum(time > now - 10 for time in sent)
        if is_retry and spent and spent[-1] == now:
            assert recent_retries <= max(Budget.LEAST, 0.2 * recent_requests)


def test_the_budget_is_bounded():
    """It counts, and keeps nothing of the past."""
    budget = Budget()
    for n in range(10_000):
        budget.sent(n / 10)
        budget.spend(0.2, n / 10)

    assert (10, 10) == (len(budget._requests), len(budget._retries))
    assert "<Budget requests=100 retries=20>" == repr(budget)
    budget.sent(10**9)
    assert "<Budget requests=1 retries=0>" == repr(budget)


def test_each_origin_has_a_budget():
    """What one has spent is there for the others."""
    budgets = Budgets()
    assert [True] * 10 + [False] == [budgets.of("http://a").spend(0.0, 5.0) for _ in range(11)]

    assert budgets.of("http://b").spend(0.0, 5.0)
    assert not budgets.of("http://a").spend(0.0, 5.0)


def test_the_budgets_are_bounded():
    """The one that was not needed for longest is forgotten."""
    budgets = Budgets()
    kept, forgotten = budgets.of("http://kept"), budgets.of("http://forgotten")
    for number in range(MAX_BUDGETS - 1):
        budgets.of(f"http://{number}")
        assert kept is budgets.of("http://kept")

    assert f"<Budgets origins={MAX_BUDGETS}>" == repr(budgets)
    assert forgotten is not budgets.of("http://forgotten")
    assert f"<Budgets origins={MAX_BUDGETS}>" == repr(budgets)


def test_a_clock_that_stands_still_or_goes_back():
    budget = Budget()
    budget.sent(100.0)
    budget.sent(50.0)
    budget.sent(100.0)

    assert "<Budget requests=3 retries=0>" == repr(budget)
