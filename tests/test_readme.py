"""The seed's README, with our name: each example works as printed, against a local TLS server."""

import asyncio
import sys

import pytest
from programs import python
from servers.scripted import Connection, parse_fields, reply, scripted, serving

import fastreq
import fastreq.http
from fastreq.testing.server import pattern

HELLO = reply(b"hello", "Content-Type: text/plain")


@pytest.fixture(scope="module")
def server():
    """The bundled server, over TLS, in a process of its own."""
    pytest.importorskip("trustme", reason="trustme makes the certificate")
    from fastreq.testing import Server

    with Server(tls=True) as running:
        yield running


def test_a_client_at_module_level(server):
    """Made without a loop, used by two runs of the stdlib's loop, never closed: not a word."""
    done = python(
        """
        import asyncio, sys, fastreq
        cl = fastreq.Client(verify=sys.argv[2])
        for _ in range(2):
            resp = asyncio.run(cl.get(sys.argv[1]))
            print(resp, resp.status, repr(resp.status_message), type(resp.body) is bytes)
        """,
        f"{server.tls_url}/hello",
        server.ca_file,
    )

    assert "<Response 200 OK> 200 'OK' True\n" * 2 == done.stdout
    assert "" == done.stderr
    assert 0 == done.returncode


def test_under_two_kinds_of_loops(server):
    """The same client under uvloop, asyncio and uvloop again."""
    done = python(
        """
        import asyncio, sys, fastreq
        cl = fastreq.Client(verify=sys.argv[2])
        for run in (fastreq.run, asyncio.run, fastreq.run):
            print(run(cl.get(sys.argv[1])))
        """,
        f"{server.tls_url}/hello",
        server.ca_file,
    )

    assert ("<Response 200 OK>\n" * 3, "") == (done.stdout, done.stderr)


def test_install(server):
    """`fastreq.install()` followed by `asyncio.run()` runs on uvloop, where policies are."""
    pytest.importorskip("uvloop", reason="there is nothing to install")
    if sys.version_info >= (3, 14):
        pytest.skip("policies warn from Python 3.14 on")
    done = python(
        """
        import asyncio, sys, fastreq
        async def main():
            async with fastreq.Client(verify=sys.argv[2]) as cl:
                resp = await cl.get(sys.argv[1])
            print(resp, type(asyncio.get_running_loop()).__module__)
        assert fastreq.install()
        asyncio.run(main())
        """,
        f"{server.tls_url}/hello",
        server.ca_file,
    )

    assert ("<Response 200 OK> uvloop\n", "") == (done.stdout, done.stderr)


def test_a_client_that_nobody_closes():
    """It neither hangs nor warns, beyond one ResourceWarning, when it goes while its loop runs."""
    done = python(
        """
        import asyncio, gc, sys, warnings, fastreq
        from fastreq.testing import Server
        async def main(url):
            await fastreq.Client().get(url)
            gc.collect()
            await asyncio.sleep(0)
        with Server() as server, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fastreq.run(main(server.url + "/hello"))
        print([w.category.__name__ for w in caught])
        """
    )

    assert ("['ResourceWarning']\n", "") == (done.stdout, done.stderr)


async def test_what_is_printed(certs):
    """The response, the request with its URL as given, the headers in any case, the body."""
    async with serving(HELLO, tls=certs.good) as server:
        async with fastreq.Client(verify=certs.ca_file) as cl:
            resp = await cl.get(server.url(""))

    assert "<Response 200 OK>" == repr(resp)
    assert (200, "OK") == (resp.status, resp.status_message)
    assert f"<Request GET {server.url('')}>" == repr(resp.request)
    assert "text/plain" == resp.headers["CONTENT-type"]
    assert {"Content-Type": "text/plain", "Content-Length": "5"} == dict(resp.headers)
    assert bytes is type(resp.body)
    assert b"hello" == resp.body == resp.content


async def test_the_module_http():
    """`fastreq.http.Client` is the same class."""
    assert fastreq.http.Client is fastreq.Client


