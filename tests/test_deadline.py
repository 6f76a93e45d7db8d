"""Deadlines on a loop that is only timers, with a clock that moves when it is told to."""

import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreq import deadline
from fastreq.deadline import BLOCKED, GRANULARITY, NEVER, Deadlines, blocked


class Timer:
    def __init__(self, when, callback, args):
        self.when = when
        self.callback = callback
        self.args = args
        self.is_cancelled = False

    def cancel(self):
        self.is_cancelled = True


class Clock:
    """A loop with nothing but timers; each goes off when its time has come, or `lag` later."""

    def __init__(self):
        self.now = 1000.0
        self.lag = 0.0
        self.set = 0  # timers, so far
        self.complaints = []
        self._timers = []
        self._order = itertools.count()

    def call_later(self, delay, callback, *args):
        timer = Timer(self.now + delay, callback, args)
        heapq.heappush(self._timers, (timer.when, next(self._order), timer))
        self.set += 1
        return timer

    def call_exception_handler(self, context):
        self.complaints.append(context)

    @property
    def armed(self):
        """When the timers go off that nobody has cancelled."""
        return sorted(when for when, _, timer in self._timers if not timer.is_cancelled)

    def run_until(self, end):
        while self._timers and self._timers[0][0] + self.lag <= end:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.is_cancelled:
                self.now = max(self.now, when + self.lag)
                timer.callback(*timer.args)
        self.now = max(self.now, end)


