"""C22, the clock: the time of day may jump by hours, and no deadline minds.

Only what is a date by its nature follows it: how long a cookie lives, and a Retry-After that is a
date. TRUST section 4.
"""

import asyncio
import random
import time
from collections import Counter
from email.utils import formatdate

import pytest
from servers.scripted import Connection, reply, scripted, serving

from fastreq import Client, Hooks, Limits, Policy, Retry, Timeout, TotalTimeout
from storms.storm import note, run, seeded, sized
from storms.test_faults import Storm, fault_storm

HOUR = 3600.0
JUMPS = pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
HELLO = reply(b"hello")


class Clock:
    """The time of day, as it is set."""

    def __init__(self) -> None:
        self.off = 0.0
        self._right = time.time

    def __call__(self) -> float:
        return self._right() + self.off


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


class MadClock(Clock):
    """One that is set anew each time it is looked at."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self.looked_at = 0

    def __call__(self) -> float:
        self.looked_at += 1
        self.off = self._rng.uniform(-HOUR, HOUR)
        return super().__call__()


def test_fault_storm(loop_factory, certs, monkeypatch):
    """C22: by a mad clock all comes out as by a good one."""
    count = sized(200, 50_000)
    there = Storm(seeded("clock"), tls=False)
    clock = MadClock(seeded("mad"))
    monkeypatch.setattr(time, "time", clock)
    time.time()

    run(loop_factory, fault_storm(there, certs, False, count))

    seen = Counter(bodies=there.seen["bodies"], errors=there.seen["errors"])
    note("C22 clock", requests=count, wrong=len(there.wrong), jumps=clock.looked_at, **seen)
    assert [] == there.wrong[:20]


@JUMPS
async def test_deadlines(clock, jump):
    """A jump ends no request early, and lets none wait for ever."""
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def wait(conn: Connection) -> None:
        await conn.read_request()
        asked.set()
        await go_on.wait()
        await conn.send(HELLO)

    async with scripted(wait) as server, Client(timeout=Timeout(read=20, total=20)) as client:
        request = asyncio.create_task(client.get(server.url()))
        await asked.wait()
        clock.off = jump
        await asyncio.sleep(0.05)  # two sweeps
        assert not request.done()
        go_on.set()
        response = await request
        assert b"hello" == response.body
        assert all(0 <= seconds < 20 for seconds in (*response.timings, response.elapsed))

        go_on.clear()
        asked.clear()
        late = asyncio.create_task(client.get(server.url(), timeout=Timeout(read=0.1, total=0.05)))
        await asked.wait()
        clock.off = -jump
        with pytest.raises(TotalTimeout) as caught:
            await late
        assert 0 <= caught.value.elapsed < 20


@JUMPS
async def test_idle_connections(clock, jump):
    """One that is idle is used again, for as long as it may be, and no longer."""
    async with serving(HELLO) as server:
        async with Client(limits=Limits(keepalive_expiry=20, max_age=20)) as client:
            for _ in range(3):
                await client.get(server.url())
                clock.off += jump
            assert 1 == server.connections
        async with Client(limits=Limits(keepalive_expiry=0.02)) as client:
            await client.get(server.url())
            clock.off = jump
            while client.stats().total.open:
                await asyncio.sleep(0.005)


@JUMPS
async def test_retry_after_a_number(clock, jump):
    """So many seconds are so many, whatever happens meanwhile."""
    busy = reply(b"", "Retry-After: 0", status="503 Busy")
    delays = []

    def jump_now(event):
        delays.append(event.delay)
        clock.off += jump

    hooks = Hooks(retry=jump_now)
    async with serving(busy, busy, HELLO) as server:
        async with Client(retry=Retry(3, backoff=0.01, budget=None), hooks=hooks) as client:
            assert b"hello" == (await client.get(server.url())).body
    assert 2 == len(delays)
    assert max(delays) < 1


async def test_retry_after_a_date(clock):
    """A date is read by our own clock: it has passed, or is too far away to be waited for."""
    date = formatdate(clock(), usegmt=True)  # that of a server whose clock is right
    busy = reply(b"", f"Retry-After: {date}", status="503 Busy")
    async with serving(busy, HELLO) as server:
        async with Client(retry=Retry(1, backoff=0.01, budget=None)) as client:
            clock.off = HOUR
            assert 200 == (await client.get(server.url())).status
            clock.off = -HOUR
            assert 503 == (await client.get(server.url(), headers={"Connection": "close"})).status


@JUMPS
async def test_a_pause_of_a_host(clock, jump):
    """A host that wants to be left alone is, for as long as it said."""
    busy = reply(b"", "Retry-After: 1", status="429 Slow Down")
    async with serving(busy, HELLO) as server:
        async with Client(policy=Policy(obey_server=True)) as client:
            await client.get(server.url())
            waiting = asyncio.create_task(client.get(server.url()))
            clock.off = jump
            await asyncio.sleep(0.05)
            assert not waiting.done()
            if jump < 0:
                assert b"hello" == (await waiting).body
            else:
                waiting.cancel()
                await asyncio.wait([waiting])


async def test_cookies(clock):
    """A cookie lives by the time of day: forward it is gone, back it is there all the longer."""
    date = formatdate(clock() + 60, usegmt=True)
    setting = reply(b"", "Set-Cookie: a=1; Max-Age=60", f"Set-Cookie: b=2; Expires={date}")
    async with serving(setting, HELLO, HELLO, HELLO) as server, Client() as client:
        client.cookies._store.clock = clock
        await client.get(server.url())
        for clock.off in (-HOUR, HOUR, 0):
            await client.get(server.url())

        sent = [b"Cookie: a=1; b=2" in request for request in server.requests]
        assert [False, True, False, False] == sent  # what has expired is forgotten for good
