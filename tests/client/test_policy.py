"""How one host is treated: rate, pauses, connections, limiters (issue 3, 8).

The rules are tested in tests/policies/test_hosts.py; here they meet requests.
"""

import asyncio
import gc
import re
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from servers.proxies import relaying
from servers.received import parse
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import Client, Hooks, Limits, Policy, Response, Retry, Timeout
from fastreq.testing import MockTransport, Server

BUSY = "503 Service Unavailable"


class Clock:
    """Time that passes when somebody sleeps; requests are noted by it, as they start and go out."""

    def __init__(self):
        self.passed = 0.0
        self.sent = []
        self.hooks = Hooks(request_sent=lambda event: self.sent.append(self.passed))
        self.started = []

    def __call__(self):
        return 1000 + self.passed

    async def __aenter__(self):  # as a limiter
        self.started.append(self.passed)

    async def __aexit__(self, *exc):
        pass


@pytest.fixture
def clock(monkeypatch):
    clock, sleep = Clock(), asyncio.sleep

    async def pass_time(seconds, *result):
        clock.passed += max(0, seconds)
        return await sleep(0, *result)

    monkeypatch.setattr("fastreq.pacing.monotonic", clock)
    monkeypatch.setattr("fastreq.pacing.asyncio.sleep", pass_time)
    return clock


async def get_many(client, url, count):
    return await asyncio.gather(*(client.get(url) for _ in range(count)))


# ---- rate


@pytest.mark.parametrize(("rate", "burst"), [(50, 1), (100, 10), (0.5, 3), (1, 1)])
async def test_rate(clock, rate, burst):
    """First the burst, and then one at a time, as many a second as it says."""
    policy = Policy(rate=rate, burst=burst, limiter=clock)
    async with serving(reply()) as server, Client(policy=policy) as client:
        await get_many(client, server.url("/"), 30)

    assert pytest.approx([max(0, n - burst + 1) / rate for n in range(30)]) == clock.started


async def test_rate_by_the_clock_on_the_wall():
    """The same without a clock of ours: no faster."""
    async with serving(reply()) as server, Client(policy=Policy(rate=50, burst=5)) as client:
        began = monotonic()
        await get_many(client, server.url("/"), 20)
        assert 0.29 < monotonic() - began


async def test_rate_is_of_each_host(clock, dns):
    dns["a.test"] = dns["b.test"] = "127.0.0.1"
    async with (
        serving(reply()) as server,
        Client(policy=Policy(rate=1), hooks=clock.hooks) as client,
    ):
        for host in ("a.test", "b.test", "127.0.0.1", "a.test"):
            await client.get(server.url("/", host=host))

    assert [0, 0, 0, 1] == clock.sent


async def test_policies_by_origin(clock):
    """Those that are not named have none."""
    async with serving(reply()) as slow, serving(reply()) as fast:
        policy = {slow.url(""): Policy(rate=2, limiter=clock)}
        async with Client(policy=policy) as client:
            await get_many(client, fast.url("/"), 5)
            assert 0 == clock.passed
            await get_many(client, slow.url("/"), 3)

    assert [0, 0.5, 1] == clock.started


async def test_retries_and_redirects_take_their_turn(clock):
    answers = [
        reply(status=BUSY),
        reply(b"", "Location: /there", status="302 Found"),
        reply(status=BUSY),
        reply(b"there"),
    ]
    async with serving(*answers) as server:
        retry = Retry(3, backoff=0)
        async with Client(policy=Policy(rate=4), retry=retry, hooks=clock.hooks) as client:
            assert b"there" == (await client.get(server.url("/"))).body

    assert [0, 0.25, 0.5, 0.75] == clock.sent


async def test_the_wait_is_not_counted_in_the_total():
    """As no wait in line is; the time that the server takes still counts."""
    slow = asyncio.Event()

    async def handler(conn):
        while True:
            await conn.read_request()
            await asyncio.sleep(1 if slow.is_set() else 0)
            await conn.send(reply())

    async with scripted(handler) as server, Client(policy=Policy(rate=4), timeout=0.25) as client:
        await get_many(client, server.url("/"), 3)
        slow.set()
        with pytest.raises(fastreq.TotalTimeout):
            await client.get(server.url("/"))


