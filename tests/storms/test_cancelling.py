"""C5, cancelling at every await: nothing is lost, whichever of them it is.

A driver runs a scenario once and counts how often it is suspended, then runs it again for each
k-th of these suspensions, and cancels it there: while it waits, or when what it waited for has
come and it has not been told yet. Then the same with an error out of the user's own code.
TRUST sections 1c and 4.
"""

import asyncio
import gzip
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from servers.scripted import Connection, parse_fields, reply, scripted

from fastreq import Client, FastreqError, Limits, Retry, Timeout
from fastreq.policies.digest import Digest
from storms.storm import PROBES, cancelling, check_pool, note, run, seeded, sized

LARGE = 3 * 2**20
TIMEOUT = Timeout(read=10)
MOST = 200  # suspensions of a scenario, of which more would be a mistake
EACH = 25  # of those at its beginning, and as many at its end, each is tried; others now and then


# ---- the driver


class Driver:
    """Runs a coroutine, and cancels its task at its k-th suspension."""

    def __init__(self, at: int = 0, when: str = "") -> None:
        self.count = 0
        self._at = at
        self._when = when

    @types.coroutine
    def drive(self, coro: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        value, error = None, None
        while True:
            try:
                future = coro.send(value) if error is None else coro.throw(error)
            except StopIteration as stop:
                return stop.value
            self.count += 1
            if self.count == self._at:
                self._cancel(future)
            value, error = None, None
            try:
                value = yield future
            except BaseException as exc:
                error = exc

    def _cancel(self, future: asyncio.Future[Any] | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._when == "waiting":
            task.cancel()
        elif future is None:  # a turn of the loop
            asyncio.get_running_loop().call_soon(task.cancel)
        else:
            future.add_done_callback(lambda _: task.cancel())


# ---- the server


async def serve(conn: Connection) -> None:
    number = 0
    while True:
        head = await conn.read_head()
        number += 1
        path = head.split(b" ", 2)[1].decode()
        if "expect" in parse_fields(head):
            await conn.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await conn.read_body(head)
        if path == "/dies" and number > 1:
            return
        await ANSWERS.get(path, plain)(conn)


async def plain(conn: Connection) -> None:
    await conn.send(reply(b"plain"))


async def pieces(conn: Connection) -> None:
    await conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", step=20)
    for _ in range(4):
        await conn.send(b"5\r\npiece\r\n")
        await asyncio.sleep(0)
    await conn.send(b"0\r\n\r\n")


async def slow(conn: Connection) -> None:
    for _ in range(8):
        await asyncio.sleep(0)
    await conn.send(reply(b"slow"))


async def large(conn: Connection) -> None:
    await conn.send(reply(bytes(LARGE)))


async def packed(conn: Connection) -> None:
    await conn.send(reply(gzip.compress(bytes(5 * LARGE)), "Content-Encoding: gzip"))


async def redirect(conn: Connection) -> None:
    await conn.send(reply(b"not here", "Location: /pieces", status="302 Found"))


async def flaky(conn: Connection) -> None:
    conn.server.requests.append(b"flaky")
    if len(conn.server.requests) % 2:
        await conn.send(reply(b"later", status="503 Service Unavailable"))
    else:
        await conn.send(reply(b"now"))


async def locked(conn: Connection) -> None:
    conn.server.requests.append(b"locked")
    if len(conn.server.requests) % 2:
        challenge = 'WWW-Authenticate: Digest realm="a", nonce="b", qop="auth"'
        await conn.send(reply(b"who?", challenge, status="401 Unauthorized"))
    else:
        await conn.send(reply(b"you"))


ANSWERS = {
    "/pieces": pieces,
    "/slow": slow,
    "/large": large,
    "/packed": packed,
    "/redirect": redirect,
    "/flaky": flaky,
    "/locked": locked,
}


# ---- the scenarios

Scenario = Callable[[Client, Callable[[str], str]], Coroutine[Any, Any, Any]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


@scenario
async def a_new_connection(client, url):
    await client.get(url("/pieces"))


@scenario
async def a_used_connection(client, url):
    await client.get(url("/plain"))
    await client.get(url("/pieces"))


@scenario
async def a_name_to_look_up(client, url):
    await client.get(url("/plain").replace("127.0.0.1", "localhost"))


@scenario
async def a_place_in_line(client, url):
    first = asyncio.create_task(client.get(url("/slow")))
    try:
        await asyncio.sleep(0)
        await client.get(url("/plain"))
    finally:
        await first


@scenario
async def a_line_of_three(client, url):
    others = [asyncio.create_task(client.get(url("/slow"))) for _ in range(3)]
    try:
        await asyncio.sleep(0)
        await client.get(url("/plain"))
    finally:
        for outcome in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(outcome, BaseException):  # of another, whatever becomes of ours
                raise outcome


@scenario
async def a_slot_of_another_host(client, url):
    await client.get(url("/plain").replace("127.0.0.1", "localhost"))
    await client.get(url("/plain"))


@scenario
async def a_small_body(client, url):
    await client.post(url("/plain"), content=b"hello")


@scenario
async def a_large_body(client, url):
    await client.post(url("/plain"), content=bytes(LARGE))


@scenario
async def a_body_of_pieces(client, url):
    await client.post(url("/plain"), content=(b"piece" for _ in range(4)))


@scenario
async def a_body_that_waits(client, url):
    await client.post(url("/plain"), content=slowly(4))


@scenario
async def a_body_that_is_expected(client, url):
    await client.post(url("/plain"), content=b"hello", headers={"Expect": "100-continue"})


@scenario
async def a_large_response(client, url):
    await client.get(url("/large"))


@scenario
async def a_compressed_response(client, url):
    await client.get(url("/packed"))


@scenario
async def a_stream(client, url):
    async with client.stream("GET", url("/pieces")) as response:
        async for _ in response.iter_bytes():
            pass


@scenario
async def a_stream_that_is_left(client, url):
    async with client.stream("GET", url("/large")) as response:
        async for _ in response.iter_bytes():
            break


@scenario
async def a_stream_that_is_read_at_once(client, url):
    async with client.stream("GET", url("/large")) as response:
        await response.aread()


@scenario
async def a_redirect(client, url):
    await client.get(url("/redirect"))


@scenario
async def a_redirect_of_a_stream(client, url):
    async with client.stream("GET", url("/redirect")) as response:
        await response.aread()


@scenario
async def a_retry(client, url):
    await client.get(url("/flaky"), retry=Retry(total=2, backoff=0.001))


@scenario
async def a_challenge(client, url):
    await client.get(url("/locked"), auth=Digest("user", "password"))


@scenario
async def a_connection_that_dies(client, url):
    await client.get(url("/dies"))
    await client.get(url("/dies"))


@scenario
async def many(client, url):
    async for _ in client.map([url("/pieces")] * 5, concurrency=2):
        pass


async def slowly(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        await asyncio.sleep(0)
        yield b"piece"


# ---- the storm


async def once(
    certs,
    tls: bool,
    act: Callable[[Client, Callable[[str], str]], Awaitable[Any]],
    timeout: Timeout = TIMEOUT,
) -> Any:
    """Run something with a server and a client of one connection; both are well afterwards."""
    limits = Limits(max_connections=1)
    async with (
        scripted(serve, tls=certs.good if tls else None) as server,
        Client(verify=certs.ca_file, limits=limits, timeout=timeout) as client,
    ):
        result = await act(client, server.url)
        check_pool(client)
        for _ in range(2):
            response = await client.get(server.url("/healthy"), timeout=TIMEOUT)
            assert b"plain" == response.body
        check_pool(client)
        return result


async def count(name: str, certs, tls: bool) -> int:
    driver = Driver()
    await once(certs, tls, lambda *who: driver.drive(SCENARIOS[name](*who)))
    return driver.count


async def cancel_at(k: int, when: str, name: str, certs, tls: bool) -> bool:
    """Cancel at the k-th suspension, if there are so many this time; whether there were."""
    driver = Driver(k, when)

    async def act(client: Client, url: Callable[[str], str]) -> None:
        async def driven() -> None:  # from Python 3.12 on, a task takes no generator
            await driver.drive(SCENARIOS[name](client, url))

        task = asyncio.create_task(driven())
        await asyncio.wait([task])
        if driver.count >= k:
            assert task.cancelled(), task
        else:
            task.result()

    await once(certs, tls, act)
    return driver.count >= k


def chosen(total: int) -> Iterator[int]:
    """Each k, but of a very long scenario some in its middle."""
    for k in range(1, total + 1):
        if k <= EACH or k > total - EACH or not k % 10:
            yield k


@pytest.mark.parametrize("when", ["waiting", "told"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelled_at_every_await(loop_factory, certs, name, tls, when):
    """C5: the pool is exact, the connection is closed, and the next request works."""
    total = run(loop_factory, count(name, certs, tls))
    assert 0 < total < MOST

    for k in chosen(total):
        cancelled = run(loop_factory, cancel_at(k, when, name, certs, tls))
        note("C5 cancelling", cancels=cancelled)
    note("C5 cancelling", scenarios=1)


@pytest.mark.parametrize("k", range(5))
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_an_error_in_the_users_body(loop_factory, certs, kind, k):
    """An error out of the iterator of a body comes through, and costs the connection alone."""

    def broken() -> Iterator[bytes]:
        for number in range(5):
            if number == k:
                raise ArithmeticError("mine")
            yield b"piece"

    async def broken_and_slow() -> AsyncIterator[bytes]:
        for piece in broken():
            await asyncio.sleep(0)
            yield piece

    async def act(client: Client, url: Callable[[str], str]) -> None:
        with pytest.raises(ArithmeticError, match="mine"):
            await client.post(url("/"), content=broken() if kind == "plain" else broken_and_slow())

    run(loop_factory, once(certs, False, act))


@pytest.mark.parametrize("total", [0.0001, 0.001, 0.003, 0.01])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_total_that_passes_anywhere(loop_factory, certs, name, total):
    """The same by `Timeout(total=)`: one typed error, or all went well."""

    async def act(client: Client, url: Callable[[str], str]) -> None:
        try:
            await SCENARIOS[name](client, url)
        except FastreqError:
            note("C5 cancelling", timeouts=1)

    run(loop_factory, once(certs, False, act, Timeout(total=total)))


async def random_cancels(count: int) -> int:
    """How many of 40 requests work after so many that were cancelled at random."""
    rng = seeded("random cancels")
    numbers = iter(range(count))
    limits = Limits(max_connections=5)
    async with scripted(serve) as server, Client(limits=limits, timeout=TIMEOUT) as client:

        async def work() -> None:
            for _ in numbers:
                url = server.url(rng.choice(["/plain", "/slow", "/pieces"]))
                with suppress(asyncio.CancelledError):
                    async with cancelling(client.get(url), rng, 1.0) as task:
                        await task

        await asyncio.gather(*(work() for _ in range(50)))
        check_pool(client)
        responses = [await client.get(server.url("/plain")) for _ in range(PROBES)]
        return sum(response.body == b"plain" for response in responses)


def test_random_cancels(loop_factory):
    """TRUST 0: a pool of 5, and 4,000 requests, nearly all of which are cancelled somewhere."""
    count = sized(1000, 4000)

    working = run(loop_factory, random_cancels(count))

    note("C5 random cancels", requests=count, probes=PROBES, working=working)
    assert PROBES == working
