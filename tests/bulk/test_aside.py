"""What `fastreq fetch` asks for next: hosts that are busy, slow or paused hold up no other."""

import asyncio

import pytest
from fakes import turns

from fastreq import Policy, Request, Response
from fastreq.bulk.aside import Aside
from fastreq.headers import Headers
from fastreq.url import URL


class Source:
    """Items such as "a1", of host "a"; counts those that were asked for."""

    def __init__(self, *items, error=None):
        self.items = list(items)
        self.error = error
        self.read = 0
        self.is_closed = False

    async def __aiter__(self):
        try:
            for item in self.items:
                self.read += 1
                yield item
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


def aside(source, most_of_host=2, policy=None, most=100):
    def host_of(item):
        return item[0].strip("-")

    return Aside(aiter(source), host_of, most_of_host, policy or Policy(), most)


def numbered(host, count):
    return [f"{host}{number}" for number in range(count)]


async def taken(items, count):
    return [await anext(items) for _ in range(count)]


async def stuck(items):
    """A taker who waits."""
    taker = asyncio.ensure_future(anext(items))
    await turns(20)
    assert not taker.done()
    return taker


async def test_a_busy_host_holds_up_no_other():
    """Of each host in its order, so many at once as it may have."""
    items = aside(Source(*numbered("a", 5), *numbered("b", 3)))
    assert ["a0", "b0", "a1", "b1"] == await taken(items, 4)
    taker = await stuck(items)

    items.ended("b0")
    assert "b2" == await taker
    taker = await stuck(items)
    items.ended("b1")
    items.ended("a1")
    assert "a2" == await taker
    items.ended("a0")
    items.ended("a2")
    assert ["a3", "a4"] == await taken(items, 2)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(items)
    await items.aclose()


async def test_hosts_take_turns():
    items = aside(Source("a0", "a1", "a2", "b0", "b1", "c0"), most_of_host=9)
    assert ["a0", "b0", "c0", "a1", "b1", "a2"] == await taken(items, 6)
    await items.aclose()


async def test_what_has_no_host_waits_for_none():
    items = aside(Source(*numbered("-", 50)), most_of_host=1, policy=Policy(rate=0.001))
    assert numbered("-", 50) == await taken(items, 50)
    await items.aclose()


async def test_what_is_put_aside_is_bounded():
    source = Source(*numbered("a", 1000), "b0")
    items = aside(source, most_of_host=1, most=20)
    assert "a0" == await anext(items)
    taker = await stuck(items)
    assert 21 == source.read  # and "b0" is behind them
    items.ended("a0")
    assert "a1" == await taker
    await turns()
    assert 22 == source.read
    await items.aclose()
    assert source.is_closed


async def test_no_more_is_read_than_there_is_use_for():
    """Where enough hosts are free."""
    source = Source(*(f"{chr(100 + n)}" for n in range(1000)))
    items = aside(source)
    await anext(items)
    await turns(30)
    assert source.read < 100
    await items.aclose()


def answer(host, status=429, **fields):
    request = Request("GET", URL(f"http://{host}/"), Headers())
    return Response(status, headers=fields, request=request)


def of_origins(source, **options):
    return Aside(aiter(source), lambda item: f"http://{item[0]}", 9, Policy(**options))


async def test_a_pause_is_kept_to():
    """What comes after it is of other hosts; it is said who is waited for."""
    items = of_origins(Source("a0", "a1", "b0", "a2", "b1"))
    assert "a0" == await anext(items)
    assert items.longest_pause() is None
    items.heard(answer("a", **{"Retry-After": "100"}))
    assert ["b0", "b1"] == await taken(items, 2)
    taker = await stuck(items)
    host, seconds = items.longest_pause()
    assert "http://a" == host
    assert 90 < seconds <= 100
    taker.cancel()
    await items.aclose()


async def test_a_pause_ends():
    items = of_origins(Source("a0", "a1"))
    await anext(items)
    items.heard(answer("a", RateLimit='"x";r=0;t=0.05'))
    taker = await stuck(items)
    assert "a1" == await taker
    await items.aclose()


async def test_a_host_that_pauses_before_it_has_items():
    """As one where a redirect has led to."""
    items = of_origins(Source("a0", "b0"))
    items.heard(answer("a", **{"Retry-After": "100"}))
    assert "b0" == await anext(items)
    taker = await stuck(items)
    taker.cancel()
    await items.aclose()


async def test_the_pace_of_each_host():
    items = of_origins(Source(*numbered("a", 4), *numbered("b", 4), "c0"), rate=0.001)
    assert ["a0", "b0", "c0"] == await taken(items, 3)
    taker = await stuck(items)
    taker.cancel()
    await items.aclose()


async def test_what_the_source_raises():
    """After all that was read before."""
    items = aside(Source("a0", "a1", "a2", error=LookupError()), most_of_host=1)
    assert "a0" == await anext(items)
    taker = await stuck(items)
    items.ended("a0")
    assert "a1" == await taker
    items.ended("a1")
    assert "a2" == await anext(items)
    with pytest.raises(LookupError):
        await anext(items)
    await items.aclose()


async def test_closed_while_it_reads():
    """The source is closed, wherever it is."""
    closed = asyncio.Event()

    async def source():
        try:
            yield "a0"
            await asyncio.Event().wait()
        finally:
            closed.set()

    items = aside(source())
    assert "a0" == await anext(items)
    taker = await stuck(items)
    await items.aclose()
    assert closed.is_set()
    with pytest.raises(StopAsyncIteration):
        await taker


async def test_hosts_are_forgotten(monkeypatch):
    monkeypatch.setattr("fastreq.bulk.aside.MAX_HOSTS", 10)
    source = Source(*(chr(100 + n) for n in range(5000)))
    items = Aside(aiter(source), str, 2, Policy())
    items._most_hosts = 10
    async for item in items:
        items.ended(item)
    assert len(items._hosts) < 300
    await items.aclose()
