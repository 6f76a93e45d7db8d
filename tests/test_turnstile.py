"""turnstile.py: so many begin in a turn of the loop, the rest in the next ones, in order."""

import asyncio
from collections import Counter
from time import monotonic

import pytest
from servers.scripted import Connection, reply, scripted

import fastreq
from fastreq.connect import Connector
from fastreq.turnstile import PLACES, Turnstile


class Turns:
    """Counts the turns of the loop, from the first one on."""

    def __init__(self) -> None:
        self.number = 0
        self._loop = asyncio.get_running_loop()
        self._next()

    def _next(self) -> None:
        self.number += 1
        self._handle = self._loop.call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


async def answer(conn: Connection) -> None:
    await conn.read_request()
    await conn.send(reply(b"hello"))
    await conn.wait_closed()


async def pass_through(count: int, cancelled: range = range(0)) -> tuple[list[int], Counter[int]]:
    """Who went through, in which order, and how many in each turn; some were cancelled before."""
    turnstile, turns = Turnstile(asyncio.get_running_loop()), Turns()
    passed: list[int] = []
    per_turn: Counter[int] = Counter()

    async def walker(number: int) -> None:
        await turnstile.turn()
        passed.append(number)
        per_turn[turns.number] += 1

    walkers = [asyncio.ensure_future(walker(number)) for number in range(count)]
    await asyncio.sleep(0)
    for number in cancelled:
        walkers[number].cancel()
    await asyncio.gather(*walkers, return_exceptions=True)
    turns.stop()
    return passed, per_turn


async def test_a_few_do_not_wait():
    turnstile = Turnstile(asyncio.get_running_loop())

    for _ in range(PLACES):
        with pytest.raises(StopIteration):
            turnstile.turn().send(None)


async def test_many_go_through_in_order_and_few_at_a_time():
    passed, per_turn = await pass_through(5 * PLACES + 1)

    assert list(range(5 * PLACES + 1)) == passed
    assert max(per_turn.values()) <= PLACES
    assert len(per_turn) >= 6


async def test_the_cancelled_leave_the_line():
    gone = range(2 * PLACES, 3 * PLACES)

    passed, per_turn = await pass_through(4 * PLACES, gone)

    assert [number for number in range(4 * PLACES) if number not in gone] == passed
    assert 3 == len(per_turn), "no turn is spent on those who left"


async def test_there_is_room_again_after_a_while():
    turnstile, turns = Turnstile(asyncio.get_running_loop()), Turns()
    for _ in range(2):
        began = turns.number
        for _ in range(PLACES):
            await turnstile.turn()
        assert began == turns.number, "nobody waited"
        while turns.number < began + 3:
            await asyncio.sleep(0)
    turns.stop()
    assert f"<Turnstile free={PLACES} waiting=0>" == repr(turnstile)


async def test_connections_are_begun_a_few_at_a_time(monkeypatch):
    """All of many requests at once are answered, each on a connection of its own."""
    turns, begun, all_here = Turns(), Counter(), asyncio.Event()
    count = 3 * PLACES
    connect = Connector.connect

    def counted(*arguments):
        begun[turns.number] += 1
        return connect(*arguments)

    async def patient(conn: Connection) -> None:
        await conn.read_request()
        if len(server.requests) == count:
            all_here.set()
        await all_here.wait()
        await conn.send(reply(b"hello"))

    monkeypatch.setattr(Connector, "connect", counted)
    limits = fastreq.Limits(max_connections=None, max_per_host=None)
    async with scripted(patient) as server, fastreq.Client(limits=limits) as client:
        responses = await asyncio.gather(*[client.get(server.url()) for _ in range(count)])
        turns.stop()
        assert count == server.connections

    assert {b"hello"} == {response.body for response in responses}
    assert count == sum(begun.values())
    assert max(begun.values()) <= PLACES


# ---- who stands there


class Shut:
    """A turnstile that lets nobody through until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def turn(self) -> None:
        self.reached.set()
        await self.opened.wait()


async def test_the_wait_is_a_queue():
    """It is no part of connecting."""
    shut = Shut()
    async with scripted(answer) as server, fastreq.Client() as client:
        client._running_engine()._turnstile = shut
        task = asyncio.ensure_future(client.get(server.url()))
        await shut.reached.wait()
        began = monotonic()
        await asyncio.sleep(0.01)
        waited = monotonic() - began
        shut.opened.set()
        took = (await task).timings

    assert took.queue >= waited
    assert took.total >= took.queue + took.connect


async def test_who_is_cancelled_there_leaves_the_slot():
    shut = Shut()
    limits = fastreq.Limits(max_per_host=1)
    async with scripted(answer) as server, fastreq.Client(limits=limits) as client:
        client._running_engine()._turnstile = shut
        task = asyncio.ensure_future(client.get(server.url()))
        await shut.reached.wait()
        task.cancel()
        await asyncio.wait([task])
        assert {} == client.stats()
        shut.opened.set()
        assert 200 == (await client.get(server.url())).status


async def test_closed_while_one_stands_there():
    shut = Shut()
    async with scripted(answer) as server:
        client = fastreq.Client()
        client._running_engine()._turnstile = shut
        task = asyncio.ensure_future(client.get(server.url()))
        await shut.reached.wait()
        await client.aclose()
        shut.opened.set()
        with pytest.raises(fastreq.ClientClosed, match="while a connection was being opened"):
            await task
        assert 0 == server.connections
