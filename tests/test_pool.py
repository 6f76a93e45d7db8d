"""Leases over plain fake connections; then every order of events there can be, against a model.

TRUST 1c ("slot leak under contention", "pool grows without bound") and C15.
"""

import asyncio
import itertools
from time import monotonic

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from fastreq.errors import ClientClosed, ConnectError, PoolTimeout
from fastreq.options import Limits
from fastreq.pool import OriginStats, Pool

A, B, C = "https://a", "https://b", "https://c"


class Fake:
    """A connection without a wire."""

    def __init__(self, number=0):
        self.number = number
        self.host = None
        self.retire_at = float("inf")
        self.is_usable_now = True
        self.is_closed = False

    def is_usable(self, now):
        return self.is_usable_now and not self.is_closed and now < self.retire_at

    def close(self):
        self.is_closed = True

    def __repr__(self):
        return f"<Fake {self.number}>"


class Watch:
    """Deadlines that pass when the test says so."""

    def __init__(self):
        self.items = set()

    def watch(self, item):
        self.items.add(item)

    def forget(self, item):
        self.items.discard(item)

    def pass_all(self, late=0.0):
        for item in tuple(self.items):
            item.due = item.check(item.due, late)


class Stand:
    """A pool, and connections that are there as soon as they are asked for."""

    def __init__(self, **limits):
        self.watch = Watch()
        self.pool = Pool(asyncio.get_running_loop(), Limits(**limits), self.watch)
        self.opened = []

    async def connect(self):
        self.opened.append(Fake(len(self.opened)))
        return self.opened[-1]

    async def lease(self, key=A, **options):
        return await self.pool.lease(key, self.connect, **options)

    def ask(self, key=A, **options):
        """Stand in line."""
        return asyncio.ensure_future(self.lease(key, **options))

    def rest(self, *connections):
        """Give connections back, to be used again."""
        for connection in connections:
            self.pool.give_back(connection, True)

    def stats(self, key=A):
        return self.pool.stats().get(key)


async def turns(count=5):
    """Let the others have their turn."""
    for _ in range(count):
        await asyncio.sleep(0)


# ---- leasing


async def test_a_connection_is_opened_and_used_again():
    stand = Stand()
    first = await stand.lease()
    stand.rest(first)

    assert first is await stand.lease()
    assert [first] == stand.opened
    assert OriginStats(open=1, leased=1, idle=0, waiting=0, opened=1, reused=1) == stand.stats()


async def test_leasing_an_idle_connection_awaits_nothing():
    stand = Stand()
    connection = await stand.lease()
    stand.rest(connection)

    with pytest.raises(StopIteration) as done:
        stand.lease().send(None)
    assert connection is done.value.value


async def test_the_newest_idle_connection_goes_first():
    """So the others grow old, and can go."""
    stand = Stand()
    one, two, three = [await stand.lease() for _ in range(3)]
    stand.rest(two, three, one)

    assert [one, three, two] == [stand.pool.take(A) for _ in range(3)]
    assert None is stand.pool.take(A)


async def test_hosts_share_nothing():
    """TRUST 1c: what serves one key never serves another."""
    stand = Stand()
    stand.rest(await stand.lease(A))

    assert None is stand.pool.take(B)
    assert stand.opened[0] is not await stand.lease(B)
    assert 1 == stand.stats(A).idle


async def test_an_idle_connection_that_went_bad_is_closed():
    """At the lease, where nobody has noticed before; the next is tried."""
    stand = Stand()
    good, bad = await stand.lease(), await stand.lease()
    stand.rest(good, bad)
    bad.is_usable_now = False

    assert good is await stand.lease()
    assert bad.is_closed
    assert 1 == stand.stats().open


async def test_a_connection_that_is_not_reusable_is_forgotten():
    stand = Stand()
    stand.pool.give_back(await stand.lease(), False)

    assert {} == stand.pool.stats()
    assert 2 == len([*stand.opened, await stand.lease()])


async def test_a_fresh_connection_on_request():
    """The idle one stays for others."""
    stand = Stand()
    idle = await stand.lease()
    stand.rest(idle)

    assert idle is not await stand.lease(fresh=True)
    assert (1, 1) == (stand.stats().idle, stand.stats().leased)