async def test_a_hundred_tasks(certs):
    """The default limits raise no pool timeout, connections are kept, and the order too."""

    async def answer(conn: Connection) -> None:
        while True:
            request = await conn.read_request()
            await conn.send(reply(request.split()[1]))

    async with scripted(answer, tls=certs.good) as server:
        async with fastreq.http.Client(verify=certs.ca_file) as cl:
            for _ in range(2):
                urls = [server.url(f"/{i}") for i in range(100)]
                tasks = [asyncio.create_task(cl.get(url)) for url in urls]
                responses = await asyncio.gather(*tasks)

                assert [f"/{i}".encode() for i in range(100)] == [r.body for r in responses]
            assert 100 == server.connections == cl.stats().total.opened


@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
async def test_streaming_into_a_file(certs, tmp_path, framing):
    """`async for chunk in cl.get(url)` with each way in which a body can end."""
    body = pattern(0, 300_000)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:77_777], body[77_777:]))
    response = {
        "length": reply(body),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        "until close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body,
    }[framing]
    async with serving(response, tls=certs.good) as server:
        async with fastreq.StreamClient(verify=certs.ca_file) as cl:
            with open(tmp_path / "file", "wb") as file:
                async for chunk in cl.get(server.url()):
                    assert bytes is type(chunk)
                    file.write(chunk)

    assert body == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("tls", [False, True])
async def test_leaving_the_loop_early(certs, tls):
    """It closes the connection, at once."""
    closed = asyncio.Event()

    async def endless(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + bytes(1000))
        await conn.wait_closed()
        closed.set()

    async with scripted(endless, tls=certs.good if tls else None) as server:
        async with fastreq.StreamClient(verify=certs.ca_file) as cl:
            async for _ in cl.get(server.url()):
                break
            await closed.wait()

            assert 0 == cl.stats().total.open


def test_a_gibibyte_in_flat_memory(server):
    """Streaming 1 GiB grows the process by less than 4 MiB."""
    done = python(
        """
        import fastreq, sys
        from fastreq.testing.server import pattern

        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096

        async def main(url):
            async with fastreq.StreamClient() as cl:
                async for chunk in cl.get(url + "/bytes/10000000"):
                    pass
                before, size, most = resident(), 0, 0
                async for chunk in cl.get(url + "/bytes/1073741824"):
                    size += len(chunk)
                    most = max(most, resident())
            print(size, most - before < 4 * 2**20)

        fastreq.run(main(sys.argv[1]))
        """,
        server.url,
    )

    assert ("1073741824 True\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("which", "words"),
    [
        ("wrong_name", "for another name"),
        ("expired", "expired"),
        ("self_signed", "self-signed"),
        ("unknown_ca", "signed by a CA"),
    ],
)
async def test_certificates_that_are_refused(certs, which, words):
    """The text says which kind of wrong it is, and nothing is sent."""
    async with serving(HELLO, tls=getattr(certs, which)) as server:
        async with fastreq.Client(verify=certs.ca_file) as cl:
            with pytest.raises(fastreq.TLSError, match=words):
                await cl.get(server.url())

        assert [] == server.requests


@pytest.mark.parametrize("where", ["client", "call"])
async def test_timeouts_of_a_client_and_of_a_call(where):
    """Seconds in all, given to either."""

    async def silent(conn: Connection) -> None:
        await conn.read_request()
        await conn.wait_closed()

    async with scripted(silent) as server:
        async with fastreq.Client(**({"timeout": 0.05} if where == "client" else {})) as cl:
            with pytest.raises(fastreq.TotalTimeout, match=r"Timeout\(total="):
                await cl.get(server.url(), **({"timeout": 0.05} if where == "call" else {}))


async def test_keep_alive_and_decoding_are_on():
    """Accept-Encoding is sent, and what comes is decoded; one connection carries all."""
    import gzip

    packed = reply(gzip.compress(b"hello"), "Content-Encoding: GZip")
    async with serving(packed) as server:
        async with fastreq.Client() as cl:
            for _ in range(3):
                assert b"hello" == (await cl.get(server.url())).body

        assert 1 == server.connections
        assert "gzip, deflate" in parse_fields(server.requests[0])["accept-encoding"]
