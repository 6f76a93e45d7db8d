"""The pace of a host: our rate, its pauses, on a clock that the tests turn."""

import contextlib
import math
import time
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.messages import Response
from fastreq.policies.hosts import (
    MAX_LATE,
    MAX_PAUSE,
    HostPace,
    Policy,
    asked_pause,
    check_policies,
    policy_for,
)

PAST = {"Remaining": "0", "Reset": "1700000000"}
WALL = 1_800_000_000.0  # 2027-01-15 08:00:00
START = 5000.0  # of the monotonic clock


# ---- the options


class HalfAManager:
    def __repr__(self):
        return "half"

    async def __aenter__(self):
        pass


def test_defaults():
    policy = Policy()

    assert (None, 1, None, None, True) == (
        policy.rate,
        policy.burst,
        policy.max_connections,
        policy.limiter,
        policy.obey_server,
    )
    assert Policy(rate=5) == Policy(rate=5.0)
    assert 1 == Policy(max_connections=1).max_connections
    with pytest.raises(AttributeError):
        policy.rate = 1


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0},
        {"rate": -1},
        {"rate": math.nan},
        {"rate": math.inf},
        {"rate": 1e-320},  # one in more seconds than there are numbers
        {"rate": "5"},
        {"rate": True},
        {"burst": 0},
        {"burst": 1.5},
        {"burst": None},
        {"burst": True},
        {"max_connections": 0},
        {"max_connections": 2.0},
        {"limiter": 5},
        {"limiter": contextlib.nullcontext},
        {"limiter": open},
        {"limiter": HalfAManager()},
        {"obey_server": None},
    ],
    ids=str,
)
def test_wrong_options(options):
    [name] = options
    with pytest.raises(ValueError, match=rf"^Policy\({name}=.*\): expected (?!None)"):
        Policy(**options)


def test_a_limiter_that_can_be_entered_once():
    @contextlib.asynccontextmanager
    async def once():
        yield

    with pytest.raises(ValueError, match="entered many times, such as a Semaphore"):
        Policy(limiter=once())


def test_any_async_context_manager_limits():
    limiter = contextlib.nullcontext()
    assert limiter is Policy(limiter=limiter).limiter


def test_policies():
    slow, fast = Policy(rate=1), Policy(rate=100)
    policies = check_policies({"https://a.example": slow, "http://[::1]:8080": fast})

    assert slow is policy_for(policies, "https://a.example")
    assert fast is policy_for(policies, "http://[::1]:8080")
    assert policy_for(policies, "http://a.example") is None
    assert slow is policy_for(check_policies(slow), "http://any.example")
    assert policy_for(check_policies(None), "http://any.example") is None


def test_policies_are_copied():
    given = {"https://a.example": Policy()}
    policies = check_policies(given)
    given.clear()

    assert policy_for(policies, "https://a.example")


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("a.example", "'https://a.example'"),
        ("a.example:8080", "'https://a.example:8080'"),
        ("https://a.example/", "'https://a.example'"),
        ("https://a.example/v1?q#f", "'https://a.example'"),
        ("https://A.example", "'https://a.example'"),
        ("HTTPS://a.example", "'https://a.example'"),
        ("https://a.example:443", "'https://a.example'"),
        ("http://a.example:80", "'http://a.example'"),
        ("https://u:p@a.example", "'https://a.example'"),
        ("http://[0:0::1]", "'http://[::1]'"),
        ("*", "'https://host[:port]'"),
        ("*.example.com", "'https://host[:port]'"),
        ("", "'https://host[:port]'"),
        ("ftp://a.example", "'https://host[:port]'"),
        ("all://", "'https://host[:port]'"),
    ],
)
def test_keys_that_are_no_origins(key, right):
    """The text has the right spelling, so far as there is one."""
    with pytest.raises(ValueError, match="that is no origin; write ") as caught:
        check_policies({key: Policy()})
    assert str(caught.value).endswith(f"write {right}")


@pytest.mark.parametrize("wrong", [5, [Policy()], "slow", {"https://h": 5}, {5: Policy()}])
def test_what_is_no_policy(wrong):
    with pytest.raises(TypeError, match="expected a"):
        check_policies(wrong)


# ---- the rate


class Line:
    """Requests at given times, each as the client sends it: first in, first out."""

    def __init__(self, pace, late=0.0):
        self.pace, self.late, self.now = pace, late, START

    def send(self, at):
        """When a request that comes `at` this time is started."""
        since = at
        self.now = max(self.now, at)
        for _ in range(100):
            seconds = self.pace.reserve(self.now, since)
            if not seconds:
                return self.now
            self.now += seconds + self.late
        raise AssertionError("asked again and again")


