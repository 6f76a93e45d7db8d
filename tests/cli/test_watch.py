"""What is said while `fastreq fetch` works: how much is left, who is slow, who is waited for."""

import asyncio
import json

import pytest

from fastreq.cli import watch
from fastreq.cli.watch import Watch


class Clock:
    """A time that goes on when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watch, "monotonic", clock)
    return clock


@pytest.fixture
def state(capsys):
    def state(watched):
        watched.show()
        return json.loads(capsys.readouterr().err)

    return state


def test_what_is_read_is_not_done(clock, state):
    """All of 400 lines were read, 100 are done, in 10 s: 30 s are left."""
    watched = Watch("json", lambda: 1.0)
    for _ in range(400):
        watched.read()
    clock.now += 10
    watched.count(100, 90, 5000)
    shown = state(watched)
    assert (100, 90, 10, 10.0) == tuple(shown[name] for name in ("done", "ok", "failed", "rate"))
    assert 30.0 == shown["eta"]


def test_what_is_passed_over_took_no_time(clock, state):
    """Half of the lines had their row: of 500 to go, 100 were done in 10 s."""
    watched = Watch("json", lambda: 0.6)
    for _ in range(500):
        watched.read(is_done=True)
    clock.now += 5
    for _ in range(100):
        watched.read()
    clock.now += 10
    watched.count(100, 100, 0)
    assert 40.0 == state(watched)["eta"]


def test_nothing_is_known_of_a_pipe(clock, state):
    watched = Watch("json", lambda: None)
    watched.read()
    assert state(watched)["eta"] is None


def test_who_is_waited_for(clock, state):
    """Told where the pause is long enough to wonder."""
    pause = ("http://h", 1.0)
    watched = Watch("json", lambda: None, lambda: pause)
    assert state(watched)["waits_for"] is None
    pause = ("http://h", 300.0)
    shown = state(watched)
    assert ("http://h", 300.0) == (shown["waits_for"], shown["waits_seconds"])


def test_plain(clock, capsys):
    watched = Watch("plain", lambda: 1.0, lambda: ("http://h", 300.0))
    for _ in range(20):
        watched.read()
    clock.now += 10
    watched.count(10, 9, 10 * 2**20)
    watched.time("h", 0.2)
    watched.show()
    assert (
        "fetch: 10 done, 9 ok, 1 failed, 1/s, 1 MiB/s, 10 s left, waits 300 s for http://h, "
        "slowest h 200 ms\n"
    ) == capsys.readouterr().err


@pytest.mark.parametrize("done", [0, 3])
def test_broken_off(clock, capsys, done):
    """What is said next has a line of its own."""
    watched = Watch("bar", lambda: None)
    watched.show()
    watched.count(done, done, 0)
    watched.show_broken_off()
    last = capsys.readouterr().err.rpartition("\r\x1b[K")[2]
    assert ("fetch: 3 done, 3 ok, 0 failed, 0/s, 0 bytes/s\n" if done else "") == last


def test_nothing_left(clock, capsys):
    watched = Watch("plain", lambda: 1.0)
    for _ in range(2000):
        watched.read(is_done=True)
    watched.show(end=True)
    assert "fetch: nothing left to do, 2,000 rows are there\n" == capsys.readouterr().err


async def test_what_fails_every_second_ends_the_block(clock, monkeypatch):
    """At once, and not when all is done."""
    monkeypatch.setitem(watch._SECONDS, "none", 0.01)

    def full():
        raise OSError("No space left on device")

    watched = Watch("none", lambda: None)
    with pytest.raises(OSError, match="No space"):
        async with watched.shown(full):
            await asyncio.sleep(0)  # it has begun
            clock.now += 1
            await asyncio.Event().wait()


async def test_what_fails_in_the_block_comes_out():
    with pytest.raises(LookupError):
        async with Watch("none", lambda: None).shown(list):
            raise LookupError
