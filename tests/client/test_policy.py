"""How one host is treated: rate, pauses, connections, limiters (issue 3, 8).

The rules are tested in tests/policies/test_hosts.py; here they meet requests.
"""

import asyncio
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import Client, Limits, Policy, Retry, Timeout

BUSY = "503 Service Unavailable"


class Arrivals:
    """A server that notes when each request came, and how many were there at once."""

    def __init__(self, answer=reply(), seconds=0.0):  # noqa: B008 (bytes)
        self.answer, self.seconds = answer, seconds
        self.times, self.now, self.most = [], 0, 0

    async def handle(self, conn):
        while True:
            await conn.read_request()
            self.times.append(monotonic())
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(self.seconds)
            self.now -= 1
            await conn.send(self.answer)

    def in_any(self, seconds):
        """The most requests in any such stretch of time."""
        return max(sum(start <= t < start + seconds for t in self.times) for start in self.times)


async def get_many(client, url, count):
    return await asyncio.gather(*(client.get(url) for _ in range(count)))


# ---- rate


@pytest.mark.parametrize(("rate", "burst", "count"), [(50, 1, 16), (100, 10, 40)])
async def test_rate(rate, burst, count):
    """In any stretch of time no more than rate * seconds + burst, and not much less in all."""
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as server:
        async with Client(policy=Policy(rate=rate, burst=burst)) as client:
            began = monotonic()
            await get_many(client, server.url("/"), count)
            took = monotonic() - began

    expected = (count - burst) / rate
    assert expected * 0.9 < took < expected + 0.3
    # What was sent at one moment may arrive at another: by 50 ms, as timers and loops are late.
    for seconds in (0.05, 0.1, 0.2):
        assert arrivals.in_any(seconds) <= rate * (seconds + 0.05) + burst + 1


async def test_rate_is_of_each_host(dns):
    dns["a.test"] = dns["b.test"] = "127.0.0.1"
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as server:
        async with Client(policy=Policy(rate=5)) as client:
            began = monotonic()
            await asyncio.gather(
                client.get(server.url("/", host="a.test")),
                client.get(server.url("/", host="b.test")),
            )
            assert monotonic() - began < 0.15


async def test_policies_by_origin():
    """Those that are not named have none."""
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as slow, serving(reply()) as fast:
        async with Client(policy={slow.url(""): Policy(rate=20)}) as client:
            began = monotonic()
            await get_many(client, fast.url("/"), 30)
            assert monotonic() - began < 0.5
            began = monotonic()
            await get_many(client, slow.url("/"), 5)
            assert 0.18 < monotonic() - began < 0.5


async def test_retries_and_redirects_take_their_turn():
    arrivals = Arrivals(reply(status=BUSY))
    async with scripted(arrivals.handle) as server:
        retry = Retry(3, backoff=0)
        async with Client(policy=Policy(rate=20), retry=retry) as client:
            began = monotonic()
            assert 4 == (await client.get(server.url("/"))).attempts
            assert 0.14 < monotonic() - began < 0.5


async def test_the_wait_is_not_counted_in_the_total():
    """As any wait in line; the time itself goes on being counted."""
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as server:
        async with Client(policy=Policy(rate=10), timeout=0.15) as client:
            await get_many(client, server.url("/"), 4)
        arrivals.seconds = 1
        async with Client(policy=Policy(rate=10), timeout=0.15) as client:
            with pytest.raises(fastreq.TotalTimeout):
                await client.get(server.url("/"))


async def test_cancelling_costs_no_turn():
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as server:
        async with Client(policy=Policy(rate=10)) as client:
            await client.get(server.url("/"))
            waiting = [asyncio.create_task(client.get(server.url("/"))) for _ in range(20)]
            await asyncio.sleep(0.01)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            began = monotonic()
            await client.get(server.url("/"))
            assert monotonic() - began < 0.2
    assert 2 == len(arrivals.times)


async def test_first_come_first_served():
    order = []

    async def handler(conn):
        while True:
            request = await conn.read_request()
            order.append(request.split(b" ")[1])
            await conn.send(reply())

    async with scripted(handler) as server, Client(policy=Policy(rate=100)) as client:
        await asyncio.gather(*(client.get(server.url(f"/{n}")) for n in range(10)))
    assert [b"/%d" % n for n in range(10)] == order


# ---- what the host asks for