def assert_within(starts, rate, burst):
    """In no window start more than rate * t + burst."""
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            seconds = starts[last] - starts[first]
            assert last - first + 1 <= rate * seconds + burst + 1e-6


GAPS = st.lists(st.floats(0, 2) | st.just(0.0), min_size=1, max_size=60)


@given(GAPS, st.floats(0.2, 50), st.integers(1, 10))
def test_never_more_than_the_rate(gaps, rate, burst):
    line, at, starts = Line(HostPace(Policy(rate=rate, burst=burst))), START, []
    for gap in gaps:
        at += gap
        starts.append(line.send(at))

    assert starts == sorted(starts)
    assert_within(starts, rate, burst)


@given(GAPS, st.floats(0.2, 50), st.integers(1, 10))
def test_never_less_than_the_rate(gaps, rate, burst):
    """Nobody waits longer than it takes those before to go at the rate."""
    line, at, starts = Line(HostPace(Policy(rate=rate, burst=burst))), START, []
    for number, gap in enumerate(gaps):
        at += gap
        start = line.send(at)
        # Either at once, or as soon as the bucket had a token: the `burst` before took one each.
        earliest = starts[number - burst] + 1 / rate if number >= burst else at
        assert start <= max(at, earliest, (starts or [at])[-1] + 1 / rate) + 1e-6
        starts.append(start)


def test_a_burst_and_then_the_rate():
    line = Line(HostPace(Policy(rate=10, burst=3)))
    starts = [line.send(START) - START for _ in range(6)]

    assert [0, 0, 0, 0.1, 0.2, 0.3] == pytest.approx(starts)


def test_a_burst_comes_back_with_rest():
    line = Line(HostPace(Policy(rate=10, burst=3)))
    for _ in range(3):
        line.send(START)

    starts = [line.send(START + 10) - START - 10 for _ in range(4)]
    assert [0, 0, 0, 0.1] == pytest.approx(starts)


def test_without_a_rate():
    line = Line(HostPace(Policy()))
    assert {START} == {line.send(START) for _ in range(1000)}


def test_asking_takes_nothing():
    """Whoever is told to wait, and goes away, has taken nobody's turn."""
    pace = HostPace(Policy(rate=1))
    pace.reserve(START)

    assert {1.0} == {pace.reserve(START) for _ in range(100)}
    assert 0.0 == pace.reserve(START + 1)


def test_how_long_there_is_no_turn():
    """Asking takes none, and whoever waits so long has one."""
    pace = HostPace(Policy(rate=2, burst=2))
    assert 0.0 == pace.wait(START) == pace.wait(START)
    assert 0.0 == pace.reserve(START) == pace.reserve(START)
    assert 0.5 == pace.wait(START) == pace.reserve(START)

    pace.pause(START, 3)
    assert 3 == pace.wait(START)
    assert 0.0 == pace.wait(START + 3) == pace.reserve(START + 3)


def test_a_turn_is_given_back():
    pace = HostPace(Policy(rate=1, burst=2))
    pace.reserve(START)
    pace.reserve(START)
    pace.give_back()

    assert 0.0 == pace.reserve(START)
    assert 1.0 == pace.reserve(START)


@given(GAPS, st.lists(st.booleans(), min_size=60, max_size=60), st.integers(1, 5))
def test_turns_given_back_are_no_more_than_the_rate(gaps, unused, burst):
    line, at, starts = Line(HostPace(Policy(rate=3, burst=burst))), START, []
    for gap, is_unused in zip(gaps, unused, strict=False):
        at += gap
        start = line.send(at)
        if is_unused:
            line.pace.give_back()
        else:
            starts.append(start)

    assert_within(starts, 3, burst)


@pytest.mark.parametrize("rate", [10, 100, 1000])
@pytest.mark.parametrize("late", [0.0001, 0.001, 0.01, 0.04])
def test_timers_that_are_late_cost_no_throughput(rate, late):
    line = Line(HostPace(Policy(rate=rate)), late)
    starts = [line.send(START) for _ in range(rate * 3)]

    assert 3 == pytest.approx(starts[-1] - START, abs=1 / rate + late)
    for first, start in enumerate(starts):
        within = bisect_left(starts, start + 1) - first
        assert within <= rate * (1 + MAX_LATE) + 1


def test_a_loop_that_was_blocked_is_not_made_up_for():
    """Beyond 50 ms: the host would get the burst that was not allowed."""
    line = Line(HostPace(Policy(rate=100)))
    line.send(START)
    line.now = START + 10
    starts = [line.send(START) - START - 10 for _ in range(10)]

    assert 5 <= sum(start == 0 for start in starts) <= 6
    assert 0.04 == pytest.approx(starts[-1], abs=0.011)


