"""Retries over real sockets (issue 3, 7; TRUST 37, 38, 57)."""

import asyncio
import itertools
import random
from email.utils import formatdate
from time import time

import pytest
from servers.received import parse
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import (
    Client,
    ConnectError,
    IncompleteBody,
    Limits,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    Retry,
    Timeout,
)

AT_ONCE = Retry(3, backoff=0)
BUSY = reply(b"busy", status="503 Service Unavailable")


def busy(*fields, status="503 Service Unavailable"):
    return reply(b"busy", *fields, status=status)


@pytest.fixture
def waits(monkeypatch):
    """What was slept for, which takes no time here."""
    slept, sleep = [], asyncio.sleep

    async def at_once(seconds, *result):
        if seconds > 0:
            slept.append(seconds)
        await sleep(0, *result)

    monkeypatch.setattr("fastreq.call.asyncio.sleep", at_once)
    return slept


# ---- statuses


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_statuses(wire, status):
    answers = [busy(status=f"{status} X")] * 2 + [reply(b"at last")]
    async with (
        serving(*answers, tls=wire.tls) as server,
        wire.client(retry=AT_ONCE) as client,
    ):
        response = await client.get(server.url("/"))

        assert (200, b"at last", 3) == (response.status, response.body, response.attempts)
        assert 3 == len(server.requests)
        assert 1 == server.connections


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 425, 500, 501, 505, 599])
async def test_other_statuses_are_answers(status):
    async with serving(busy(status=f"{status} X")) as server, Client(retry=AT_ONCE) as client:
        response = await client.get(server.url("/"))

        assert (status, 1, 1) == (response.status, response.attempts, len(server.requests))


async def test_statuses_of_ones_own():
    retry = Retry(1, statuses={500}, backoff=0)
    async with serving(busy(status="500 X"), busy()) as server, Client(retry=retry) as client:
        response = await client.get(server.url("/"))

        assert (503, 2) == (response.status, response.attempts)


async def test_the_last_answer_is_handed_out():
    """It is no error: whoever wants one calls raise_for_status()."""
    async with serving(BUSY) as server, Client(retry=AT_ONCE) as client:
        response = await client.get(server.url("/"))

        assert (503, b"busy", 4) == (response.status, response.body, response.attempts)
        with pytest.raises(fastreq.HTTPStatusError) as caught:
            response.raise_for_status()
        assert 4 == caught.value.attempts


async def test_nothing_is_retried_unless_asked_for():
    async with serving(BUSY) as server, Client() as client:
        response = await client.get(server.url("/"))

        assert (503, 1) == (response.status, response.attempts)
        assert 1 == len(server.requests)


async def test_a_number_is_the_total():
    async with serving(BUSY) as server, Client(retry=AT_ONCE) as client:
        assert 1 == (await client.get(server.url("/"), retry=0)).attempts
        retry = Retry(1, backoff=0)
        assert 2 == (await client.get(server.url("/"), retry=retry)).attempts
        assert 7 == len((await client.get(server.url("/"))).history) + len(server.requests)


@pytest.mark.parametrize("retry", [-1, 1.5, True, "3", None])
async def test_a_retry_that_is_none(retry):
    with pytest.raises(ValueError, match="retry="):
        Client(retry=retry)
    async with Client() as client:
        with pytest.raises(ValueError, match="retry="):
            await client.get("http://127.0.0.1:1/", retry=retry)


