"""C1, the fault storm: whatever a server does, a request gets its own body or one FastreqError.

TRUST section 4; docs/faults.md is made from the same cases.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from servers.scripted import Connection, scripted

from fastreq import Client, FastreqError, Limits, Response, Timeout
from storms import faults
from storms.faults import BODY, FAULTS, LATE_408, Asked
from storms.storm import cancelling, check_health, note, run, seeded, show, sized

CONCURRENCY = 200
NOTED = ["wrong_bodies", "faults_as_success", "truncated_as_whole", "cut_gzip_as_whole"]
LARGE = b"x" * 2**19  # more than the kernel takes before a server reads


class Storm:
    """Requests, each with a fault of its own, over a few connections."""

    def __init__(self, rng: random.Random, tls: bool) -> None:
        self.rng = rng
        self.cases = [case for case in FAULTS.values() if tls or not case.tls_only]
        self.posts: Counter[int] = Counter()  # how often a POST of a number was carried out
        self.seen = Counter(dict.fromkeys(NOTED, 0))
        self.wrong: list[str] = []

    async def serve(self, conn: Connection) -> None:
        going_on = True
        while going_on:
            head = await conn.read_head()
            asked = Asked.of(head)
            case = FAULTS[asked.fault]
            if head.startswith(b"POST"):
                self.posts[asked.number] += 1
            if case.reads_body:
                await conn.read_body(head)
            going_on = await case.act(conn, asked)

    def draw(self, number: int) -> tuple[Asked, str]:
        """What is asked next, and by which method; every third is a request of no fault."""
        case = FAULTS["none"] if self.rng.random() < 0.33 else self.rng.choice(self.cases)
        if case.name.startswith("silence") and self.rng.random() < 0.9:
            case = FAULTS["none"]  # each takes as long as its timeout
        method = "POST" if self.rng.random() < 0.2 else case.method
        size = self.rng.choice([12, 100, 3000, 20_000])
        return Asked(case.name, self.rng.choice(["length", "chunked"]), size, number), method

    async def send(self, client: Client, url: str, number: int) -> None:
        asked, method = self.draw(number)
        content = None
        if method == "POST":
            content = LARGE if asked.fault == "early_413" else b"hello"
        request = client.request(method, url + asked.path, content=content)
        async with cancelling(request, self.rng, 0.1) as task:
            result = None
            try:
                result = await task
            except FastreqError as exc:
                result = exc
            except asyncio.CancelledError:
                self.seen["cancelled"] += 1
                return
        self.judge(asked, method, result)

    def judge(self, asked: Asked, method: str, result: Response | FastreqError) -> None:
        case = FAULTS[asked.fault]
        if isinstance(result, FastreqError):
            kind = type(result).__name__
            # The connection may be one that another request's fault has broken. What may not be
            # sent twice meets that; what may be has been.
            inherited = method == "POST" and kind in ("ReadError", "WriteError")
            right = kind in case.outcomes or inherited
            self.seen["errors"] += 1
        elif LATE_408.endswith(result.body) and result.status == 408:
            right = True  # of the request before on this connection; see docs/faults.md
            self.seen["late_408"] += 1
        else:
            right = (
                BODY in case.outcomes and result.status == case.status and result.body == asked.body
            )
            self.seen["bodies"] += 1
            self.seen["wrong_bodies"] += BODY in case.outcomes and not right
            self.seen["faults_as_success"] += BODY not in case.outcomes
            self.seen["truncated_as_whole"] += "IncompleteBody" in case.outcomes
            self.seen["cut_gzip_as_whole"] += case.name == "cut_gzip"
        if not right:
            self.wrong.append(f"{method} {asked}: {show(result)[:200]}")


async def fault_storm(storm: Storm, certs, tls: bool, count: int, **options: object) -> None:
    """All of it; `options` are the client's."""
    limits = Limits(max_per_host=50)
    timeout = Timeout(read=1)
    async with (
        scripted(storm.serve, tls=certs.good if tls else None) as server,
        Client(verify=certs.ca_file, limits=limits, timeout=timeout, **options) as client,
    ):
        base = server.url("")
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:
                await storm.send(client, base, number)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        await check_health(client, lambda n: base + Asked("none", "length", 100, n).path)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_fault_storm(loop_factory, certs, tls):
    """C1: nothing wrong, no fault passes for success, no POST runs twice, the pool is exact."""
    count = sized(1000, 250_000)
    storm = Storm(seeded("faults", tls), tls)

    run(loop_factory, fault_storm(storm, certs, tls, count))

    twice = sum(times > 1 for times in storm.posts.values())
    note("C1 faults", requests=count, wrong=len(storm.wrong), posts_twice=twice, **storm.seen)
    assert [] == storm.wrong[:20]
    assert 0 == twice


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault(certs, name, framing):
    """Each fault alone, on a connection that is new, and on one that is not."""
    case = FAULTS[name]
    storm = Storm(seeded(name), tls=True)
    async with (
        scripted(storm.serve, tls=certs.good if case.tls_only else None) as server,
        Client(verify=certs.ca_file, timeout=Timeout(read=0.2)) as client,
    ):
        base = server.url("")
        for number in (1, 2):
            asked = Asked(name, framing, 100, number)
            content = LARGE if name == "early_413" else None
            try:
                result = await client.request(case.method, base + asked.path, content=content)
            except FastreqError as exc:
                result = exc
            storm.judge(asked, "GET", result)
            healthy = Asked("none", framing, 100, 3)
            storm.judge(healthy, "GET", await client.get(base + healthy.path))

    note("C1 faults", requests=4, **storm.seen)
    assert [] == storm.wrong


def test_the_page_says_what_the_storm_does():
    """docs/faults.md is what the cases say (see the page for how to make it)."""
    path = Path(__file__).parents[2] / "docs" / "faults.md"
    assert faults.page() == path.read_text()
