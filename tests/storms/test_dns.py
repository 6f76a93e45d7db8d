"""C11, DNS: whatever a resolver does, a request gets its own body or one typed error.

The system's `getaddrinfo` is replaced, and nothing else; the connections are real. TRUST section 4.
"""

import asyncio
import random
import socket
import threading
import time
from collections import Counter
from typing import Any

import pytest
from servers.scripted import Connection, reply, scripted

from fastreq import Client, FastreqError, Limits, Response, Timeout, resolve
from storms.storm import (
    body_of,
    cancelling,
    check_pool,
    note,
    note_largest,
    run,
    seeded,
    show,
    sized,
)

CONCURRENCY = 50
NAMES = 64  # that are remembered
SECONDS = 0.02  # for how long
LIVE, OLD, NEW = "127.0.0.1", "127.0.0.10", "127.0.0.11"
DEAD = [f"127.1.0.{number}" for number in range(1, 50)]  # nobody listens there
BODY = "body"

# Of each kind of name, what comes of it.
KINDS = {
    "good": BODY,
    "slow": BODY,
    "mixed": BODY,  # an AAAA that is dead, and an A that is not
    "last": BODY,  # 49 are dead, and the fiftieth is not
    "changes": BODY,
    "garbled": BODY,  # an address between what is none
    "dead": "ConnectError",
    "nxdomain": "DNSError",
    "servfail": "DNSError",
    "broken": "DNSError",
    "garbage": "DNSError",
    "stuck": "ConnectTimeout",
}


class NameSystem:
    """A getaddrinfo: a name's first label says what kind of answer it has."""

    def __init__(self) -> None:
        self.moved = False  # "changes" has its new address
        self.asked = 0
        self.twice_at_once = 0
        self.most_threads = 0
        self.over = threading.Event()
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, host: str, port: int, **options: object) -> Any:
        with self._lock:
            self.asked += 1
            self.twice_at_once += self._under_way[host]
            self._under_way[host] += 1
            self.most_threads = max(self.most_threads, self._under_way.total())
        try:
            return self._answer(host.partition("-")[0], port)
        finally:
            with self._lock:
                self._under_way[host] -= 1

    def _answer(self, kind: str, port: int) -> Any:
        match kind:
            case "good":
                return answer(port, LIVE)
            case "slow":
                time.sleep(0.005)
                return answer(port, LIVE)
            case "mixed":
                return answer(port, "::1", LIVE)
            case "last":
                return answer(port, *DEAD, LIVE)
            case "changes":
                return answer(port, NEW if self.moved else OLD)
            case "garbled":
                return [(99, 1, 6, "", ("x", port)), *answer(port, LIVE), (2, 1, 6, "", ("\0", 1))]
            case "dead":
                return answer(port, *DEAD[:3])
            case "nxdomain":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            case "servfail":
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            case "broken":
                raise MemoryError
            case "garbage":
                return [(socket.AF_INET, 1, 6, "", ("evil.test", port)), None]
            case _:
                assert self.over.wait(60)
                return answer(port, LIVE)


