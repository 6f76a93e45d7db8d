"""Leases over plain fake connections: who is given what, and who is next.

TRUST 1c: "slot leak under contention", "pool grows without bound". See also test_pool_model.py.
"""

import asyncio
from time import monotonic

import pytest
from fakes import Fake, Watch, turns

from fastreq import pool
from fastreq.errors import ClientClosed, ConnectError, PoolTimeout
from fastreq.options import Limits
from fastreq.pool import OriginStats, Pool

A, B, C = "https://a", "https://b", "https://c"


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

    async def close_lingering(self):
        """A connection that was leased and closed; the server does not see its end until `go()`."""
        connection = await self.lease()
        connection.lingers = True
        self.pool.give_back(connection, False)
        return connection

    def stats(self, key=A):
        return self.pool.stats().get(key)


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


async def test_what_is_closed_counts_until_it_is_gone():
    """The server never sees more than so many, not even for a moment."""
    stand = Stand(max_per_host=1)
    first = await stand.close_lingering()
    asked = stand.ask()
    await turns()
    assert [first] == stand.opened
    assert not asked.done()

    first.go()
    assert await asked is stand.opened[1]


async def test_what_makes_room_for_another_host_counts_for_its_own():
    stand = Stand(max_connections=1, max_per_host=1)
    first = await stand.lease(A)
    first.lingers = True
    stand.rest(first)
    second = await stand.lease(B)
    assert first.is_closed
    stand.rest(second)
    asked = stand.ask(A)
    await turns()
    assert not asked.done()
    asked.cancel()
    await turns()

    again = stand.ask(A)
    await turns()
    first.go()
    assert await again is stand.opened[2]


async def test_who_does_not_let_go_is_not_waited_for_ever(monkeypatch):
    monkeypatch.setattr(pool, "LEAVING_SECONDS", 0.001)
    stand = Stand(max_per_host=1)
    await stand.close_lingering()
    assert await stand.lease() is stand.opened[1]


async def test_where_there_is_room_nobody_waits_for_what_is_closed():
    """Two may be open, and one is, beside the one that lingers."""
    stand = Stand(max_per_host=2)
    first = await stand.close_lingering()
    asked = stand.ask()
    await turns()

    assert asked.done()
    first.go()


async def test_who_lets_go_at_last():
    """It has been given up by then, and that is no error."""
    stand = Stand(max_per_host=1)
    first = await stand.close_lingering()
    (host,) = stand.pool._hosts.values()
    host.leaving[first] = 0.0  # it has counted for long enough
    second = await stand.lease()
    first.go()

    stand.rest(second)
    assert second is await stand.lease()


async def test_all_that_linger_cost_one_wait():
    """Each counts for so long after it was closed, and not after the one before it."""
    stand = Stand(max_per_host=10)
    leased = [await stand.lease() for _ in range(10)]
    for connection in leased:
        connection.lingers = True
        stand.pool.give_back(connection, False)
    (host,) = stand.pool._hosts.values()
    asked = [stand.ask() for _ in range(9)]
    await turns()
    assert not any(ask.done() for ask in asked)
    for ask in asked:
        ask.cancel()
    await turns()

    for connection in leased:
        host.leaving[connection] = 0.0  # it has counted for long enough
    asked = [stand.ask() for _ in range(10)]
    await turns(50)
    assert all(ask.done() for ask in asked)


async def test_a_key_may_have_a_limit_of_its_own():
    """As by a policy for one host; it only ever lowers the limit of all."""
    stand = Stand(max_per_host=2)
    limits = {A: 1, B: 99}
    stand.pool = Pool(asyncio.get_running_loop(), stand.pool.limits, stand.watch, limits.get)
    asks = [stand.ask(key) for key in (A, A, B, B, B, C, C, C)]
    await turns()

    assert [1, 2, 2] == [stand.stats(key).open for key in (A, B, C)]
    assert [1, 1, 1] == [stand.stats(key).waiting for key in (A, B, C)]
    for ask in asks:
        ask.cancel()
    await turns()


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


async def test_a_host_is_given_a_second_slot_of_another():
    """The slots of each stay counted."""
    stand = Stand(max_connections=2)
    await stand.lease(A)
    elsewhere = await stand.lease(B)
    asked = stand.ask(A)
    await turns()
    stand.rest(elsewhere)
    await asked

    assert (2, 2) == (stand.stats().open, stand.stats().leased)
    assert None is stand.stats(B)


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


async def test_cancelled_just_before_being_given_a_connection():
    """Nobody is in line any more, though the line does not know yet: it rests."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = stand.ask()
    await turns()
    waiting.cancel()
    stand.rest(connection)
    await turns()

    assert waiting.cancelled()
    assert OriginStats(open=1, leased=0, idle=1, waiting=0, opened=1, reused=0) == stand.stats()
    assert connection is stand.pool.take(A)


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


async def test_not_yet_too_long_in_line():
    """Whoever has a second to wait waits for it."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    waiting = stand.ask(timeout=60)
    await turns()
    (waiter,) = stand.watch.items

    assert monotonic() + 59 < waiter.due == waiter.check(monotonic(), 0.0)
    assert not waiting.done()
    stand.rest(connection)
    assert connection is await waiting


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


async def test_what_is_used_again_is_counted():
    """Each time, whether it was idle or came by way of the line."""
    stand = Stand(max_per_host=1)
    connection = await stand.lease()
    for _ in range(2):
        stand.rest(connection)
        await stand.lease()
    for _ in range(2):
        waiting = stand.ask()
        await turns()
        stand.rest(connection)
        await waiting

    assert (1, 4) == (stand.stats().opened, stand.stats().reused)


async def test_stats_add_up():
    stand = Stand()
    stand.rest(await stand.lease(A), await stand.lease(A))
    await stand.lease(A)
    await stand.lease(B)

    assert OriginStats(2, 1, 1, 0, 2, 1) == stand.stats(A)
    assert OriginStats(3, 2, 1, 0, 3, 1) == stand.pool.stats().total
    assert "<Pool leased=2 idle=1>" == repr(stand.pool)