PAUSES = [
    reply(b"", "Retry-After: 1", status="429 Too Many Requests"),
    reply(b"", "Retry-After: 1", status=BUSY),
    reply(b"", 'RateLimit: "default";r=0;t=1'),
    reply(b"", "RateLimit-Remaining: 0", "RateLimit-Reset: 1"),
    reply(b"", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 1"),
]


@pytest.mark.parametrize("answer", PAUSES, ids=range(len(PAUSES)))
async def test_a_pause_is_of_the_whole_host(answer):
    """Everybody waits, whoever was told; and the answer is handed out at once."""
    answers = iter([answer])
    times = []

    async def handler(conn):
        while True:
            await conn.read_request()
            times.append(monotonic())
            await conn.send(next(answers, reply()))

    async with scripted(handler) as server, serving(reply()) as other:
        async with Client(policy=Policy()) as client:
            await client.get(server.url("/"))
            began = monotonic()
            waiting = asyncio.create_task(get_many(client, server.url("/"), 5))
            await client.get(other.url("/"))
            assert monotonic() - began < 0.2, "another host is not concerned"
            await waiting

    assert 0.9 < times[1] - times[0] < 1.4
    assert times[5] - times[1] < 0.3


async def test_a_pause_may_be_ignored():
    async with serving(PAUSES[0]) as server, Client(policy=Policy(obey_server=False)) as client:
        began = monotonic()
        for _ in range(3):
            assert 429 == (await client.get(server.url("/"))).status
        assert monotonic() - began < 0.3


async def test_without_a_policy_nothing_pauses():
    async with serving(PAUSES[0]) as server, Client() as client:
        began = monotonic()
        for _ in range(3):
            assert 429 == (await client.get(server.url("/"))).status
        assert monotonic() - began < 0.3


async def test_a_retry_and_a_pause_are_waited_for_once():
    """Both obey the same Retry-After."""
    async with serving(PAUSES[0], reply(b"ok")) as server:
        async with Client(policy=Policy(), retry=Retry(1, backoff=0)) as client:
            began = monotonic()
            assert b"ok" == (await client.get(server.url("/"))).body
            assert 0.9 < monotonic() - began < 1.4


# ---- connections


async def test_connections_of_a_host():
    arrivals = Arrivals(seconds=0.01)
    async with scripted(arrivals.handle) as server, serving(reply()) as other:
        policy = {server.url(""): Policy(max_connections=3)}
        async with Client(policy=policy, limits=Limits(max_per_host=10)) as client:
            await get_many(client, server.url("/"), 20)
            await get_many(client, other.url("/"), 20)

            assert (3, 3) == (arrivals.most, server.connections)
            assert other.connections > 3


async def test_connections_are_never_more_than_the_limits_say():
    arrivals = Arrivals(seconds=0.01)
    async with scripted(arrivals.handle) as server:
        limits = Limits(max_per_host=2)
        async with Client(policy=Policy(max_connections=50), limits=limits) as client:
            await get_many(client, server.url("/"), 10)
    assert 2 == arrivals.most


# ---- limiters


async def test_any_context_manager_is_a_limiter():
    arrivals = Arrivals(seconds=0.01)
    async with scripted(arrivals.handle) as server:
        async with Client(policy=Policy(limiter=asyncio.Semaphore(2))) as client:
            await get_many(client, server.url("/"), 12)
    assert (2, 12) == (arrivals.most, len(arrivals.times))


async def test_a_limiter_is_entered_for_each_attempt_and_left_however_it_ends():
    events = []

    class Limiter:
        async def __aenter__(self):
            events.append("in")

        async def __aexit__(self, kind, error, traceback):
            events.append("out" if kind is None else kind.__name__)

    async with serving(reply(status=BUSY)) as server:
        retry = Retry(1, backoff=0)
        async with Client(policy=Policy(limiter=Limiter()), retry=retry) as client:
            await client.get(server.url("/"))
            assert ["in", "out"] * 2 == events
            events.clear()
            with pytest.raises(fastreq.ConnectError):
                await client.get("http://127.0.0.1:1/", retry=0)
            assert ["in", "ConnectError"] == events


async def test_a_limiter_that_refuses():
    """Its error is the caller's, and nothing is sent."""

    class Full:
        async def __aenter__(self):
            raise PermissionError("not today")

        async def __aexit__(self, *exc):
            pytest.fail("it was not entered")

    async with serving(reply()) as server:
        async with Client(policy=Policy(limiter=Full())) as client:
            with pytest.raises(PermissionError, match="not today"):
                await client.get(server.url("/"))
        assert 0 == server.connections


async def test_one_limiter_may_be_shared():
    @asynccontextmanager
    async def once():
        yield

    with pytest.raises(ValueError, match="limiter="):
        Policy(limiter=once)  # the function, not what it gives

    limiter, arrivals = asyncio.Semaphore(3), Arrivals(seconds=0.01)
    async with scripted(arrivals.handle) as a, scripted(arrivals.handle) as b:
        policy = {a.url(""): Policy(limiter=limiter), b.url(""): Policy(limiter=limiter)}
        async with Client(policy=policy) as client:
            await asyncio.gather(
                get_many(client, a.url("/"), 10), get_many(client, b.url("/"), 10)
            )
    assert 3 == arrivals.most


# ---- what cannot be


@pytest.mark.parametrize(
    "policy",
    [{"example.com": Policy()}, {"https://h/path": Policy()}, {"http://H": Policy()}],
    ids=str,
)
def test_keys_are_origins(policy):
    with pytest.raises(ValueError, match="that is no origin; write '"):
        Client(policy=policy)


@pytest.mark.parametrize("policy", [5, "x", {"https://h": 5}, {5: Policy()}], ids=str)
def test_policies_of_the_wrong_type(policy):
    with pytest.raises(TypeError, match="policy="):
        Client(policy=policy)


async def test_a_client_that_moves_to_another_loop_keeps_the_pace():
    """The lock is of a loop; the pace is of the host."""
    timeout = Timeout(total=5)
    async with serving(reply()) as server:
        url, client = server.url("/"), Client(policy=Policy(rate=1000), timeout=timeout)
        try:
            await get_many(client, url, 3)
            await asyncio.to_thread(lambda: None)
        finally:
            await client.aclose()