async def test_cancelling_costs_no_turn():
    """Else the last request would wait for longer than a test may take."""
    async with serving(reply()) as server, Client(policy=Policy(rate=2)) as client:
        await client.get(server.url("/"))
        waiting = [asyncio.create_task(client.get(server.url("/"))) for _ in range(200)]
        await asyncio.sleep(0.01)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await client.get(server.url("/"))

        assert 2 == len(server.requests)


async def test_first_come_first_served(clock):
    limits = Limits(max_per_host=1)
    async with serving(reply()) as server, Client(policy=Policy(rate=1), limits=limits) as client:
        await asyncio.gather(*(client.get(server.url(f"/{n}")) for n in range(10)))

        assert [f"/{n}" for n in range(10)] == [parse(raw).target for raw in server.requests]


# ---- what the host asks for

PAUSES = [
    reply(b"", "Retry-After: 7", status="429 Too Many Requests"),
    reply(b"", "Retry-After: 7", status=BUSY),
    reply(b"", 'RateLimit: "default";r=0;t=7'),
    reply(b"", "RateLimit: limit=9, remaining=0, reset=7"),
    reply(b"", "RateLimit-Remaining: 0", "RateLimit-Reset: 7"),
    reply(b"", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 7"),
]


@pytest.mark.parametrize("answer", PAUSES, ids=range(len(PAUSES)))
async def test_a_pause_is_of_the_whole_host(clock, answer):
    """Everybody waits, whoever was told; and the answer is handed out at once."""
    answers = iter([answer])

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(next(answers, reply()))

    async with (
        scripted(handler) as server,
        serving(reply()) as other,
        Client(policy=Policy(), hooks=clock.hooks) as client,
    ):
        await client.get(server.url("/"))
        await client.get(other.url("/"))
        assert [0, 0] == clock.sent, "another host is not concerned"
        await get_many(client, server.url("/"), 5)

    assert [0, 0, 7, 7, 7, 7, 7] == clock.sent


async def test_a_pause_has_an_end(clock):
    """A host that asks for a year is asked again after 300 seconds."""
    forever = reply(b"", "Retry-After: 31536000", status=BUSY)
    async with serving(forever) as server, Client(policy=Policy(), hooks=clock.hooks) as client:
        for _ in range(3):
            await client.get(server.url("/"))

    assert [0, 300, 600] == clock.sent


@pytest.mark.parametrize("policy", [Policy(obey_server=False), None])
async def test_a_pause_may_be_ignored(clock, policy):
    """As it is without any policy."""
    async with serving(PAUSES[0]) as server, Client(policy=policy, hooks=clock.hooks) as client:
        for _ in range(3):
            assert 429 == (await client.get(server.url("/"))).status

    assert [0, 0, 0] == clock.sent


async def test_a_retry_and_a_pause_are_waited_for_once(clock):
    """Both obey the same Retry-After."""
    async with serving(PAUSES[0], reply(b"ok")) as server:
        retry = Retry(1, backoff=0)
        async with Client(policy=Policy(), retry=retry, hooks=clock.hooks) as client:
            assert b"ok" == (await client.get(server.url("/"))).body

    assert [0, 7] == clock.sent


async def test_a_pause_is_remembered_whoever_else_is_asked_meanwhile(clock, monkeypatch):
    """The host is forgotten once nobody has to do with it, and not before."""
    monkeypatch.setattr("fastreq.pacing.MAX_HOSTS", 5)
    asked, told = asyncio.Event(), asyncio.Event()

    async def handler(request):
        if request.url.path == "/told":
            asked.set()
            await told.wait()
            return Response(429, headers={"Retry-After": "7"})
        return Response(200)

    async with Client(transport=MockTransport(handler), policy=Policy()) as client:
        waiting = asyncio.create_task(client.get("http://a.test/told"))
        await asked.wait()
        for number in range(30):
            await client.get(f"http://{number}.test/")
        told.set()
        await waiting
        await client.get("http://a.test/")
        assert 7 == clock.passed

        for number in range(30):
            await client.get(f"http://{number}.test/")
        assert len(client._policies.pacing._hosts) <= 5


# ---- how long is waited


NOT_NOW = reply(b"no", "RateLimit-Remaining: 0", "RateLimit-Reset: 7", status=BUSY)


async def refused(client, url, **options):
    """The text of the error of a request that gets no turn."""
    with pytest.raises(fastreq.PoolTimeout, match="no turn for http://127") as caught:
        await client.get(url, timeout=Timeout(pool=0.01), **options)
    assert "pool" == caught.value.phase
    assert str(caught.value).endswith("; Timeout(pool=...) moves it")
    return str(caught.value)


async def test_the_wait_for_a_turn_is_bounded_as_that_for_a_connection():
    """By Timeout(pool=...); the text says what of the policy it was."""
    async with serving(reply()) as server:
        async with Client(policy=Policy(rate=0.1)) as client:
            await client.get(server.url("/"))
            assert "Policy(rate=0.1) has none free" in await refused(client, server.url("/"))

        async with Client(policy=Policy(limiter=asyncio.Semaphore(0))) as client:
            text = await refused(client, server.url("/"))
            assert "Policy(limiter=<Semaphore>) is not entered" in text

    async with serving(NOT_NOW) as server, Client(policy=Policy()) as client:
        await client.get(server.url("/"))
        text = await refused(client, server.url("/"))
        assert "it asked to be left alone, for 7.0 s more (Policy(obey_server=True))" in text


async def test_a_turn_that_was_not_waited_for_is_not_lost():
    """Nor is one whose limiter was not entered; else the last request would not come in time."""
    limiter = asyncio.Semaphore(0)
    async with serving(reply()) as server:
        async with Client(policy=Policy(rate=0.01, burst=2, limiter=limiter)) as client:
            for _ in range(5):
                await refused(client, server.url("/"))
            limiter.release()
            await get_many(client, server.url("/"), 2)


async def test_a_retry_that_would_not_be_in_time_is_not_waited_for(clock):
    """Its last answer is handed out at once, as where a Retry-After is too long."""
    async with serving(NOT_NOW) as server:
        async with Client(policy=Policy(), retry=Retry(1, backoff=0), timeout=5) as client:
            assert (503, 1) == await status_and_attempts(client, server.url("/"))
            assert 0 == clock.passed

            assert (503, 2) == await status_and_attempts(client, server.url("/"), timeout=8)


async def status_and_attempts(client, url, **options):
    response = await client.get(url, **options)
    return response.status, response.attempts


async def test_a_redirect_that_would_not_be_in_time_is_not_waited_for(clock):
    moved = reply(
        b"", "Location: /x", "RateLimit-Remaining: 0", "RateLimit-Reset: 7", status="302 Found"
    )
    async with serving(moved, reply()) as server, Client(policy=Policy()) as client:
        with pytest.raises(fastreq.TotalTimeout, match=r"no turn for .* for 7\.0 s") as caught:
            await client.get(server.url("/"), timeout=5)
        assert ("pool", 0, 1) == (caught.value.phase, clock.passed, len(server.requests))

        assert 200 == (await client.get(server.url("/"), timeout=5)).status, "the first may wait"


@pytest.mark.parametrize("wait", ["a turn", "a limiter", "a place", "another try"])
async def test_closing_the_client_ends_the_wait(wait):
    """At once, with an error that says what was waited for; nothing more is sent."""
    policies = {
        "a turn": Policy(rate=0.01),
        "a limiter": Policy(rate=0.01, burst=2, limiter=asyncio.Semaphore(0)),
        "a place": Policy(max_connections=1),
        "another try": None,
    }
    retry = Retry(1, backoff=50, jitter=False) if wait == "another try" else 0

    async def handler(conn):
        while True:
            await conn.read_request()
            if wait == "a place":
                await conn.wait_closed()
            await conn.send(reply(status=BUSY))

    async with scripted(handler) as server:
        proxy = server.url("") if wait == "a place" else None
        client = Client(policy=policies[wait], retry=retry, proxy=proxy)
        tasks = [asyncio.create_task(client.get(server.url("/"))) for _ in range(2)]
        while not client._policies.waits._limits or (wait != "a limiter" and not server.requests):
            await asyncio.sleep(0)
        await client.aclose()
        sent = len(server.requests)
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert fastreq.ClientClosed is type(errors[1])
        assert re.search("waited (for its host's turn|to be tried again)", str(errors[1]))
        assert str(errors[1].request.url) == server.url("/")
        assert sent == len(server.requests)
        assert {} == client._policies.waits._limits


# ---- connections


class Arrivals:
    """A server that takes its time, and notes how many requests were there at once."""

    def __init__(self):
        self.count, self.now, self.most = 0, 0, 0

    async def handle(self, conn):
        while True:
            await conn.read_request()
            self.count += 1
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            await conn.send(reply())


async def test_connections_of_a_host():
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as server, serving(reply()) as other:
        policy = {server.url(""): Policy(max_connections=3)}
        async with Client(policy=policy, limits=Limits(max_per_host=10)) as client:
            await get_many(client, server.url("/"), 20)
            await get_many(client, other.url("/"), 20)

            assert (3, 3) == (arrivals.most, server.connections)
            assert other.connections > 3


async def test_connections_are_never_more_than_the_limits_say():
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as server:
        limits = Limits(max_per_host=2)
        async with Client(policy=Policy(max_connections=50), limits=limits) as client:
            await get_many(client, server.url("/"), 10)
    assert 2 == arrivals.most


async def test_through_a_proxy_the_requests_of_a_host_are_counted(dns):
    """For its connections carry those of all hosts."""
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as proxy:
        policy = {"http://a.test": Policy(max_connections=3)}
        async with Client(policy=policy, proxy=proxy.url("")) as client:
            await get_many(client, "http://a.test/", 20)
            assert (20, 3) == (arrivals.count, arrivals.most)

            await get_many(client, "http://b.test/", 20)
            assert 20 == arrivals.most


async def test_a_policy_for_all_hosts_is_none_for_the_proxy():
    arrivals = Arrivals()
    async with scripted(arrivals.handle) as proxy:
        async with Client(policy=Policy(max_connections=1), proxy=proxy.url("")) as client:
            await asyncio.gather(*(client.get(f"http://{host}.test/") for host in range(20)))
    assert (20, 20) == (arrivals.count, arrivals.most)


async def test_a_tunnel_is_a_connection_of_its_host(certs):
    arrivals = Arrivals()
    async with scripted(arrivals.handle, tls=certs.good) as server, relaying() as proxy:
        policy = {server.url("", host="localhost"): Policy(max_connections=2)}
        async with Client(policy=policy, proxy=proxy.url(), verify=certs.ca_file) as client:
            await get_many(client, server.url("/", host="localhost"), 10)
    assert (10, 2, 2) == (arrivals.count, arrivals.most, len(proxy.tunnels))


# ---- limiters


async def test_any_context_manager_is_a_limiter():
    arrivals = Arrivals()
    async with (
        scripted(arrivals.handle) as server,
        Client(policy=Policy(limiter=asyncio.Semaphore(2))) as client,
    ):
        await get_many(client, server.url("/"), 12)
    assert (2, 12) == (arrivals.most, arrivals.count)


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


async def test_a_limiter_cannot_keep_an_error_from_the_caller():
    """There would be no response to give."""
    left = []

    class Swallowing:
        async def __aenter__(self):
            pass

        async def __aexit__(self, kind, error, traceback):
            left.append((kind, error))
            return True

    async with Client(policy=Policy(limiter=Swallowing())) as client:
        with pytest.raises(fastreq.ConnectError) as caught:
            await client.get("http://127.0.0.1:1/")
    assert [(fastreq.ConnectError, caught.value)] == left


class Noting:
    """A limiter that knows who is in it."""

    def __init__(self):
        self.inside = 0
        self.errors = []
        self.left = asyncio.Event()

    async def __aenter__(self):
        self.inside += 1

    async def __aexit__(self, kind, error, traceback):
        await asyncio.sleep(0)
        self.inside -= 1
        self.errors.append(kind)
        self.left.set()


@pytest.mark.parametrize("how", ["read", "raw", "left", "closed by hand"])
async def test_a_stream_is_in_its_limiter_until_its_body_has_ended(how):
    limiter = Noting()
    async with (
        serving(reply(b"body")) as server,
        Client(policy=Policy(limiter=limiter)) as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert 1 == limiter.inside
        if how == "read":
            assert b"body" == await response.aread()
        elif how == "raw":
            assert [b"body"] == [piece async for piece in response.iter_raw()]
        elif how == "left":
            async for _ in response.iter_bytes():
                assert 1 == limiter.inside
                break
            assert 1 == limiter.inside
            await response.aclose()
        else:
            await response.aclose()
        assert (0, [None]) == (limiter.inside, limiter.errors)
    assert [None] == limiter.errors, "it is left once"


async def test_a_stream_that_breaks_tells_its_limiter():
    limiter = Noting()
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\npart"

    async def handler(conn):
        await conn.read_request()
        await conn.send(cut)

    async with (
        scripted(handler) as server,
        Client(policy=Policy(limiter=limiter)) as client,
        client.stream("GET", server.url("/")) as response,
    ):
        with pytest.raises(fastreq.IncompleteBody):
            await response.aread()
        assert (0, [fastreq.IncompleteBody]) == (limiter.inside, limiter.errors)


async def test_a_stream_that_the_collector_drops_leaves_its_limiter():
    limiter = Noting()
    async with (
        serving(reply(b"body")) as server,
        Client(policy=Policy(limiter=limiter)) as client,
    ):
        response = await client.send(client.build_request("GET", server.url("/")), stream=True)
        assert 1 == limiter.inside
        del response
        gc.collect()
        await limiter.left.wait()

        assert 0 == limiter.inside


async def test_streams_count_where_a_proxy_is_asked():
    """And two requests to be sent, a redirect or a retry, are one after the other."""
    answers = iter([reply(b"", "Location: /x", status="302 Found"), reply(b"no", status=BUSY)])

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(next(answers, reply(b"body")))

    async with scripted(handler) as proxy:
        policy = Policy(max_connections=1, limiter=asyncio.Semaphore(1))
        client = Client(policy=policy, proxy=proxy.url(""), retry=Retry(1, backoff=0))
        async with client, client.stream("GET", "http://a.test/") as response:
            assert "has none free" in await refused_at(client, "http://a.test/")
            assert b"body" == await response.aread()
            assert 200 == (await client.get("http://a.test/")).status


async def refused_at(client, url):
    with pytest.raises(fastreq.PoolTimeout) as caught:
        await client.get(url, timeout=Timeout(pool=0.01))
    return str(caught.value)


async def test_another_protocol_is_in_no_limiter():
    """The connection is the caller's, for as long as he likes."""
    limiter = Noting()
    switched = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
    async with (
        serving(switched) as server,
        Client(policy=Policy(limiter=limiter)) as client,
    ):
        upgraded = await client.upgrade(server.url("/"), "chat")
        assert 0 == limiter.inside
        upgraded.transport.abort()


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

    limiter, arrivals = asyncio.Semaphore(3), Arrivals()
    async with scripted(arrivals.handle) as a, scripted(arrivals.handle) as b:
        policy = {a.url(""): Policy(limiter=limiter), b.url(""): Policy(limiter=limiter)}
        async with Client(policy=policy) as client:
            await asyncio.gather(get_many(client, a.url("/"), 10), get_many(client, b.url("/"), 10))
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


def test_a_client_that_moves_to_another_loop_keeps_the_pace(loop_factory):
    """The lock is of a loop; the pace is of the host."""
    client = Client(policy=Policy(rate=20, burst=2))
    with Server() as server:
        began = monotonic()
        for _ in range(2):
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(get_many(client, server.url + "/hello", 4))
        assert 0.27 < monotonic() - began
