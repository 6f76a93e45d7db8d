"""C2, desync: bytes that nobody asked for are nobody's answer.

A server answers the first request, and says more than that, at one of three times: in the same
packet; while the connection is idle; or so that the bytes lie in the kernel, unseen by the loop,
when the second request is made. The second request gets its own body. TRUST sections 1c and 4.
"""

import asyncio
import ssl
import threading
import time
from contextlib import ExitStack, suppress
from typing import NamedTuple

import pytest
from servers.proxies import Relay
from servers.scripted import Connection

from fastreq import Client, FastreqError, Hooks, Limits, Response, Timeout
from fastreq.protocol import RECEIVE_SIZE
from storms.storm import check_pool, elsewhere, note, outcome, run, show, sized

POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
OK = b"HTTP/1.1 200 OK\r\n"


class Scenario(NamedTuple):
    """The first exchange: `answer` ends it, `more` is what comes too much."""

    answer: bytes
    more: bytes = POISON
    method: str = "GET"
    fails: bool = False  # the first request may be refused, too


SCENARIOS = {
    "after a length": Scenario(OK + b"Content-Length: 5\r\n\r\nfirst"),
    "after chunks": Scenario(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"),
    "after an empty body": Scenario(OK + b"Content-Length: 0\r\n\r\n"),
    "after 204": Scenario(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "after 204 with a length": Scenario(b"HTTP/1.1 204 No Content\r\nContent-Length: 45\r\n\r\n"),
    "after 304": Scenario(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 45\r\n\r\n"),
    "a body after HEAD": Scenario(OK + b"Content-Length: 45\r\n\r\n", method="HEAD"),
    "a body longer than its length": Scenario(
        OK + b"Content-Length: 5\r\n\r\nfirst", b"st" + POISON
    ),
    "a chunk longer than its size": Scenario(
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst", b"XX0\r\n\r\n" + POISON, fails=True
    ),
    "both framings": Scenario(
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", fails=True
    ),
    "two lengths": Scenario(
        OK + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\nfirst", fails=True
    ),
    "an unknown coding": Scenario(OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", fails=True),
    "a CRLF": Scenario(OK + b"Content-Length: 5\r\n\r\nfirst", b"\r\n"),
    "half a head": Scenario(OK + b"Content-Length: 5\r\n\r\nfirst", POISON[:20]),
    "a late 100": Scenario(
        OK + b"Content-Length: 5\r\n\r\nfirst", b"HTTP/1.1 100 Continue\r\n\r\n" + POISON
    ),
    "no HTTP": Scenario(OK + b"Content-Length: 5\r\n\r\nfirst", b"\x00" * 9),
    "after a close": Scenario(OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nfirst"),
    "after HTTP/1.0": Scenario(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nfirst"),
    "after a large body": Scenario(OK + b"Content-Length: 1000000\r\n\r\n" + bytes(1_000_000)),
    "after as much as one read brings": Scenario(
        OK + b"Content-Length: %d\r\n\r\n" % (RECEIVE_SIZE - 43) + bytes(RECEIVE_SIZE - 43)
    ),
    "after trailers": Scenario(
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nA: b\r\n\r\n"
    ),
}
TIMES = ["together", "idle", "unseen"]


class Script:
    """What the server does: a scenario on the first connection, plain answers ever after."""

    def __init__(self, scenario: Scenario, together: bool) -> None:
        self.scenario = scenario
        self.together = together
        self.first: Connection | None = None

    async def __call__(self, conn: Connection) -> None:
        if self.first is None:
            self.first = conn
            await conn.read_request()
            await conn.send(self.scenario.answer + (self.scenario.more if self.together else b""))
        while True:
            request = await conn.read_request()
            number = request.split(b" ", 2)[1]
            await conn.send(OK + b"Content-Length: %d\r\n\r\n%b" % (len(number), number))

    async def say_more(self) -> None:
        assert self.first is not None
        self.first.writer.write(self.scenario.more)  # at once, as nothing else is being sent


class Tunnel(Relay):
    """A proxy in a thread of its own, of which it is known when it has passed on an answer."""

    def __init__(self) -> None:
        super().__init__({}, None, b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.taken = 0
        self.passed_on = 0
        self.is_gone = False

    def is_waiting(self, taken: int) -> bool:
        """Whether it may still pass on something, and has not since it had taken so much."""
        return bool(self.tunnels) and self.passed_on <= taken and not self.is_gone

    async def _pump(self, reader, writer, seen) -> None:
        with suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(2**16):
                self.taken += 1
                writer.write(data)
                self.passed_on += 1
        self.is_gone = True
        writer.close()


async def provoke(scenario: Scenario, when: str, certs, way: str) -> Response | FastreqError:
    """What the second request comes to."""
    script = Script(scenario, when == "together")
    tunnel = Tunnel()
    with ExitStack() as stack:
        there = stack.enter_context(elsewhere(script, certs.good if way != "plain" else None))
        proxy = None
        if way == "connect":
            proxy = stack.enter_context(elsewhere(tunnel.handle)).url("")
        limits = Limits(max_per_host=1)
        timeout = Timeout(read=2)
        closed = asyncio.Event()
        hooks = Hooks(connection_closed=lambda _: closed.set())
        async with Client(
            verify=certs.ca_file, limits=limits, timeout=timeout, proxy=proxy, hooks=hooks
        ) as client:
            # Without the end of its body, the first request fails only when more has come.
            first = asyncio.ensure_future(outcome(client.request(scenario.method, there.url("/1"))))
            if when != "together":
                if scenario.fails:
                    while script.first is None:
                        await asyncio.sleep(0)
                else:
                    await first
            taken = tunnel.taken
            if when == "idle":
                await there.wait(script.say_more())
                async with asyncio.timeout(5):
                    await closed.wait()
            elif when == "unseen":
                there.do(script.say_more())
                while tunnel.is_waiting(taken):
                    time.sleep(0.001)
            result = await first
            assert scenario.fails or isinstance(result, Response), show(result)
            second = await outcome(client.get(there.url("/2")))
            check_pool(client)
            return second


@pytest.mark.parametrize("when", TIMES)
@pytest.mark.parametrize("way", ["plain", "tls"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_desync(loop_factory, certs, name, way, when):
    """C2: the second request gets its own answer, never what was pushed."""
    for _ in range(sized(1, 100)):
        second = run(loop_factory, provoke(SCENARIOS[name], when, certs, way))

        poisoned = isinstance(second, Response) and second.body != b"/2"
        note("C2 desync", runs=1, poisoned=poisoned, errors=isinstance(second, FastreqError))
        assert not poisoned, show(second)


@pytest.mark.parametrize("when", TIMES)
def test_desync_in_a_tunnel(loop_factory, certs, when):
    """C2 and C17: the same through a proxy."""
    for scenario in [*SCENARIOS.values()] * sized(1, 100):
        second = run(loop_factory, provoke(scenario, when, certs, "connect"))

        poisoned = isinstance(second, Response) and second.body != b"/2"
        note("C2 desync", runs=1, poisoned=poisoned, errors=isinstance(second, FastreqError))
        assert not poisoned, f"{scenario}: {show(second)}"


def test_an_answer_before_the_question(loop_factory):
    """RFC 9112, section 9.2: what came before a request was written is not its response.

    Under TLS nobody can tell: until it is deciphered, it may be a session ticket.
    """
    said = threading.Event()

    async def talk(conn: Connection) -> None:
        await conn.send(POISON)
        said.set()
        await conn.wait_closed()

    async def ask() -> Response | FastreqError:
        hooks = Hooks(connection_opened=lambda _: said.wait(5))  # with the loop standing still
        with elsewhere(talk) as there:
            async with Client(hooks=hooks) as client:
                return await outcome(client.get(there.url("/1")))

    for _ in range(sized(1, 100)):
        said.clear()
        result = run(loop_factory, ask())

        note("C2 desync", runs=1, poisoned=isinstance(result, Response), errors=1)
        assert isinstance(result, FastreqError), show(result)


async def interrupted(certs, tls: bool, how: str) -> Response | FastreqError:
    """A request that was given up, and then its answer comes."""
    script = Script(Scenario(OK + b"Content-Length: 50\r\n\r\nfir"), together=False)
    with elsewhere(script, certs.good if tls else None) as there:
        limits = Limits(max_per_host=1)
        async with Client(verify=certs.ca_file, limits=limits) as client:
            if how == "closed":
                async with client.stream("GET", there.url("/1")) as response:
                    async for _ in response.iter_bytes():
                        break
            elif how == "late":
                await outcome(client.get(there.url("/1"), timeout=Timeout(read=0.05)))
            else:
                task = asyncio.create_task(client.get(there.url("/1")))
                while script.first is None:
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            there.do(script.say_more())
            return await outcome(client.get(there.url("/2")))


@pytest.mark.parametrize("how", ["cancelled", "late", "closed"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_answer_to_what_was_given_up(loop_factory, certs, tls, how):
    """A cancelled, late or dropped request takes its connection with it."""
    for _ in range(sized(1, 100)):
        second = run(loop_factory, interrupted(certs, tls, how))

        right = isinstance(second, Response) and second.body == b"/2"
        note("C2 desync", runs=1, poisoned=not right, errors=0)
        assert right, show(second)