async def test_a_fresh_connection_takes_the_place_of_an_idle_one():
    stand = Stand(max_per_host=1)
    idle = await stand.lease()
    stand.rest(idle)

    assert idle is not await stand.lease(fresh=True)
    assert idle.is_closed
    assert 1 == stand.stats().open


async def test_connecting_that_fails_gives_its_slot_to_the_next():
    stand = Stand(max_per_host=1)

    async def refused():
        await asyncio.sleep(0)
        raise ConnectError("refused")

    failing = asyncio.ensure_future(stand.pool.lease(A, refused))
    await turns(1)
    waiting = stand.ask()
    with pytest.raises(ConnectError, match="refused"):
        await failing

    assert stand.opened == [await waiting]
    assert 1 == stand.stats().open


# ---- limits


async def test_at_most_so_many_per_host():
    stand = Stand(max_per_host=2)
    leased = [await stand.lease() for _ in range(2)]
    waiting = stand.ask()
    await turns()
    assert not waiting.done()
    assert 1 == stand.stats().waiting

    stand.rest(leased[0])
    assert leased[0] is await waiting
    assert 2 == len(stand.opened)


async def test_at_most_so_many_in_all():
    """A slot that comes free at one host goes to another."""
    stand = Stand(max_connections=2)
    leased = [await stand.lease(A), await stand.lease(B)]
    waiting = stand.ask(C)
    await turns()
    assert not waiting.done()

    stand.rest(leased[0])
    assert C == (await waiting).host.key
    assert leased[0].is_closed
    assert 2 == stand.pool.stats().total.open


async def test_idle_connections_elsewhere_make_room():
    """The one that has been idle for longest goes."""
    stand = Stand(max_connections=2)
    one, two = await stand.lease(A), await stand.lease(B)
    stand.rest(two, one)
    await stand.lease(C)

    assert two.is_closed
    assert not one.is_closed
    assert {A, C} == set(stand.pool.stats())


async def test_at_most_so_many_idle():
    stand = Stand(max_keepalive=1)
    one, two = await stand.lease(A), await stand.lease(B)
    stand.rest(one, two)

    assert one.is_closed
    assert not two.is_closed
    assert {B} == set(stand.pool.stats())


async def test_none_may_be_kept():
    stand = Stand(max_keepalive=0)
    connection = await stand.lease()
    stand.rest(connection)

    assert connection.is_closed
    assert {} == stand.pool.stats()


async def test_none_is_no_limit():
    stand = Stand(max_connections=None, max_per_host=None)

    assert 700 == len({await stand.lease() for _ in range(700)})


async def test_age_is_limited_with_jitter():
    """What was opened together does not go together; nothing lives longer than it may."""
    stand = Stand(max_age=100)
    began = monotonic()
    retire_at = {(await stand.lease()).retire_at for _ in range(50)}

    assert began + 90 <= min(retire_at)
    assert max(retire_at) <= monotonic() + 100
    assert 1 < len(retire_at)


async def test_no_limit_of_age():
    stand = Stand(max_age=None)

    assert float("inf") == (await stand.lease()).retire_at


async def test_a_host_that_has_nothing_is_forgotten():
    """TRUST 1c: a crawl of many hosts does not pile up."""
    stand = Stand(max_connections=10)
    for number in range(1000):
        stand.pool.give_back(await stand.lease(f"https://{number}"), number % 2 == 0)

    assert 10 == len(stand.pool._hosts)
    assert 10 == stand.pool.stats().total.idle


# ---- the line


async def test_first_come_first_served():
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = [stand.ask() for _ in range(3)]
    for waiter in waiting:
        await turns()
        assert [False] * 3 == [w.done() for w in waiting[waiting.index(waiter) :]] + [False] * (
            waiting.index(waiter)
        )
        stand.rest(connection)
        assert connection is await waiter


async def test_nobody_jumps_the_line():
    """Whoever asks while others wait stands behind them, though a slot is on its way."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    first = stand.ask()
    await turns()
    stand.pool.give_back(connection, False)
    second = stand.ask()

    assert stand.opened[1:] == [await first]
    assert not second.done()
    stand.rest(stand.opened[1])
    assert stand.opened[1] is await second


async def test_who_was_in_line_before_goes_first():
    """A request that is repeated, for its connection went bad."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    usual = stand.ask()
    await turns()
    again = stand.ask(fresh=True)
    await turns()
    stand.rest(connection)

    assert connection is not await again
    assert connection.is_closed
    assert not usual.done()
    stand.rest(stand.opened[1])
    assert stand.opened[1] is await usual