class Item:
    """Something that can be late."""

    def __init__(self, due, *then):
        self.due = due
        self.checks = []  # (now, late)
        self._then = iter(then)  # the next `due`, and so on

    def check(self, now, late):
        self.checks.append((now, late))
        return next(self._then, NEVER)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(deadline, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def deadlines(clock):
    return Deadlines(clock)


def test_nothing_is_watched_without_a_timer(clock, deadlines):
    assert [] == clock.armed
    assert NEVER == deadlines.next


def test_an_item_is_checked_when_it_is_due(clock, deadlines):
    item = Item(1005.0)
    deadlines.watch(item)

    clock.run_until(1004.9)
    assert [] == item.checks
    clock.run_until(1005.1)
    assert [(1005.0, 0.0)] == item.checks
    assert NEVER == item.due


def test_one_that_cannot_be_seen_to_keeps_nobody_from_theirs(clock, deadlines):
    """It is told to the loop, and not looked at again."""

    class Broken(Item):
        def check(self, now, late):
            raise ValueError("broken")

    others = [Item(1005.0, 1006.0), Item(1005.0, 1006.0)]
    for item in (others[0], broken := Broken(1005.0), others[1]):
        deadlines.watch(item)

    clock.run_until(1007.0)
    assert [[1005.0, 1006.0]] * 2 == [[now for now, _ in item.checks] for item in others]
    assert NEVER == broken.due
    assert ["broken"] == [str(context["exception"]) for context in clock.complaints]


def test_one_timer_stands_at_the_earliest(clock, deadlines):
    """However many are watched, and in whatever order they come."""
    for due in (1005.0, 1003.0, 1004.0, NEVER):
        deadlines.watch(Item(due))

    assert [1003.0] == clock.armed
    assert 1003.0 == deadlines.next


def test_a_later_due_costs_nothing(clock, deadlines):
    """An item may move its own `due` back; the timer that goes off for nothing is set anew."""
    item = Item(1005.0)
    deadlines.watch(item)
    item.due = 1009.0

    assert 1 == clock.set
    clock.run_until(1008.9)
    assert [] == item.checks
    assert [1009.0] == clock.armed
    clock.run_until(1009.1)
    assert 1 == len(item.checks)


def test_an_earlier_due_moves_the_timer(clock, deadlines):
    item = Item(1005.0)
    deadlines.watch(item)
    item.due = 1002.0
    deadlines.moved_up(1002.0)

    assert [1002.0] == clock.armed
    clock.run_until(1002.1)
    assert 1 == len(item.checks)


def test_a_due_that_has_passed_is_seen_at_once(clock, deadlines):
    """And nobody says that the loop was blocked: the timer was on time."""
    item = Item(990.0)
    deadlines.watch(item)

    clock.run_until(1000.0)
    assert [(1000.0, 0.0)] == item.checks


def test_an_item_that_is_not_late_after_all_is_asked_again(clock, deadlines):
    """`due` may be too early: `check()` gives the right one."""
    item = Item(1001.0, 1004.0)
    deadlines.watch(item)

    clock.run_until(1003.9)
    assert [(1001.0, 0.0)] == item.checks
    clock.run_until(1004.1)
    assert [(1001.0, 0.0), (1004.0, 0.0)] == item.checks


def test_what_is_forgotten_is_not_checked(clock, deadlines):
    gone, left = Item(1001.0), Item(1002.0)
    deadlines.watch(gone)
    deadlines.watch(left)
    deadlines.forget(gone)

    clock.run_until(1010.0)
    assert [] == gone.checks
    assert 1 == len(left.checks)


def test_the_last_to_go_takes_the_timer_with_it(clock, deadlines):
    """And the next to come sets another."""
    first, second = Item(1001.0), Item(1002.0)
    deadlines.watch(first)
    deadlines.watch(second)
    deadlines.forget(first)
    assert [] != clock.armed
    deadlines.forget(second)
    deadlines.forget(second)
    assert [] == clock.armed

    third = Item(1003.0)
    deadlines.watch(third)
    clock.run_until(1003.0)
    assert 1 == len(third.checks)


def test_nothing_more_to_wait_for_leaves_no_timer(clock, deadlines):
    """As after an expiry: what is watched is never due again."""
    deadlines.watch(Item(1001.0))
    clock.run_until(1002.0)

    assert [] == clock.armed
    assert NEVER == deadlines.next


def test_close_drops_the_timer(clock, deadlines):
    item = Item(1001.0)
    deadlines.watch(item)
    deadlines.close()
    deadlines.close()

    clock.run_until(1010.0)
    assert [] == item.checks


def test_a_thousand_deadlines_close_together_cost_a_few_timers(clock, deadlines):
    items = [Item(1001.0 + n * GRANULARITY / 500) for n in range(1000)]
    for item in items:
        deadlines.watch(item)
    clock.run_until(1002.0)

    assert [1] * 1000 == [len(item.checks) for item in items]
    assert clock.set <= 5


def test_the_last_check_may_forget(clock, deadlines):
    """An item that goes in its own `check()`, as a connection does, leaves no timer behind."""

    class Leaving(Item):
        def check(self, now, late):
            deadlines.forget(self)
            return super().check(now, late)

    item = Leaving(1001.0, 1002.0)
    deadlines.watch(item)
    clock.run_until(1010.0)

    assert 1 == len(item.checks)
    assert [] == clock.armed


def test_a_check_may_watch_another(clock, deadlines):
    second = Item(1001.5)

    class Bringing(Item):
        def check(self, now, late):
            deadlines.watch(second)
            return super().check(now, late)

    deadlines.watch(Bringing(1001.0))
    clock.run_until(1002.0)

    assert 1 == len(second.checks)


# ---- a loop that was blocked


def test_a_little_late_is_on_time(clock, deadlines):
    item = Item(1001.0)
    deadlines.watch(item)
    clock.lag = GRANULARITY / 2
    clock.run_until(1002.0)

    assert [(1001.0 + GRANULARITY / 2, 0.0)] == item.checks


def test_texts_blame_a_loop_that_was_blocked_for_long():
    """A moment is nothing to write home about."""
    assert "" == blocked(0.0) == blocked(BLOCKED)
    assert "event loop was blocked for 0.3 s" in blocked(0.3)


@pytest.mark.parametrize("lag", [2 * GRANULARITY, 5.0])
def test_a_blocked_loop_reads_before_it_judges(clock, deadlines, lag):
    """What came while the loop was blocked moves its deadline, and is not late."""
    heard, silent = Item(1001.0), Item(1001.0)
    deadlines.watch(heard)
    deadlines.watch(silent)
    clock.lag = lag
    clock.run_until(1001.0 + lag)
    clock.lag = 0.0
    assert [] == heard.checks + silent.checks

    heard.due = 1007.0
    clock.run_until(1001.0 + lag + GRANULARITY)
    assert [] == heard.checks
    [(now, late)] = silent.checks
    assert pytest.approx(1001.0 + lag + GRANULARITY) == now
    assert pytest.approx(lag) == late


def test_lateness_is_told_once(clock, deadlines):
    """The next sweep is on time again."""
    item = Item(1001.0, 1010.0)
    deadlines.watch(item)
    clock.lag = 5.0
    clock.run_until(1006.0)
    clock.lag = 0.0
    clock.run_until(1011.0)

    assert [pytest.approx(5.0), 0.0] == [late for _, late in item.checks]


def test_the_last_may_go_while_a_blocked_loop_reads(clock, deadlines):
    item = Item(1001.0)
    deadlines.watch(item)
    clock.lag = 5.0
    clock.run_until(1006.0)
    clock.lag = 0.0
    deadlines.forget(item)

    assert [] == clock.armed
    clock.run_until(1010.0)
    assert [] == item.checks


# ---- any schedule

TIMES = st.integers(0, 400).map(lambda n: 1000.0 + n / 100)


@given(st.lists(st.tuples(TIMES, st.lists(TIMES, max_size=3))), st.lists(TIMES))
def test_everyone_is_checked_in_time(schedule, moves):
    """Never before it is due, and not later than a sweep takes; whoever moves, and however."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline, "monotonic", lambda: clock.now)
        deadlines = Deadlines(clock)
        items = []
        for due, following in schedule:
            item = Strict(due, following)
            items.append(item)
            deadlines.watch(item)
        for moment, item in zip(sorted(moves), itertools.cycle(items), strict=False):
            clock.run_until(moment)
            item.due = min(item.due, moment + 0.5)
            deadlines.moved_up(item.due)
        clock.run_until(1100.0)

        assert all(NEVER == item.due for item in items)
        assert [] == clock.armed


class Strict:
    """An item that is wronged by a check too early, or too late."""

    def __init__(self, due, following):
        self.due = due
        self._following = iter(sorted(following))

    def check(self, now, late):
        assert self.due <= now <= max(self.due, 1000.0) + GRANULARITY + 1e-6
        assert 0.0 == late
        return max(next(self._following, NEVER), now)
