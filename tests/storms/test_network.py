"""C19, the network: packets are lost, doubled, swapped and forged, or none comes through.

In a process and a network of its own: see wire.py. TRUST section 4.
"""

import json
import sys

import pytest

from storms.child import child, said
from storms.storm import note

APART = ("unshare", "--map-root-user", "--net")

LOOPS = ["asyncio.SelectorEventLoop"]
if sys.platform != "win32":
    LOOPS.append("__import__('uvloop').new_event_loop")

STORM = """
import json
from collections import Counter

from storms.storm import (
    PROBES, body_of, check_health, check_pool, outcome, run, seeded, show, sized)
from storms.wire import HERE, THERE, Wire

CONCURRENCY = 50
seen = Counter(wrong=0, posts_twice=0, late=0)
posts = Counter()
wrong = []

async def serve(conn):
    while True:
        head = await conn.read_head()
        await conn.read_body(head)
        method, path, _ = head.decode().split(" ", 2)
        number, size = map(int, path[1:].split("/"))
        if method == "POST":
            posts[number] += 1
        await conn.send(reply(body_of(number, size)))

class Storm:
    def __init__(self, client, port, rng):
        self.client = client
        self.port = port
        self.rng = rng
        self.numbers = iter(range(10**9))

    def url(self, number, size=100):
        return f"http://{THERE}:{self.port}/{number}/{size}"

    async def send(self, timeout):
        number, size = next(self.numbers), self.rng.choice([12, 3000, 50_000])
        posting = self.rng.random() < 0.3
        began = asyncio.get_running_loop().time()
        result = await outcome(self.client.request(
            "POST" if posting else "GET", self.url(number, size),
            content=bytes(5000) if posting else None, timeout=timeout))
        took = asyncio.get_running_loop().time() - began
        seen["late"] += took > timeout.total + 5  # hours would be a hang; this is a busy machine
        if isinstance(result, FastreqError):
            seen["errors"] += 1
        elif result.body == body_of(number, size):
            seen["bodies"] += 1
        else:
            wrong.append(show(result))

    async def rain(self, count, timeout):
        todo = iter(range(count))

        async def work():
            for _ in todo:
                await self.send(timeout)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        check_pool(self.client)

async def main(wire, rng):
    async with scripted(serve, host=HERE) as server:
        limits = Limits(max_per_host=CONCURRENCY)
        async with Client(limits=limits, trust_env=False) as client:
            storm = Storm(client, server.port, rng)
            patient, hasty = Timeout(connect=5, read=5, total=10), Timeout(connect=0.2, total=0.3)
            for _ in range(sized(1, 200)):
                wire.loss, wire.doubled, wire.swapped = 0.05, 0.02, 0.05
                await storm.rain(60, patient)
                wire.reset = 0.02
                await storm.rain(60, patient)
                assert seen["errors"] and seen["bodies"], seen
                wire.reset, wire.loss = 0, 1
                bodies = seen["bodies"]
                await storm.rain(CONCURRENCY, hasty)
                assert bodies == seen["bodies"], "through a wire that is cut"
                wire.loss = wire.doubled = wire.swapped = 0
                await check_health(client, storm.url)
            # What the server got late is no request that it gets twice.
            seen["posts_twice"] = sum(times > 1 for times in posts.values())

rng = seeded("network")
with Wire(seeded("wire")) as wire:
    run(make_loop, main(wire, rng))
seen["wrong"] = len(wrong)
seen["packets_lost"], seen["packets_forged"] = wire.lost, wire.forged
print(*wrong[:20], sep="\\n", file=sys.stderr)
print(json.dumps(seen))
"""

TRIAL = """
import random
from storms.wire import Wire

with Wire(random.Random()):
    print("ok")
"""


@pytest.fixture(scope="module")
def apart():
    """The command that gives a process a network of its own, or a skip that says why not."""
    try:
        trial = child(TRIAL, under=APART)
    except FileNotFoundError:
        pytest.skip("C19 needs `unshare` (util-linux) to make a network of its own")
    if trial.returncode:
        reason = (trial.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"C19 needs a network of its own and /dev/net/tun: {reason}")
    return APART


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_network_storm(apart, loop):
    """C19: bodies and typed errors, none late, no POST twice; and all is well once it heals."""
    done = child(f"make_loop = {loop}\n" + STORM, seconds=7200, under=apart)

    seen = json.loads(said(done)[-1])
    note("C19 network", **seen)
    assert 0 == seen["wrong"], done.stderr
    assert 0 == seen["posts_twice"]
    assert 0 == seen["late"]
    assert 0 < seen["packets_lost"]
    assert 0 < seen["packets_forged"]
