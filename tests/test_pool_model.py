"""The pool against a model of it, in every order of events (TRUST C15, and 1c: "slot leak")."""

import asyncio
import os

from fakes import Fake, Watch, turns
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fastreq.errors import ClientClosed, ConnectError, FastreqError
from fastreq.options import Limits
from fastreq.pool import Pool

STEPS = int(os.environ.get("FASTREQ_POOL_STEPS", "10000"))  # in all
KEYS = st.sampled_from(["https://a", "https://b", "https://c"])


class Ask:
    """A request, up to its lease."""

    def __init__(self, key, fresh):
        self.key = key
        self.fresh = fresh
        self.task = None
        self.given = None  # the future of what it waits for, once it is in line
        self.connecting = None  # the future of its connection, once it opens one
        self.error = None

    def __repr__(self):
        return f"<Ask {self.key}{' fresh' * self.fresh}>"


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
        self.pool = Pool(self, self.limits, self.watch)
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

    @rule(keys=st.lists(KEYS, min_size=1, max_size=5))
    def ask_and_connect(self, keys):
        """What happens most of the time."""
        for key in keys:
            self.ask(key=key, fresh=False, timeout=None)
            while self.opening:
                self.connect(self.opening[-1])

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
    @rule(end=st.sampled_from(["success", "failure", "cancelled"]), place=PLACES)
    def connecting_ends(self, end, place):
        ask = pick(self.opening, place)
        if end == "success":
            self.connect(ask)
        elif end == "failure":
            ask.connecting.set_exception(ConnectError("refused"))
            self.settle()
            assert isinstance(ask.error, ConnectError)
        else:
            self.cancel(ask)

    def connect(self, ask):
        connection = Fake(len(self.connections))
        self.connections.append(connection)
        ask.connecting.set_result(connection)
        self.settle()
        assert connection is self.leased[ask]

    @precondition(lambda self: self.waiting)
    @rule(place=PLACES)
    def cancel_waiting(self, place):
        self.cancel(pick(self.waiting, place))

    def cancel(self, ask):
        ask.task.cancel()
        self.settle()
        assert isinstance(ask.error, asyncio.CancelledError)

    @precondition(lambda self: self.waiting)
    @rule(really=ONE_IN_FOUR)
    def be_late(self, really):
        """All who are in line and have a limit have waited for too long."""
        if really:
            self.watch.pass_all()
            self.settle()

    @precondition(lambda self: self.leased)
    @rule(places=st.lists(PLACES, min_size=1, max_size=4), broken=ONE_IN_FOUR)
    def finish(self, places, broken):
        for place in places[: len(self.leased)]:
            self.give_back(pick(self.leased, place), not broken)
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
        assert all(isinstance(other.error, asyncio.CancelledError) for other in given)
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

    @precondition(lambda self: self.waiting and self.leased)
    @rule(really=ONE_IN_FOUR)
    def close(self, really):
        if really:
            waiting = tuple(self.waiting)
            self.pool.close()
            self.settle()
            assert all(isinstance(ask.error, ClientClosed) for ask in waiting)
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
        self.asking = ask

        async def connect():
            self.note_turn(ask)
            self.opening.append(ask)
            ask.connecting = self.loop.create_future()
            try:
                return await ask.connecting
            finally:
                self.opening.remove(ask)

        try:
            connection = await self.pool.lease(ask.key, connect, timeout=timeout, fresh=ask.fresh)
        except (FastreqError, asyncio.CancelledError) as exc:
            ask.error = exc
            if ask in self.waiting:
                self.waiting.remove(ask)
        else:
            self.note_turn(ask)
            self.note_leased(ask, connection)

    def create_future(self):
        """All that the pool wants of a loop: somebody stands in line now."""
        self.asking.given = self.loop.create_future()
        self.waiting.insert(0 if self.asking.fresh else len(self.waiting), self.asking)
        return self.asking.given

    def note_turn(self, ask):
        """It leaves the line, at the front of its host's."""
        if ask in self.waiting:
            before = self.waiting[: self.waiting.index(ask)]
            assert all(other.given.done() for other in before if other.key == ask.key)
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
        """Those in line who have been given something, and have not run since."""
        return [ask for ask in self.waiting if ask.given.done()]

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


def test_pool():
    """C15: whatever happens, and in whatever order, the pool does as the model does."""
    steps = 50
    run_state_machine_as_test(
        PoolMachine,
        settings=settings(max_examples=max(1, STEPS // steps), stateful_step_count=steps),
    )