def test_a_pace_at_rest_may_be_forgotten():
    pace = HostPace(Policy(rate=1, burst=2))

    assert pace.is_idle(START)
    pace.reserve(START)
    assert not pace.is_idle(START)
    assert pace.is_idle(START + 1)
    pace.pause(START + 1, 5)
    assert not pace.is_idle(START + 5.9)
    assert pace.is_idle(START + 6)


# ---- pauses


def heard(pace, status=200, now=START, **fields):
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return pace.heard(Response(status, headers=headers), now, WALL)


@pytest.mark.parametrize("policy", [Policy(), Policy(rate=10), Policy(rate=10, burst=5)])
@pytest.mark.parametrize("status", [429, 503])
def test_the_whole_host_pauses(policy, status):
    pace = HostPace(policy)

    assert 30.0 == heard(pace, status, Retry_After="30")
    assert 30.0 == pace.reserve(START)
    assert 0.5 == pace.reserve(START + 29.5)
    assert 0.0 == pace.reserve(START + 30)


def test_those_in_line_go_at_the_rate_after_a_pause():
    """However long they have been there."""
    pace = HostPace(Policy(rate=10))
    heard(pace, 503, Retry_After="30")
    line = Line(pace)
    starts = [line.send(START) - START for _ in range(5)]

    assert [30, 30.1, 30.2, 30.3, 30.4] == pytest.approx(starts)


def test_a_pause_that_comes_while_waiting_is_noticed():
    pace = HostPace(Policy(rate=1))
    pace.reserve(START)
    assert 1.0 == pace.reserve(START, START)
    heard(pace, 429, now=START + 0.5, Retry_After="10")

    assert 9.5 == pace.reserve(START + 1, START)
    assert 0.0 == pace.reserve(START + 10.5, START)


def test_pauses_are_not_shortened_nor_added():
    """A hundred answers that were under way all say the same."""
    pace = HostPace(Policy())
    heard(pace, 429, Retry_After="30")
    for second in range(5):
        assert 30 - second == heard(pace, 429, now=START + second, Retry_After="10")
    assert 0.0 == heard(pace, 200)

    assert START + 30 == pace.paused_until


def test_the_first_reset_that_is_a_date():
    """It is past; one second less would be a pause of thirty years."""
    fields = {"RateLimit-Remaining": "0", "RateLimit-Reset": "1000000000"}
    assert 0.0 == asked_pause(Response(429, headers=fields), WALL)
    fields["RateLimit-Reset"] = "999999999"
    assert 999_999_999.0 == asked_pause(Response(429, headers=fields), WALL)


def test_a_short_pause_is_one():
    """As short as it was asked for; a Retry-After may be a date, too."""
    pace = HostPace(Policy())

    assert 0.25 == pace.pause(START, 0.25)
    assert 1.0 == heard(HostPace(Policy()), 429, Retry_After="1")
    assert 60.0 == heard(HostPace(Policy()), 429, Retry_After="Fri, 15 Jan 2027 08:01:00 GMT")


def test_a_pause_is_bounded():
    """Five minutes at most; then the host is asked once more."""
    pace = HostPace(Policy())

    assert MAX_PAUSE == heard(pace, 503, Retry_After="86400")
    assert MAX_PAUSE == heard(pace, 503, Retry_After="9" * 400)
    assert 0.0 == pace.reserve(START + MAX_PAUSE)


def test_a_server_that_is_not_obeyed():
    pace = HostPace(Policy(obey_server=False))

    assert 0.0 == heard(pace, 429, Retry_After="30")
    assert 0.0 == heard(pace, 200, RateLimit='"a";r=0;t=30')
    assert 0.0 == pace.reserve(START)