def answer(port: int, *ips: str) -> list[Any]:
    """What getaddrinfo gives for these."""
    family = {True: socket.AF_INET6, False: socket.AF_INET}
    return [(family[":" in ip], socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ips]


async def serve(conn: Connection) -> None:
    """Answer with the body that was asked for, and the address that was dialled."""
    address = conn.writer.get_extra_info("sockname")[0]
    while True:
        number = int((await conn.read_head()).split(b" ", 2)[1][1:])
        await conn.send(reply(body_of(number, 100), f"X-Address: {address}"))


class Storm:
    def __init__(self, rng: random.Random, names: NameSystem) -> None:
        self.rng = rng
        self.names = names
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def send(self, client: Client, port: int, number: int) -> None:
        kind = self.rng.choice([kind for kind in KINDS if kind != "stuck"])
        timeout = Timeout(connect=10)
        if self.rng.random() < 0.02:
            kind, timeout = "stuck", Timeout(connect=0.1)
        # A few stuck names may not take all the threads; of the others there are more than fit.
        name = f"{kind}-{self.rng.randrange(4 if kind == 'stuck' else 20)}.test"
        request = client.get(f"http://{name}:{port}/{number}", timeout=timeout)
        async with cancelling(request, self.rng, 0.1) as task:
            try:
                self.judge(kind, number, await task)
            except FastreqError as exc:
                self.judge(kind, number, exc)
            except asyncio.CancelledError:
                self.seen["cancelled"] += 1

    def judge(self, kind: str, number: int, result: Response | FastreqError) -> None:
        if isinstance(result, FastreqError):
            self.seen["errors"] += 1
            right = type(result).__name__ == KINDS[kind]
        else:
            self.seen["bodies"] += 1
            right = KINDS[kind] == BODY and result.body == body_of(number, 100)
        if not right:
            self.wrong.append(f"{kind}: {show(result)[:200]}")


async def storm(there: Storm, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """All of it; the result is how many names were remembered at the most."""
    async with scripted(serve) as server:
        others = await asyncio.start_server(server._accept, [OLD, NEW], server.port)
        monkeypatch.setattr(socket, "getaddrinfo", there.names)
        limits = Limits(max_connections=CONCURRENCY)
        async with Client(trust_env=False, limits=limits) as client:
            numbers = iter(range(count))
            largest = 0

            async def work() -> None:
                nonlocal largest
                for number in numbers:
                    await there.send(client, server.port, number)
                    largest = max(largest, len(resolver_of(client)._cache))

            await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
            await check_move(client, server.port, there.names)
            check_pool(client)
            there.names.over.set()
            resolver = resolver_of(client)
            while resolver._threads:
                await asyncio.sleep(0.001)
            assert not resolver._lookups
        others.close()
    return largest


def resolver_of(client: Client) -> resolve.Resolver:
    assert client._engine is not None
    resolver = client._engine._connector._resolver
    assert isinstance(resolver, resolve.Resolver)
    return resolver


async def check_move(client: Client, port: int, names: NameSystem) -> None:
    """A name that has moved is found at its new address, once the old one is forgotten."""
    close = {"Connection": "close"}
    for address in (OLD, NEW):
        names.moved = address == NEW
        await asyncio.sleep(2 * SECONDS)  # uvloop's timers may be a millisecond early
        response = await client.get(f"http://changes-new.test:{port}/7", headers=close)
        assert body_of(7, 100) == response.body
        assert address == response.headers["X-Address"]


def test_dns_storm(loop_factory, monkeypatch):
    """C11: bodies or typed errors; one lookup for many, a bounded cache, and no thread left."""
    count = sized(300, 10_000)
    names = NameSystem()
    there = Storm(seeded("dns"), names)
    monkeypatch.setattr(resolve, "CACHE_SECONDS", SECONDS)
    monkeypatch.setattr(resolve, "MAX_NAMES", NAMES)

    try:
        largest = run(loop_factory, storm(there, count, monkeypatch))
    finally:
        names.over.set()

    note_largest("C11 DNS", names_cached=largest, threads=names.most_threads)
    note("C11 DNS", requests=count, wrong=len(there.wrong), lookups=names.asked, **there.seen)
    note("C11 DNS", lookups_twice_at_once=names.twice_at_once)
    assert [] == there.wrong[:20]
    assert 0 == names.twice_at_once
    assert NAMES >= largest
    assert resolve.MAX_THREADS >= names.most_threads


async def test_one_lookup_for_many_requests(monkeypatch):
    """C11: a name that a hundred requests wait for is asked for once, and its failure is all's."""
    async with scripted(serve) as server:
        names = NameSystem()
        monkeypatch.setattr(socket, "getaddrinfo", names)
        async with Client(trust_env=False) as client:
            urls = [f"http://slow-1.test:{server.port}/{number}" for number in range(100)]
            responses = await asyncio.gather(*map(client.get, urls))
            assert [body_of(number, 100) for number in range(100)] == [r.body for r in responses]
            assert 1 == names.asked
