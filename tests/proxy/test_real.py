"""The proxies of Debian, each with plain origins and with TLS (TRUST C17).

What a proxy is to know of us must not reach an origin.
"""

import asyncio
import re
import secrets

import pytest
from servers.proxies import PASSWORD, USER
from servers.scripted import reply, scripted, serving
from servers.secrets import Secret, heard

from fastreq import (
    Client,
    ConnectError,
    ProxyError,
)
from fastreq.resolve import Resolver

HELLO = reply(b"hello")


REAL = ["tinyproxy", "locked_tinyproxy", "squid", "squid-tls", "dante", "dante-h", "microsocks"]


@pytest.fixture(params=REAL)
def real(request, canary):
    """A proxy of Debian: its URL with credentials, and the secret in it."""
    fixture, _, variant = request.param.partition("-")
    proxy = request.getfixturevalue(fixture)
    if fixture in ("tinyproxy", "dante"):
        return proxy.url(scheme="socks5h" if variant == "h" else ""), None
    secret = Secret(USER, PASSWORD)
    if fixture == "squid":  # which knows everybody
        user = canary.secret("who we are to the proxy")
        secret = Secret(user, proxy.password(user))
    scheme = "https" if variant == "tls" else ""
    return proxy.url(scheme=scheme, user=secret.user, password=secret.password), secret


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_real_proxies(real, tls, certs, canary):
    """Bodies both ways, connections used again, and each secret where it belongs."""
    url, of_proxy = real
    big = secrets.token_bytes(200_000)
    async with (
        serving(HELLO, reply(big), tls=certs.good if tls else None) as server,
        Client(proxy=url, verify=certs.ca_file) as client,
    ):
        of_origin = Secret.of(canary, "the origin's", server.url(""))
        first = await client.get(server.url("/a?b"), auth=of_origin.pair)
        await asyncio.sleep(0.01)  # tinyproxy closes after each response, and does not say so
        second = await client.post(server.url("/c"), content=big)

    assert (200, b"hello") == (first.status, first.body)
    assert second.body in (big, b"hello")  # on a new connection the server begins anew
    assert server.requests[0].startswith(b"GET /a?b HTTP/1.1\r\n")
    assert server.requests[1].startswith(b"POST /c HTTP/1.1\r\n")
    assert server.requests[1].endswith(big)
    canary.check(server)
    assert b"proxy-auth" not in heard(server).lower()
    if of_proxy is not None:
        assert not of_proxy.is_in(heard(server))
        assert not of_proxy.is_in([client, first, second, first.request])


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_upgrades_go_through_a_tunnel(real, tls, certs):
    """Also to http://, for no proxy passes on an Upgrade (RFC 6455, section 4.1)."""

    async def echo_once(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        await conn.send(await conn.reader.readexactly(5))
        await conn.wait_closed()

    url, of_proxy = real
    async with (
        scripted(echo_once, tls=certs.good if tls else None) as server,
        Client(proxy=url, verify=certs.ca_file) as client,
    ):
        response, transport, received = await client.upgrade(server.url("/a?b"), "echo")
        receiver = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(receiver)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()
        transport.write(b"hello")

        assert b"hello" == received + await receiver.readexactly(5 - len(received))
        assert 101 == response.status
        assert server.requests[0].startswith(b"GET /a?b HTTP/1.1\r\n")
        if of_proxy is not None:
            assert not of_proxy.is_in(heard(server))
        transport.abort()


async def test_tunnels_are_used_again(squid, certs):
    async with (
        serving(HELLO, tls=certs.good) as server,
        Client(proxy=squid.url(user="b", password="secret-of-b"), verify=certs.ca_file) as client,
    ):
        for _ in range(5):
            await client.get(server.url())

        stats = client.stats()[f"https://127.0.0.1:{server.port}"]
        assert (1, 4) == (stats.opened, stats.reused)
    assert 1 == server.connections


async def test_no_origin_gets_what_is_for_another(locked_tinyproxy):
    """tinyproxy 1.11 never says that it closes, and where the first origin stays, it sends on to
    it whatever else comes on the connection; so who does not say keep-alive is used once."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
    proxy = locked_tinyproxy.url(user=USER, password=PASSWORD)
    async with (
        serving(chunked) as one,
        serving(reply(b"two")) as two,
        Client(proxy=proxy) as client,
    ):
        first = await client.get(one.url("/"))
        second = await client.get(two.url("/"), headers={"X-Api-Key": "the key of two"})

    assert (b"one", b"two") == (first.body, second.body)
    assert [1, 1] == [len(one.requests), len(two.requests)]
    assert b"the key of two" not in heard(one)
    assert b"proxy-auth" not in heard(one).lower()


async def test_one_forwarding_connection_serves_all_plain_origins(squid):
    proxy = squid.url(user="c", password="secret-of-c")
    async with serving(HELLO) as one, serving(HELLO) as two, Client(proxy=proxy) as client:
        for server in (one, two, one):
            await client.get(server.url())

        stats = client.stats()
        assert [f"proxy http://127.0.0.1:{squid.port}"] == list(stats)
        assert (1, 2) == (stats.total.opened, stats.total.reused)
    assert (2, 1) == (len(one.requests), len(two.requests))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", ["locked_tinyproxy", "squid", "squid-tls"])
async def test_wrong_credentials(name, tls, certs, request):
    """A refusal to forward is a response as any other; one to open a tunnel is an error."""
    name, _, variant = name.partition("-")
    proxy = request.getfixturevalue(name)
    for secret in (None, Secret()):
        user = {"user": secret.user, "password": secret.password} if secret else {}
        url = proxy.url(scheme="https" if variant else "", **user)
        async with (
            serving(HELLO, tls=certs.good if tls else None) as server,
            Client(proxy=url, verify=certs.ca_file) as client,
        ):
            if tls:
                with pytest.raises(ProxyError, match=r"with 40[17]") as caught:
                    await client.get(server.url())
                assert caught.value.status in (401, 407)  # tinyproxy says 401 to some
                assert f"127.0.0.1:{proxy.tls_port if variant else proxy.port}" in str(caught.value)
                assert secret is None or not secret.is_in(caught.value)
            else:
                assert (await client.get(server.url())).status in (401, 407)
        assert 0 == server.connections


async def test_wrong_password_of_socks(microsocks):
    secret = Secret()
    async with serving(HELLO) as server:
        for user in ({}, {"user": secret.user, "password": secret.password}):
            async with Client(proxy=microsocks.url(**user)) as client:
                with pytest.raises(ProxyError) as caught:
                    await client.get(server.url())
            assert f"proxy socks5://127.0.0.1:{microsocks.port} " in str(caught.value)
            assert not secret.is_in(caught.value)
        assert 0 == server.connections


async def test_forbidden_places(dante, squid, certs):
    """127.0.0.66, by the rules of both."""
    async with Client(proxy=dante.url()) as client:
        with pytest.raises(ProxyError, match="its rules do not let us go there"):
            await client.get("http://127.0.0.66/")
    async with Client(proxy=squid.url(user="a", password="secret-of-a")) as client:
        with pytest.raises(ProxyError, match=r"with 403 .*lets nobody, or not you") as caught:
            await client.get("https://127.0.0.66/")
        assert 403 == caught.value.status
        assert 403 == (await client.get("http://127.0.0.66/")).status


async def test_nobody_listens(real, unused_port, certs):
    """What the origin's machine does is told by the proxy, as far as it knows."""
    url, _ = real
    async with Client(proxy=url, verify=certs.ca_file) as client:
        with pytest.raises((ProxyError, ConnectError)) as caught:
            await client.get(f"https://127.0.0.1:{unused_port}/")
    assert "proxy" == caught.value.phase
    assert re.search(r"^proxy \w+://127.0.0.1:\d+ ", str(caught.value))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_who_looks_up_the_name(scheme, dante, certs, monkeypatch):
    asked = []
    resolve = Resolver.resolve
    monkeypatch.setattr(
        Resolver,
        "resolve",
        lambda self, host, port: asked.append(host) or resolve(self, host, port),
    )
    async with (
        serving(HELLO, tls=certs.good) as server,
        Client(proxy=dante.url(scheme=scheme), verify=certs.ca_file) as client,
    ):
        await client.get(server.url(host="localhost"))

    assert ([] if scheme == "socks5h" else ["localhost"]) == asked


async def pieces(body):
    for start in range(0, len(body), 100_000):
        yield bytes(body[start : start + 100_000])


@pytest.mark.parametrize("proxied", ["squid-tls", "squid", "microsocks"])
async def test_large_bodies(proxied, squid, microsocks, nginx):
    """10 MiB, through up to two layers of TLS."""
    urls = {
        "squid": squid.url(user="d", password="secret-of-d"),
        "squid-tls": squid.url(scheme="https", user="d", password="secret-of-d"),
        "microsocks": microsocks.url(user=USER, password=PASSWORD),
    }
    async with Client(proxy=urls[proxied], verify=nginx.ca_file) as client:
        for tls in (True, False):
            response = await client.get(nginx.url("/10m", tls=tls))
            assert nginx.files["/10m"] == response.body

            received = bytearray()
            async with client.stream("GET", nginx.url("/10m", tls=tls)) as response:
                async for chunk in response.iter_bytes():
                    received += chunk
            assert nginx.files["/10m"] == received

            path = f"/dav/{proxied}-{tls}-{secrets.token_hex(4)}"
            await client.put(nginx.url(path, tls=tls), content=pieces(received))  # in chunks
            assert received == (await client.get(nginx.url(path, tls=tls))).body


async def test_many_at_once(squid, dante, certs):
    """Through two proxies and TLS; each gets its own answer."""

    async def echo(conn):
        while True:
            request = await conn.read_request()
            await conn.send(reply(request.split(b" ")[1]))

    urls = [squid.url(scheme="https", user="e", password="secret-of-e"), dante.url()]
    async with scripted(echo, tls=certs.good) as server:
        for url in urls:
            async with Client(proxy=url, verify=certs.ca_file) as client:
                paths = [f"/{n}" for n in range(200)]
                responses = await asyncio.gather(*(client.get(server.url(path)) for path in paths))
                assert [path.encode() for path in paths] == [r.body for r in responses]