@each_row(
    ("status", "fields", "seconds"),
    [
        (429, {"Retry-After": "5"}, 5),
        (503, {"Retry-After": "5"}, 5),
        (503, {"Retry-After": "Fri, 15 Jan 2027 08:00:05 GMT"}, 5),
        (503, {"Retry-After": "0"}, 0),
        (503, {"Retry-After": "soon"}, 0),
        (200, {"Retry-After": "5"}, 0),
        (301, {"Retry-After": "5"}, 0),
        (500, {"Retry-After": "5"}, 0),
        (429, {}, 0),
        # The newest draft: structured fields.
        (200, {"RateLimit": '"default";r=0;t=30'}, 30),
        (429, {"RateLimit": '"default";r=0;t=30'}, 30),
        (200, {"RateLimit": '"default";r=1;t=30'}, 0),
        (200, {"RateLimit": '"default";r=0'}, 0),
        (200, {"RateLimit": '"default";t=30'}, 0),
        (200, {"RateLimit": 'default; t=30;  r=0 , "b";r=5;t=99'}, 30),
        (200, {"RateLimit": '"a";r=0;t=3, "b";r=0;t=60, "c";r=9;t=3600'}, 60),
        (200, {"RateLimit": '"a";r=9;t=3, "b;r=0;t=60"'}, 0),
        (200, {"RateLimit": '"a\\";r=0;t=9";r=9;t=3'}, 0),
        (200, {"RateLimit": '"a";pk=:cHsdsRa894==:;r=0;t=3'}, 3),
        (200, {"RateLimit": '"a";pk=";r=0;t=9";r=0;t=3'}, 3),
        (200, {"RateLimit": '"a";r=0;t=3;x'}, 3),
        (200, {"RateLimit": '"a";r=0;t=-3'}, 0),
        (200, {"RateLimit": '"a";r=-1;t=3'}, 0),
        (200, {"RateLimit": '"a";r=0;t=1e9'}, 0),
        (200, {"RateLimit": '"a"r=0;t=3'}, 0),
        (200, {"RateLimit": '"a;r=0;t=3'}, 0),
        (200, {"RateLimit": "5;r=0;t=3"}, 0),
        (200, {"RateLimit": '"a";r=0;t=3, !'}, 0),
        (200, {"RateLimit": '"a";r=0;t=3, "b" x'}, 0),
        (200, {"RateLimit": ""}, 0),
        # Draft 7: a dictionary of one limit.
        (200, {"RateLimit": "limit=100, remaining=0, reset=50"}, 50),
        (429, {"RateLimit": "limit=100,remaining=0,reset=50"}, 50),
        (200, {"RateLimit": "reset=50, remaining=0"}, 50),
        (200, {"RateLimit": 'limit=100;w=60;c="a, b", remaining=0;x, reset=50'}, 50),
        (200, {"RateLimit": "limit=100, remaining=1, reset=50"}, 0),
        (200, {"RateLimit": "limit=100, remaining=0"}, 0),
        (200, {"RateLimit": "limit=100, reset=50"}, 0),
        (200, {"RateLimit": "limit=100, remaining=0, reset=-5"}, 0),
        (200, {"RateLimit": 'x="remaining=0, reset=50"'}, 0),
        (200, {"RateLimit": "limit=100, remaining=0, reset=50, !"}, 0),
        (200, {"RateLimit": "limit=100, remaining=0 reset=50"}, 0),
        # A Retry-After beside it counts, even a shorter one.
        (429, {"Retry-After": "5", "RateLimit": '"a";r=0;t=30'}, 5),
        (200, {"Retry-After": "5", "RateLimit": '"a";r=0;t=30'}, 30),
        # Older drafts, and what was there before them.
        (200, {"RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, 30),
        (200, {"ratelimit-remaining": "0", "ratelimit-reset": "30"}, 30),
        (200, {"RateLimit-Remaining": "1", "RateLimit-Reset": "30"}, 0),
        (200, {"RateLimit-Remaining": "0"}, 0),
        (200, {"RateLimit-Reset": "30"}, 0),
        (200, {"RateLimit-Remaining": "0", "RateLimit-Reset": "-30"}, 0),
        (200, {"RateLimit-Remaining": "0", "RateLimit-Reset": "30, 40"}, 0),
        (200, {"RateLimit-Remaining": "0", "RateLimit-Reset": "9" * 5000}, 0),
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}, 30),
        (200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0.25"}, 0.25),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000030"}, 30),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000030.5"}, 30.5),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000030000"}, 30),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000000"}, 0),
        (200, {"X-RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, 0),
        (200, {f"{x}RateLimit-{n}": v for x in ("", "X-") for n, v in PAST.items()}, 0),
        (200, {}, 0),
    ],
)
def test_what_hosts_say(status, fields, seconds):
    assert seconds == asked_pause(Response(status, headers=fields), WALL)


@pytest.mark.parametrize(
    "value",
    [
        '"' * 10**5,
        '"a";' * 25_000,
        '"a";r=0;t=1,' * 8_000,
        '"a"' + ";r=0" * 25_000,
        '"a"' + " " * 10**5,
        '"' + "\\" * 10**5,
        "a" * 10**5,
        ";" * 10**5,
        '"a";' + " " * 10**5,
        '"a";r="' + "\\\\" * 50_000,
        "a=1," * 25_000,
        "a=" * 50_000,
    ],
    ids=range(12),
)
def test_any_field_is_read_in_linear_time(value):
    started = time.process_time()
    asked_pause(Response(200, headers={"RateLimit": value}), WALL)
    assert 2 > time.process_time() - started


def test_repr():
    pace = HostPace(Policy(rate=1))
    pace.reserve(START)
    pace.pause(START, 5)

    assert "<HostPace full_at=5001.0 paused_until=5005.0>" == repr(pace)