async def test_hosts_that_wait_are_served_in_turn():
    """One host's long line does not keep the others from the slots of all."""
    stand = Stand(max_connections=1)
    connection = await stand.lease(C)
    waiting = [stand.ask(key) for key in (A, A, A, B)]
    await turns()

    order = []
    for _ in range(4):
        stand.pool.give_back(connection, False)
        await turns()
        [served] = [w for w in waiting if w.done()]
        waiting.remove(served)
        connection = served.result()
        order.append(connection.host.key)
    assert B in order[:2]
    assert 3 == order.count(A)


async def test_a_line_elsewhere_is_not_starved_by_a_busy_host():
    """A waits for longer than whoever comes to B later: B's connection goes, though B wants it."""
    stand = Stand(max_connections=1)
    connection = await stand.lease(B)
    old = stand.ask(A)
    await turns()
    young = stand.ask(B)
    await turns()
    stand.rest(connection)

    assert A == (await old).host.key
    assert connection.is_closed
    assert not young.done()
    stand.rest(stand.opened[1])
    assert B == (await young).host.key


async def test_a_connection_that_dies_on_its_way_is_replaced():
    """Between being handed over and being used."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = stand.ask()
    await turns()
    stand.rest(connection)
    connection.is_usable_now = False

    assert connection is not await waiting
    assert connection.is_closed
    assert (1, 0) == (stand.stats().open, stand.stats().reused)


# ---- giving up


async def test_cancelled_in_line():
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    first, second = stand.ask(timeout=9), stand.ask()
    await turns()
    first.cancel()
    await turns()
    assert 1 == stand.stats().waiting
    assert set() == stand.watch.items

    stand.rest(connection)
    assert connection is await second


@pytest.mark.parametrize("reusable", [True, False])
async def test_cancelled_just_after_being_given_a_connection(reusable):
    """It goes to the next; cancelling loses nothing (httpcore #830)."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    first, second = stand.ask(), stand.ask()
    await turns()
    stand.pool.give_back(connection, reusable)
    first.cancel()

    with pytest.raises(asyncio.CancelledError):
        await first
    assert (connection if reusable else stand.opened[-1]) is await second
    assert (1, 1) == (stand.stats().open, stand.stats().leased)


async def test_cancelled_just_after_being_given_a_dead_one():
    """Nobody is left to find out that it died, so it must not rest in the pool."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = stand.ask()
    await turns()
    stand.rest(connection)
    connection.is_usable_now = False
    waiting.cancel()
    await turns()

    assert connection.is_closed
    assert {} == stand.pool.stats()


async def test_cancelled_while_connecting():
    stand = Stand(max_per_host=1)
    connecting = asyncio.ensure_future(stand.pool.lease(A, asyncio.Event().wait))
    await turns()
    waiting = stand.ask()
    await turns()
    connecting.cancel()

    assert stand.opened == [await waiting]
    assert 1 == stand.stats().open


async def test_too_long_in_line():
    """The text names the host, the seconds, the option."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = stand.ask(timeout=1.5)
    await turns()
    stand.watch.pass_all()
    with pytest.raises(PoolTimeout, match=r"https://a .*1\.5 s.*Timeout\(pool=") as caught:
        await waiting

    assert "pool" == caught.value.phase
    assert "blocked" not in str(caught.value)
    assert set() == stand.watch.items
    stand.rest(connection)
    assert OriginStats(1, 0, 1, 0, 1, 0) == stand.stats()


async def test_too_long_in_line_for_the_loop_was_blocked():
    stand = Stand(max_per_host=1)
    await stand.lease()
    waiting = stand.ask(timeout=1)
    await turns()
    stand.watch.pass_all(late=7.0)

    with pytest.raises(PoolTimeout, match=r"event loop was blocked for 7\.0 s"):
        await waiting


async def test_a_deadline_that_comes_with_the_connection_is_not_missed():
    """What was given stays given."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = stand.ask(timeout=1)
    await turns()
    stand.rest(connection)
    stand.watch.pass_all()

    assert connection is await waiting


# ---- the end


async def test_close_sends_everybody_away():
    stand = Stand(max_per_host=2)
    leased, idle = await stand.lease(), await stand.lease()
    stand.rest(idle)
    other = await stand.lease(B, fresh=True)
    waiting = [stand.ask(fresh=True), stand.ask(B)]
    stand.rest(other)
    full = [stand.ask(), stand.ask(timeout=5)]
    await turns()
    stand.pool.close()
    await turns()

    for task in full[1:]:
        with pytest.raises(ClientClosed, match="in line"):
            await task
    assert idle.is_closed
    assert set() == stand.watch.items
    for task in (*waiting, *full[:1]):
        stand.pool.give_back(await task, True)
    stand.pool.give_back(leased, False)
    stand.pool.close()
    assert {} == stand.pool.stats()


async def test_a_lost_connection_is_forgotten():
    stand = Stand()
    connection = await stand.lease()
    stand.rest(connection)
    stand.pool.lose(connection)
    stand.pool.lose(connection)

    assert {} == stand.pool.stats()


async def test_losing_a_leased_connection_is_for_its_holder_to_say():
    stand = Stand()
    connection = await stand.lease()
    stand.pool.lose(connection)
    assert 1 == stand.stats().leased

    stand.pool.give_back(connection, False)
    assert {} == stand.pool.stats()


async def test_stats_add_up():
    stand = Stand()
    stand.rest(await stand.lease(A), await stand.lease(A))
    await stand.lease(A)
    await stand.lease(B)

    assert OriginStats(2, 1, 1, 0, 2, 1) == stand.stats(A)
    assert OriginStats(3, 2, 1, 0, 3, 1) == stand.pool.stats().total
    assert "<Pool leased=2 idle=1>" == repr(stand.pool)


# ---- every order of events


class Ask:
    """A request: what has become of it so far."""

    numbers = itertools.count()

    def __init__(self, key, fresh):
        self.number = next(self.numbers)
        self.key = key
        self.fresh = fresh
        self.connecting = None  # the future of the connection that is being opened
        self.task = None

    def __repr__(self):
        return f"<Ask {self.number} {self.key}{' fresh' * self.fresh}>"


class PoolMachine(RuleBasedStateMachine):
    """Asks in every state, all that can happen to them, and what must then be true.

    After each step the loop runs until nothing moves; steps that are about a moment in between
    cause it and the event in one go.
    """

    asks = Bundle("asks")

    @initialize(
        total=st.sampled_from([None, 1, 2, 3, 4]),
        per_host=st.sampled_from([None, 1, 2]),
        keepalive=st.sampled_from([None, None, 0, 1, 2]),
    )
    def start(self, total, per_host, keepalive):
        self.loop = asyncio.new_event_loop()
        self.total, self.per_host, self.keepalive = total, per_host, keepalive
        self.watch = Watch()
        limits = Limits(max_connections=total, max_per_host=per_host, max_keepalive=keepalive)
        self.pool = Pool(self.loop, limits, self.watch)
        self.numbers = itertools.count()
        self.open = []  # all connections that nobody has closed
        # The model: everybody is in one of these.
        self.waiting = []  # asks in line, in order of arrival; repeated ones at the front
        self.opening = []  # asks
        self.leased = {}  # ask → connection
        self.idle = []  # connections, newest last
        self.opened, self.reused = {}, {}  # by key, since the pool last forgot it

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        for ask in [*self.waiting, *self.opening]:
            ask.task.cancel()
        self._settle()
        assert [] == self.waiting + self.opening
        for ask in tuple(self.leased):
            self.pool.give_back(self.leased.pop(ask), False)
        self.pool.close()
        assert {} == self.pool._hosts
        assert 0 == self.pool._slots
        assert {} == self.pool._starved
        assert set() == self.watch.items
        self.loop.close()

    # -- what happens

    @rule(target=asks, key=st.sampled_from([A, B, C]), fresh=st.booleans(), timed=st.booleans())
    def ask(self, key, fresh, timed):
        ask = Ask(key, fresh)
        expected = None if fresh else self._newest(key)
        ask.task = self.loop.create_task(self._lease(ask, 60 if timed else None))
        in_line = [other.key for other in self.waiting]
        self._settle()
        if expected is not None:
            assert expected is self.leased[ask], "not the newest idle connection"
        if key in in_line:
            assert ask in self.waiting, "jumped the line"
        return ask

    @rule(key=st.sampled_from([A, B, C]), target=asks)
    def take(self, key):
        """As the client does it before it asks."""
        ask = Ask(key, False)
        expected = self._newest(key)
        connection = self.pool.take(key)
        assert expected is connection
        self._settle()
        if connection is None:
            return multiple()
        self._now_leased(ask, connection, was_idle=True)
        return ask

    @rule(ask=asks)
    def connected(self, ask):
        if ask in self.opening:
            ask.connecting.set_result(self._new())
            self._settle()
            assert ask in self.leased

    @rule(ask=asks)
    def connecting_fails(self, ask):
        if ask in self.opening:
            ask.connecting.set_exception(ConnectError("refused"))
            self._settle()

    @rule(ask=consumes(asks), reusable=st.booleans())
    def finish(self, ask, reusable):
        if ask in self.leased:
            self._give_back(ask, reusable)
            self._settle()

    @rule(ask=asks)
    def cancel(self, ask):
        """In line, or while connecting."""
        if ask in self.waiting or ask in self.opening:
            ask.task.cancel()
            self._settle()
            assert ask.task.cancelled()

    @rule(ask=asks)
    def expire(self, ask):
        """Its time in line is over; nothing happens to those who have no limit."""
        for waiter in tuple(self.watch.items):
            host = self.pool._hosts[ask.key]
            if ask in self.waiting and waiter in host.waiters:
                waiter.due = waiter.check(waiter.due, 0.0)
                self._settle()
                return

    @rule(ask=asks, reusable=st.booleans(), dies=st.booleans())
    def finish_and_cancel_whoever_gets_it(self, ask, reusable, dies):
        """Cancel just after being given; what was given may be dead by then."""
        if ask not in self.leased:
            return
        connection = self._give_back(ask, reusable)
        given = [
            waiting for waiting in self.waiting if _awaited(waiting.task).done()
        ]
        for waiting in given:
            waiting.task.cancel()
            if dies:
                connection.is_usable_now = False
        self._settle()
        assert all(waiting.task.cancelled() for waiting in given)

    @rule(ask=asks)
    def finish_and_die_on_the_way(self, ask):
        if ask in self.leased:
            connection = self._give_back(ask, True)
            if connection not in self.pool._idle:
                connection.is_usable_now = False
            self._settle()

    @rule(index=st.integers(0, 9))
    def idle_connection_is_lost(self, index):
        """The server closed it, or its time is over: it tells the pool, then closes."""
        if index < len(self.idle):
            connection = self.idle[index]
            self.pool.lose(connection)
            connection.close()
            self._settle()

    @rule(index=st.integers(0, 9))
    def idle_connection_goes_bad(self, index):
        """And nobody notices until it is wanted."""
        if index < len(self.idle):
            self.idle[index].is_usable_now = False

    @rule()
    def close(self):
        """Everybody in line is sent away; what is leased comes back in its time."""
        waiting = tuple(self.waiting)
        self.pool.close()
        self._settle()
        assert all(isinstance(ask.task.exception(), ClientClosed) for ask in waiting)
        assert [] == self.idle

    # -- what is true after each

    @invariant()
    def slots_are_exact(self):
        if not hasattr(self, "loop"):
            return
        for key in (A, B, C):
            host = self.pool._hosts.get(key)
            held = sum(ask.key == key for ask in [*self.opening, *self.leased])
            idle = [connection for connection in self.idle if connection.host.key == key]
            waiting = [ask for ask in self.waiting if ask.key == key]
            if not held and not idle and not waiting:
                assert host is None, "a host with nothing is kept"
                continue
            assert held + len(idle) == host.slots
            assert idle == list(host.idle)
            expected = OriginStats(
                open=held + len(idle),
                leased=held,
                idle=len(idle),
                waiting=len(waiting),
                opened=self.opened.get(key, 0),
                reused=self.reused.get(key, 0),
            )
            assert expected == self.pool.stats()[key]
        assert len(self.opening) + len(self.leased) + len(self.idle) == self.pool._slots

    @invariant()
    def nothing_leaks(self):
        """What is neither leased nor idle is closed, and nothing else is."""
        if hasattr(self, "loop"):
            assert {*self.leased.values(), *self.idle} == {c for c in self.open if not c.is_closed}

    @invariant()
    def limits_hold(self):
        if not hasattr(self, "loop"):
            return
        assert self.pool._slots <= (self.total or 99)
        assert all(host.slots <= (self.per_host or 99) for host in self.pool._hosts.values())
        assert len(self.idle) <= (99 if self.keepalive is None else self.keepalive)

    @invariant()
    def nobody_waits_in_vain(self):
        """No slot is free for whoever waits, and no idle connection would do, or could go."""
        if not hasattr(self, "loop"):
            return
        for ask in self.waiting:
            host = self.pool._hosts[ask.key]
            if host.slots < (self.per_host or 99):
                assert self.pool._slots == self.total
                assert [] == self.idle
            else:
                assert {} == host.idle

    # -- the model

    async def _lease(self, ask, timeout):
        """The life of an ask up to its lease, told to the model as it happens."""

        async def connect():
            if ask in self.waiting:
                self._check_turn(ask)
                self.waiting.remove(ask)
            self.opening.append(ask)
            ask.connecting = self.loop.create_future()
            try:
                return await ask.connecting
            finally:
                self.opening.remove(ask)

        before = self._newest(ask.key)
        queue = [other for other in self.waiting if other.key == ask.key]
        try:
            lease = self.pool.lease(ask.key, connect, timeout=timeout, fresh=ask.fresh)
            connection = await _noting_suspension(lease, lambda: self._now_waiting(ask))
        except (ConnectError, PoolTimeout, ClientClosed, asyncio.CancelledError):
            if ask in self.waiting:
                self.waiting.remove(ask)
            raise
        if ask in self.waiting:
            self._check_turn(ask)
            self.waiting.remove(ask)
        was_idle = connection is before and not queue
        self._now_leased(ask, connection, was_idle=was_idle)

    def _now_waiting(self, ask):
        """It is suspended: in line, unless it is connecting."""
        if ask not in self.opening and ask not in self.waiting:
            self.waiting.insert(0 if ask.fresh else len(self.waiting), ask)

    def _check_turn(self, ask):
        """Nobody of its host was before it, but those who have their turn just now, too."""
        before = itertools.takewhile(lambda other: other is not ask, self.waiting)
        undone = [o for o in before if o.key == ask.key and not _awaited(o.task).done()]
        assert [] == undone, "jumped the line"

    def _now_leased(self, ask, connection, was_idle):
        self.leased[ask] = connection
        assert ask.key == connection.host.key
        if connection.is_new:
            connection.is_new = False
            self.opened[ask.key] = self.opened.get(ask.key, 0) + 1
        else:
            assert not ask.fresh
            self.reused[ask.key] = self.reused.get(ask.key, 0) + 1

    def _newest(self, key):
        good = (c for c in reversed(self.idle) if c.host.key == key and c.is_usable_now)
        return next(good, None)

    def _new(self):
        connection = Fake(next(self.numbers))
        connection.is_new = True
        self.open.append(connection)
        return connection

    def _give_back(self, ask, reusable):
        """As a connection does it at the end of an exchange: closed first, if it has to be."""
        connection = self.leased.pop(ask)
        if not reusable:
            connection.close()
        self.idle.append(connection)  # unless it is given on, which _settle() finds out
        self.pool.give_back(connection, reusable)
        return connection

    def _settle(self):
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))
        for ask in tuple(self.waiting):
            if ask.task.done():
                self.waiting.remove(ask)
        self.idle = [c for c in self.idle if not c.is_closed and c not in self.leased.values()]
        for counts in self.opened, self.reused:
            for key in counts.keys() - self.pool._hosts.keys():
                del counts[key]


def _awaited(task):
    return task._fut_waiter


class _noting_suspension:
    """Await something, and say so whenever it is suspended."""

    def __init__(self, coroutine, note):
        self._coroutine = coroutine
        self._note = note

    def __await__(self):
        steps = self._coroutine.__await__()
        value, error = None, None
        while True:
            try:
                future = steps.throw(error) if error is not None else steps.send(value)
            except StopIteration as done:
                return done.value
            self._note()
            value, error = None, None
            try:
                value = yield future
            except BaseException as exc:
                error = exc


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