# ---- methods


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "QUERY"])
async def test_37_idempotent_methods(method):
    answers = [b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n"]
    async with serving(*answers) as server, Client(retry=AT_ONCE) as client:
        assert 4 == (await client.request(method, server.url("/"))).attempts


@pytest.mark.parametrize("method", ["POST", "PATCH", "get-all", "CUSTOM"])
async def test_37_others_are_not_repeated(method):
    """TRUST 37: not after an answer, nor where the server may have acted."""
    async with serving(BUSY) as server, Client(retry=AT_ONCE) as client:
        response = await client.request(method, server.url("/"), content=b"x")

        assert (503, 1) == (response.status, response.attempts)
        assert 1 == len(server.requests)

    async def breaks(conn):
        await conn.read_request()
        await conn.reset()

    async with scripted(breaks) as server, Client(retry=AT_ONCE) as client:
        with pytest.raises(ReadError) as caught:
            await client.request(method, server.url("/"), content=b"x")

        assert (1, 1) == (caught.value.attempts, len(server.requests))


@pytest.mark.parametrize(
    "options",
    [
        {"retry": Retry(3, methods={"POST"}, backoff=0)},
        {"headers": {"Idempotency-Key": "abc"}},
    ],
    ids=["methods", "key"],
)
async def test_37_unless_said(options):
    async with serving(BUSY, reply()) as server, Client(retry=AT_ONCE) as client:
        response = await client.post(server.url("/"), content=b"x", **options)

        assert (200, 2) == (response.status, response.attempts)
        assert [b"x", b"x"] == [parse(raw).body for raw in server.requests]


async def test_a_post_is_repeated_where_nothing_was_sent(dns):
    """No connection was made, so nobody has acted."""
    addresses = iter([["127.0.0.1"], ["127.0.0.2"]])
    async with scripted(one_answer, host="127.0.0.2") as server:
        dns["site.test"] = lambda: next(addresses)
        async with Client(retry=AT_ONCE) as client:
            response = await client.post(server.url("/", host="site.test"), content=b"x")

        assert (200, 2) == (response.status, response.attempts)
        assert 1 == len(server.requests)


async def one_answer(conn):
    await conn.read_request()
    await conn.send(reply())


# ---- errors


async def test_nobody_listens():
    async with Client(retry=AT_ONCE) as client:
        with pytest.raises(ConnectError) as caught:
            await client.get("http://127.0.0.1:1/")
    assert 4 == caught.value.attempts


FAULTS = {
    "reset": b"",
    "part of a head": b"HTTP/1.1 200 OK\r\nContent-",
    "part of a body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart",
    "part of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npart",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_connections_that_break(fault):
    """Once it works, the body is whole, and has nothing of what came before."""
    count = itertools.count(1)

    async def handler(conn):
        await conn.read_request()
        if next(count) < 3:
            await conn.send(FAULTS[fault])
            await (conn.reset() if fault == "reset" else conn.close())
        else:
            await conn.send(reply(b"whole"))

    async with scripted(handler) as server, Client(retry=AT_ONCE) as client:
        if fault == "part of a head":
            with pytest.raises(RemoteProtocolError) as caught:
                await client.get(server.url("/"))
            assert 1 == caught.value.attempts, "what is no HTTP comes again"
            return
        response = await client.get(server.url("/"))

        assert (b"whole", 3) == (response.body, response.attempts)


async def test_the_error_of_the_last_attempt():
    async def handler(conn):
        await conn.read_request()
        await conn.send(FAULTS["part of a body"])

    async with scripted(handler) as server, Client(retry=AT_ONCE) as client:
        with pytest.raises(IncompleteBody) as caught:
            await client.get(server.url("/"))

        assert (4, 4) == (caught.value.attempts, len(server.requests))
        assert server.url("/") == str(caught.value.request.url)
        assert caught.value.elapsed > 0


async def test_silence():
    count = itertools.count(1)

    async def handler(conn):
        await conn.read_request()
        if next(count) == 1:
            await conn.wait_closed()
        await conn.send(reply(b"awake"))

    timeout = Timeout(read=0.1)
    async with scripted(handler) as server, Client(retry=AT_ONCE, timeout=timeout) as client:
        response = await client.get(server.url("/"))

        assert (b"awake", 2) == (response.body, response.attempts)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_what_will_be_the_same_again_is_not_repeated(answer):
    async with serving(answer) as server, Client(retry=AT_ONCE) as client:
        with pytest.raises(fastreq.FastreqError) as caught:
            await client.get(server.url("/"))

        assert (1, 1) == (caught.value.attempts, server.connections)


async def test_a_certificate_that_is_refused_is_refused_again(certs):
    async with serving(reply(), tls=certs.expired) as server:
        async with Client(verify=certs.ca_file, retry=AT_ONCE) as client:
            with pytest.raises(fastreq.TLSError) as caught:
                await client.get(server.url("/"))
        assert 1 == caught.value.attempts


# ---- how long


async def test_backoff_doubles(waits):
    retry = Retry(6, backoff=0.5, max_backoff=5, jitter=False)
    async with serving(BUSY) as server, Client(retry=retry) as client:
        await client.get(server.url("/"))

    assert [0.5, 1, 2, 4, 5, 5] == waits


async def test_backoff_with_full_jitter(waits, monkeypatch):
    """Any time up to what it would be, so that clients do not come in step."""
    asked = []
    monkeypatch.setattr(random, "uniform", lambda low, high: asked.append((low, high)) or high / 4)
    async with serving(BUSY) as server, Client(retry=Retry(3, backoff=1)) as client:
        await client.get(server.url("/"))

    # The pool's jitter of max_age is drawn from the same well.
    assert [(0.0, 1), (0.0, 2), (0.0, 4)] == [pair for pair in asked if pair[0] == 0]
    assert [0.25, 0.5, 1] == waits


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Busy"])
async def test_retry_after_in_seconds(waits, status):
    answers = busy("Retry-After: 7", status=status), reply()
    async with serving(*answers) as server, Client(retry=AT_ONCE) as client:
        assert 2 == (await client.get(server.url("/"))).attempts

    assert [7] == waits


@pytest.mark.parametrize("form", ["IMF-fixdate", "RFC 850", "asctime"])
async def test_57_retry_after_as_a_date(waits, form):
    """TRUST 57: each of the three forms."""
    fixdate = formatdate(time() + 20, usegmt=True)
    day, date, month, year, clock, _ = fixdate.replace(",", "").split()
    weekday = {"Mon": "Monday", "Tue": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday"}
    weekday |= {"Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday"}
    text = {
        "IMF-fixdate": fixdate,
        "RFC 850": f"{weekday[day]}, {date}-{month}-{year[2:]} {clock} GMT",
        "asctime": f"{day} {month} {int(date):2} {clock} {year}",
    }[form]
    answers = busy(f"Retry-After: {text}"), reply()
    async with serving(*answers) as server, Client(retry=AT_ONCE) as client:
        assert 2 == (await client.get(server.url("/"))).attempts

    assert 1 == len(waits)
    assert 18 < waits[0] <= 20


@pytest.mark.parametrize("value", ["61", "999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_retry_after_is_capped(waits, value):
    """More than 60 seconds are not waited: the answer is the caller's."""
    async with serving(busy(f"Retry-After: {value}")) as server, Client(retry=AT_ONCE) as client:
        response = await client.get(server.url("/"))

        assert (503, 1, []) == (response.status, response.attempts, waits)


@pytest.mark.parametrize("value", ["", "-1", "1.5", "soon", "1, 2", "0x10", "Mon, 99 Foo"])
async def test_retry_after_that_is_none(waits, value):
    async with (
        serving(busy(f"Retry-After: {value}"), reply()) as server,
        Client(retry=AT_ONCE) as client,
    ):
        assert 2 == (await client.get(server.url("/"))).attempts

    assert [] == waits


async def test_retry_after_may_be_left_out_of_account(waits):
    retry = Retry(1, backoff=0, respect_retry_after=False)
    async with serving(busy("Retry-After: 50"), reply()) as server, Client(retry=retry) as client:
        assert 2 == (await client.get(server.url("/"))).attempts

    assert [] == waits


async def test_there_is_no_retry_beyond_the_total(waits):
    """What would not be in time is not begun, nor waited for."""
    answers = busy("Retry-After: 30"), reply()
    async with serving(*answers) as server, Client(retry=AT_ONCE, timeout=5) as client:
        response = await client.get(server.url("/"))

        assert (503, 1) == (response.status, response.attempts)
        assert [] == waits


@pytest.mark.parametrize("fails", ["before it is connected", "unanswered"])
async def test_a_wait_in_line_is_no_part_of_the_total_of_a_retry(dns, fails):
    """The first try was in line for longer than `total`; then it failed in no time."""
    addresses = iter(["127.0.0.1", "127.0.0.2"])
    dns["site.test"] = lambda: [next(addresses) if fails != "unanswered" else "127.0.0.2"]
    answers = iter([] if fails == "before it is connected" else [None])

    async def handler(conn):
        raw = await conn.read_request()
        if b"/first" in raw:
            await asyncio.sleep(0.4)
        elif next(answers, b"") is None:
            await conn.reset()
        await conn.send(reply(b"", "Connection: close"))

    limits = Limits(max_connections=1)
    async with scripted(handler, host="127.0.0.2") as server:
        async with Client(limits=limits, retry=AT_ONCE) as client:
            first = asyncio.create_task(client.get(server.url("/first", host="127.0.0.2")))
            while not server.requests:
                await asyncio.sleep(0)
            response = await client.get(server.url("/", host="site.test"), timeout=0.3)
            assert (200, 2) == (response.status, response.attempts)
            await first


async def test_the_total_is_of_all_attempts():
    async def handler(conn):
        await conn.read_request()
        await conn.wait_closed()

    patient = Retry(1000, backoff=0, budget=None)
    timeout = Timeout(read=0.1, total=0.35)
    async with scripted(handler) as server, Client(retry=patient, timeout=timeout) as client:
        with pytest.raises(fastreq.TimeoutException) as caught:
            await client.get(server.url("/"))

        assert isinstance(caught.value, (ReadTimeout, fastreq.TotalTimeout))
        assert caught.value.attempts <= 4


async def test_cancelling_between_two_attempts():
    async with serving(busy("Retry-After: 20")) as server, Client(retry=AT_ONCE) as client:
        request = asyncio.create_task(client.get(server.url("/")))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

        assert 1 == len(server.requests)
        assert 0 == client.stats().total.leased


# ---- the budget


async def test_38_a_host_that_is_down_is_not_stormed():
    """TRUST 38: at most 20 % of recent requests are retries, and 10 in any case."""
    async with serving(BUSY) as server, Client(retry=AT_ONCE) as client:
        for _ in range(200):
            assert 503 == (await client.get(server.url("/"))).status

        assert 240 == len(server.requests)


@pytest.mark.parametrize(("budget", "expected"), [(0.5, 30), (0.0, 30), (None, 80)])
async def test_38_another_budget(budget, expected):
    retry = Retry(3, backoff=0, budget=budget)
    async with serving(BUSY) as server, Client(retry=retry) as client:
        for _ in range(20):
            await client.get(server.url("/"))

        assert expected == len(server.requests)


async def test_38_a_host_that_is_down_takes_no_retries_from_others():
    async with serving(BUSY) as down, serving(BUSY, reply()) as other:
        async with Client(retry=AT_ONCE) as client:
            for _ in range(20):
                await client.get(down.url("/"))
            assert 30 == len(down.requests)

            assert (200, 2) == await status_and_attempts(client, other.url("/"))


async def status_and_attempts(client, url):
    response = await client.get(url)
    return response.status, response.attempts


async def test_38_the_budget_is_of_all_that_is_under_way():
    async with serving(BUSY) as server, Client(retry=AT_ONCE) as client:
        await asyncio.gather(*(client.get(server.url("/")) for _ in range(100)))

        assert 120 == len(server.requests)


# ---- with the rest


async def test_a_stream_is_retried_before_it_is_handed_out():
    """Its head decides; what breaks later is the caller's to see."""
    count = itertools.count(1)

    async def handler(conn):
        await conn.read_request()
        if next(count) == 1:
            await conn.send(BUSY)
            await conn.read_request()
        await conn.send(FAULTS["part of a body"])

    async with scripted(handler) as server, Client(retry=AT_ONCE) as client:
        async with client.stream("GET", server.url("/")) as response:
            assert (200, 2) == (response.status, response.attempts)
            with pytest.raises(IncompleteBody):
                await response.aread()

        assert 2 == len(server.requests)


async def test_each_hop_has_its_own_attempts():
    moved = reply(b"", "Location: /there", status="302 Found")
    answers = [BUSY, moved, BUSY, BUSY, reply(b"there")]
    async with serving(*answers) as server, Client(retry=AT_ONCE) as client:
        response = await client.get(server.url("/"))

        assert (b"there", 3) == (response.body, response.attempts)
        assert [2] == [r.attempts for r in response.history]


async def test_cookies_that_are_set_by_a_refusal_are_sent_with_the_next_attempt():
    answers = busy("Set-Cookie: seen=1"), reply()
    async with serving(*answers) as server, Client(retry=AT_ONCE) as client:
        await client.get(server.url("/"))

        assert [None, "seen=1"] == [parse(raw).get("cookie") for raw in server.requests]


async def test_nginx_that_is_busy(nginx, waits):
    async with Client(retry=Retry(2, backoff=0)) as client:
        response = await client.get(nginx.url("/busy"))

        assert (503, 3) == (response.status, response.attempts)
    assert [1, 1] == waits
