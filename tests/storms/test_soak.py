"""C20, the soak: hours of mixed traffic leave a client as it was after its first minutes.

Five minutes in full; FASTREQ_STORM_FACTOR=96 makes it eight hours. Between two rounds all is let
go of and counted: descriptors, tasks, timers, threads, objects, memory. TRUST section 4.
"""

import asyncio
import gc
import json
import os
import resource
import sys
import threading
import time
from typing import NamedTuple

import pytest
from servers.scripted import scripted

from fastreq import Client, Limits, Timeout, url
from storms.child import child, said
from storms.storm import note, note_largest, run, seeded, sized
from storms.test_faults import Storm

LOOPS = ["asyncio.SelectorEventLoop"]
if sys.platform != "win32":
    LOOPS.append("__import__('uvloop').new_event_loop")

CONCURRENCY = 50
WARM_UP = 3  # rounds
REQUESTS = 100  # of a round
OBJECTS = 300  # more or fewer: those of interpreter and loop come and go
MEMORY = 8 * 2**20


class Count(NamedTuple):
    """What a process has, with no request under way."""

    descriptors: int
    tasks: int
    timers: int
    threads: int
    objects: int
    memory: int  # resident bytes


def count() -> Count:
    url._parse_short.cache_clear()  # its size is bounded, and here it would only grow
    for _ in range(3):
        gc.collect()
    timers = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return Count(
        len(os.listdir("/proc/self/fd")),
        len(asyncio.all_tasks()),
        sum(not timer.cancelled() for timer in timers),
        threading.active_count(),
        len(gc.get_objects()),
        int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize(),
    )


class Soak(Storm):
    """The fault storm without its silences, which only take time."""

    def __init__(self) -> None:
        super().__init__(seeded("soak"), tls=False)
        self.cases = [case for case in self.cases if not case.name.startswith("silence")]


async def soak(seconds: float) -> tuple[Soak, int, list[Count]]:
    """Round after round; how many requests there were, and the counts."""
    storm, counts = Soak(), []
    limits = Limits(max_per_host=CONCURRENCY, keepalive_expiry=0.01)  # so that nothing stays open
    async with scripted(storm.serve) as server:
        async with Client(limits=limits, timeout=Timeout(read=5), trust_env=False) as client:
            number = 0
            end = time.monotonic() + seconds
            while len(counts) < WARM_UP + 2 or time.monotonic() < end:
                todo = iter(range(number, number := number + REQUESTS))

                async def work(todo=todo) -> None:
                    for each in todo:
                        await storm.send(client, server.url(""), each)

                await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
                storm.posts.clear()
                while client.stats().total.open or server._tasks:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.03)  # the last sweep of the deadlines
                counts.append(count())
                if len(counts) > WARM_UP + 2:
                    del counts[-2]  # hours of them would be a leak of our own
    return storm, number, counts


def main(make_loop) -> None:
    """What the child does."""
    storm, requests, counts = run(make_loop, soak(sized(1, 300)))
    first, last = counts[WARM_UP - 1], counts[-1]
    pairs = zip(Count._fields, first, last, strict=True)
    grown = {name: after - before for name, before, after in pairs}
    print(json.dumps({"requests": requests, "wrong": storm.wrong[:20], "grown": grown}))


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_soak(loop):
    """C20: as many of everything as after the warm-up, and every body right."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("C20 counts by /proc")
    code = f"from storms.test_soak import main\nmain({loop})"

    result = json.loads(said(child(code, seconds=60 + sized(60, 600)))[-1])

    grown = result["grown"]
    note("C20 soak", requests=result["requests"], wrong=len(result["wrong"]))
    note_largest("C20 soak", **{f"more_{name}": value for name, value in grown.items()})
    assert [] == result["wrong"]
    assert OBJECTS > abs(grown.pop("objects")), grown
    assert MEMORY > grown.pop("memory"), grown
    assert {0} == set(grown.values()), grown
