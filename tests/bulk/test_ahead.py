"""What may block is read in a thread, some items ahead."""

import asyncio
import threading
from contextlib import aclosing

import pytest

from fastreq.bulk.ahead import Ahead


async def all_of(items):
    async with aclosing(items):
        return [item async for item in items]


@pytest.mark.parametrize("most", [1, 3, 1000])
async def test_every_item_once(most):
    assert list(range(500)) == await all_of(Ahead(iter(range(500)), most))
    assert [] == await all_of(Ahead(iter(()), most))


async def test_others_have_their_turn_while_it_blocks():
    come = threading.Event()

    def blocking():
        yield 0
        come.wait(20)
        yield 1

    items = Ahead(blocking())
    assert 0 == await anext(items)
    taker = asyncio.ensure_future(anext(items))
    await asyncio.sleep(0)
    assert not taker.done()
    come.set()
    assert 1 == await taker
    assert [] == await all_of(items)


async def test_no_more_is_read_than_is_allowed():
    read = []

    def counted():
        for number in range(100):
            read.append(number)
            yield number

    items = Ahead(counted(), 5)
    await anext(items)
    await anext(items)
    while len(read) < 8:  # two were taken, five are there, and one is held
        await asyncio.sleep(0.001)
    await items.aclose()
    assert 8 == len(read)


async def test_what_it_raises():
    """After all that came before."""

    def broken():
        yield 0
        raise LookupError

    items = Ahead(broken())
    assert 0 == await anext(items)
    with pytest.raises(LookupError):
        await anext(items)
    await items.aclose()


def test_a_loop_that_is_gone(loop_factory):
    """The thread ends, and complains to nobody."""
    come, ended = threading.Event(), threading.Event()

    def blocking():
        try:
            yield 0
            come.wait(20)
            yield 1
        finally:
            ended.set()

    async def main():
        items = Ahead(blocking())
        await anext(items)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.001)
        await items.aclose()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    come.set()
    assert ended.wait(20)
