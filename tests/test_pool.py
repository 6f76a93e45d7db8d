"""Leases over plain fake connections; then every order of events there can be, against a model.

TRUST 1c ("slot leak under contention", "pool grows without bound") and C15.
"""

import asyncio
from time import monotonic

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fastreq.errors import ClientClosed, ConnectError, FastreqError, PoolTimeout
from fastreq.options import Limits
from fastreq.pool import OriginStats, Pool

A, B, C = "https://a", "https://b", "https://c"
KEYS = st.sampled_from([A, B, C])


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
    for number in range(1001):
        stand.pool.give_back(await stand.lease(f"https://{number}"), number % 2 == 0)

    assert 10 == len(stand.pool._hosts)
    assert 10 == stand.pool.stats().total.idle


# ---- the line


async def test_first_come_first_served():
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = [stand.ask() for _ in range(3)]
    await turns()
    for served in range(3):
        assert [False] * (3 - served) == [waiter.done() for waiter in waiting[served:]]
        stand.rest(connection)
        assert connection is await waiting[served]


async def test_nobody_jumps_the_line():
    """Whoever asks while others wait stands behind them, though a slot is on its way."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    first = stand.ask()
    await turns()
    stand.pool.give_back(connection, False)
    second = stand.ask()

    assert await first is stand.opened[1]
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
    """The long line of one does not keep the others from slots that come free elsewhere."""
    stand = Stand(max_connections=3)
    leased = [await stand.lease(C) for _ in range(3)]
    asks = [stand.ask(key) for key in (A, A, A, B)]
    await turns()

    for connection in leased:
        stand.pool.give_back(connection, False)
    await turns()
    assert [True, True, False, True] == [ask.done() for ask in asks]
    stand.rest(asks[0].result())
    assert asks[0].result() is await asks[2]


async def test_a_slot_goes_to_who_has_waited_longest():
    """Of its own host and the one whose turn it is."""
    stand = Stand(max_connections=1)
    connection = await stand.lease(A)
    asks = [stand.ask(key) for key in (A, A, B, A)]

    for ask in asks:
        await turns()
        stand.rest(connection)
        connection = await ask
    assert [A, A, B, A] == [ask.result().host.key for ask in asks]


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
    """And closes what is idle; what is leased is given back by its holders."""
    stand = Stand(max_per_host=1)
    leased, idle = await stand.lease(A), await stand.lease(B)
    stand.rest(idle)
    waiting = [stand.ask(A), stand.ask(A, timeout=5), stand.ask(A, fresh=True)]
    await turns()
    stand.pool.close()

    for waiter in waiting:
        with pytest.raises(ClientClosed, match="closed while the request was in line"):
            await waiter
    assert idle.is_closed
    assert set() == stand.watch.items
    assert {A: OriginStats(1, 1, 0, 0, 1, 0)} == stand.pool.stats()
    stand.pool.give_back(leased, False)
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
    """A request, and what has become of it so far."""

    def __init__(self, key, fresh):
        self.key = key
        self.fresh = fresh
        self.task = None
        self.awaits = None  # the future that it is suspended on: a waiter's, or `connecting`
        self.connecting = None

    def __repr__(self):
        return f"<Ask {self.key}{' fresh' * self.fresh}>"

    async def until_leased(self, lease, note):
        """Await a lease, and call `note` at each suspension."""
        return await _Noting(self, lease, note)


class _Noting:
    def __init__(self, ask, coroutine, note):
        self._ask, self._steps, self._note = ask, coroutine.__await__(), note

    def __await__(self):
        value, error = None, None
        while True:
            try:
                if error is None:
                    self._ask.awaits = self._steps.send(value)
                else:
                    self._ask.awaits = self._steps.throw(error)
            except StopIteration as done:
                return done.value
            self._note(self._ask)
            value, error = None, None
            try:
                value = yield self._ask.awaits
            except BaseException as exc:
                error = exc


PLACES = st.integers(0, 9)
ONE_IN_FOUR = st.sampled_from([False, False, False, True])


class PoolMachine(RuleBasedStateMachine):
    """Asks in every state, all that can happen to them, and what must be true afterwards.

    After each step the loop runs until nothing moves; rules that are about a moment in between
    make two things happen before that.
    """

    @initialize(
        total=st.sampled_from([1, 2, 3, 4, 99]),
        per_host=st.sampled_from([1, 2, 99]),
        keepalive=st.sampled_from([99, 99, 0, 1, 2]),
    )
    def start(self, total, per_host, keepalive):
        self.loop = asyncio.new_event_loop()
        self.watch = Watch()
        self.limits = Limits(max_connections=total, max_per_host=per_host, max_keepalive=keepalive)
        self.pool = Pool(self.loop, self.limits, self.watch)
        # Where everybody is.
        self.waiting = []  # asks in line; those that were in line before stand at the front
        self.opening = []  # asks
        self.leased = {}  # ask → connection
        self.idle = []  # connections, newest last
        self.connections = []  # all there ever were

    def teardown(self):
        for ask in [*self.waiting, *self.opening]:
            ask.task.cancel()
        self.settle()
        assert [] == self.waiting + self.opening
        for ask in tuple(self.leased):
            self.give_back(ask, False)
        self.pool.close()
        assert ({}, {}, 0) == (self.pool._hosts, self.pool._starved, self.pool._slots)
        assert set() == self.watch.items
        self.loop.close()

    # ---- what happens

    @rule(key=KEYS, fresh=ONE_IN_FOUR, timeout=st.sampled_from([None, 9]))
    def ask(self, key, fresh, timeout):
        ask = Ask(key, fresh)
        newest = None if fresh else self.newest(key)
        in_line = [other for other in self.waiting if other.key == key]
        ask.task = self.loop.create_task(self.life(ask, timeout))
        self.settle()
        if in_line:
            assert ask in self.waiting, "jumped the line"
        elif newest is not None:
            assert newest is self.leased[ask], "there was one idle for a shorter time"

    @precondition(lambda self: self.idle)
    @rule(key=KEYS)
    def take(self, key):
        """As the client does it, before it asks."""
        newest = self.newest(key)
        connection = self.pool.take(key)
        assert newest is connection
        if connection is not None:
            self.note_leased(Ask(key, fresh=False), connection)
        self.settle()

    @precondition(lambda self: self.opening)
    @rule(end=st.sampled_from(["success"] * 4 + ["failure", "cancelled"]), place=PLACES)
    def connecting_ends(self, end, place):
        ask = pick(self.opening, place)
        if end == "success":
            connection = Fake(len(self.connections))
            self.connections.append(connection)
            ask.connecting.set_result(connection)
            self.settle()
            assert connection is self.leased[ask]
        elif end == "failure":
            ask.connecting.set_exception(ConnectError("refused"))
            self.settle()
            assert isinstance(ask.task.exception(), ConnectError)
        else:
            self.cancel(ask)

    @precondition(lambda self: self.waiting)
    @rule(place=PLACES)
    def cancel_waiting(self, place):
        self.cancel(pick(self.waiting, place))

    def cancel(self, ask):
        ask.task.cancel()
        self.settle()
        assert ask.task.cancelled()

    @precondition(lambda self: self.waiting)
    @rule()
    def be_late(self):
        """All who are in line and have a limit have waited for too long."""
        self.watch.pass_all()
        self.settle()

    @precondition(lambda self: self.leased)
    @rule(place=PLACES, reusable=st.sampled_from([True, True, False]))
    def finish(self, place, reusable):
        self.give_back(pick(self.leased, place), reusable)
        self.settle()

    @precondition(lambda self: self.leased and self.waiting)
    @rule(place=PLACES, reusable=st.booleans(), dies=st.booleans())
    def finish_and_cancel_who_is_given_it(self, place, reusable, dies):
        """Just after being given; it may even have died on its way."""
        connection = self.give_back(pick(self.leased, place), reusable)
        given = self.given()
        for other in given:
            connection.is_usable_now = not dies
            other.task.cancel()
        self.settle()
        assert all(other.task.cancelled() for other in given)
        assert connection.is_usable_now or connection.is_closed

    @precondition(lambda self: self.leased and self.waiting)
    @rule(place=PLACES)
    def finish_and_die_on_the_way(self, place):
        """A connection that was handed over dies before it is used."""
        connection = self.give_back(pick(self.leased, place), True)
        connection.is_usable_now = not self.given()
        self.settle()

    @precondition(lambda self: self.idle)
    @rule(place=PLACES)
    def idle_is_lost(self, place):
        """The server closed it, or it has expired: the pool is told."""
        connection = pick(self.idle, place)
        self.pool.lose(connection)
        connection.close()
        self.settle()

    @precondition(lambda self: self.idle)
    @rule(place=PLACES)
    def idle_goes_bad(self, place):
        """And nobody notices before it is wanted."""
        pick(self.idle, place).is_usable_now = False

    @precondition(lambda self: self.waiting or self.idle)
    @rule(really=ONE_IN_FOUR)
    def close(self, really):
        if really:
            waiting = tuple(self.waiting)
            self.pool.close()
            self.settle()
            assert all(isinstance(ask.task.exception(), ClientClosed) for ask in waiting)
            assert [] == self.idle

    # ---- what is true after each

    @invariant()
    def slots_are_exact(self):
        """slots == open + opening, and a host that has none, and no line, is forgotten."""
        expected = {}
        for key in {ask.key for ask in [*self.waiting, *self.opening, *self.leased]} | {
            connection.host.key for connection in self.idle
        }:
            leased = sum(ask.key == key for ask in [*self.opening, *self.leased])
            idle = sum(connection.host.key == key for connection in self.idle)
            waiting = sum(ask.key == key for ask in self.waiting)
            expected[key] = leased + idle, leased, idle, waiting
        assert expected == {key: stats[:4] for key, stats in self.pool.stats().items()}
        assert expected.keys() == self.pool._hosts.keys()
        assert self.pool._slots == sum(open_ for open_, *_ in expected.values())

    @invariant()
    def idle_ones_are_in_order(self):
        assert self.idle == list(self.pool._idle)
        for key, host in self.pool._hosts.items():
            assert list(host.idle) == [c for c in self.idle if c.host.key == key]

    @invariant()
    def nothing_leaks(self):
        """What is neither leased nor idle is closed, and nothing else is."""
        alive = {connection for connection in self.connections if not connection.is_closed}
        assert alive == {*self.leased.values(), *self.idle}

    @invariant()
    def limits_hold(self):
        assert self.pool._slots <= self.limits.max_connections
        assert all(h.slots <= self.limits.max_per_host for h in self.pool._hosts.values())
        assert len(self.idle) <= self.limits.max_keepalive

    @invariant()
    def nobody_waits_in_vain(self):
        """No slot is free for who waits, and no idle connection would do, or could go for it."""
        for host in {self.pool._hosts[ask.key] for ask in self.waiting}:
            if host.slots < self.limits.max_per_host:
                assert self.pool._slots == self.limits.max_connections
                assert [] == self.idle
            else:
                assert {} == host.idle

    # ---- the model

    async def life(self, ask, timeout):
        """An ask up to its lease."""

        async def connect():
            self.note_turn(ask)
            self.opening.append(ask)
            ask.connecting = self.loop.create_future()
            try:
                return await ask.connecting
            finally:
                self.opening.remove(ask)

        lease = self.pool.lease(ask.key, connect, timeout=timeout, fresh=ask.fresh)
        try:
            connection = await ask.until_leased(lease, self.note_suspended)
        except (FastreqError, asyncio.CancelledError):
            if ask in self.waiting:
                self.waiting.remove(ask)
            raise
        self.note_turn(ask)
        self.note_leased(ask, connection)

    def note_suspended(self, ask):
        if ask.awaits is not ask.connecting:
            self.waiting.insert(0 if ask.fresh else len(self.waiting), ask)

    def note_turn(self, ask):
        """It leaves the line, at the front of its host's."""
        if ask in self.waiting:
            before = self.waiting[: self.waiting.index(ask)]
            jumped = [o for o in before if o.key == ask.key and not o.awaits.done()]
            assert [] == jumped, "jumped the line"
            self.waiting.remove(ask)

    def note_leased(self, ask, connection):
        assert ask.key == connection.host.key
        assert connection not in self.leased.values()
        self.leased[ask] = connection
        assert ask.connecting is not None or not ask.fresh

    def newest(self, key):
        good = [c for c in self.idle if c.host.key == key and c.is_usable_now]
        return good[-1] if good else None

    def given(self):
        """Those in line who have been given something, and have not had their turn since."""
        return [ask for ask in self.waiting if ask.awaits.done()]

    def give_back(self, ask, reusable):
        """As a connection does it at the end of an exchange."""
        connection = self.leased.pop(ask)
        if not reusable:
            connection.close()
        self.idle.append(connection)  # unless it goes on, or goes; see settle()
        self.pool.give_back(connection, reusable)
        return connection

    def settle(self):
        self.loop.run_until_complete(turns())
        self.idle = [c for c in self.idle if not c.is_closed and c not in self.leased.values()]


def pick(things, place):
    return list(things)[place % len(things)]


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
