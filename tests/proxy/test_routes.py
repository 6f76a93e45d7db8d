"""Which way requests go, and on whose connections (TRUST 1c, 1d)."""

import asyncio
import contextlib
import ssl

import pytest
from servers.proxies import relaying
from servers.scripted import reply, scripted, serving
from servers.secrets import Secret

from fastreq import Client, ProxyError, RemoteProtocolError
from fastreq.routing import Routes
from fastreq.url import URL

HELLO = reply(b"hello")


# ---- reuse (TRUST 1c)

VIA = [
    None,
    "http://p:1",
    "http://a:x@p:1",
    "http://b:x@p:1",
    "http://a:y@p:1",
    "http://p:2",
    "http://q:1",
    "https://p:1",
    "https://a:x@p:1",
    "socks5://p:1",
    "socks5h://p:1",
    "socks5://a:x@p:1",
]


def test_no_two_ways_are_one():
    """All that leads elsewhere, or is somebody else's, has another key."""
    contexts = [ssl.create_default_context(), ssl.create_default_context()]
    origins = ["http://h/", "https://h/", "http://i/", "https://i/", "https://h:1/", "https://p:1/"]
    routes = {}
    for proxy in VIA:
        for context in contexts:
            for origin in origins:
                route = Routes(context, None, False, proxy).of(URL(origin))
                routes.setdefault(route, []).append((proxy, contexts.index(context), origin))

    for ways in routes.values():
        # But for a proxy that is sent requests, which is one for all plain origins,
        # and TLS that there is not.
        assert 1 == len({proxy for proxy, _, _ in ways}), ways
        proxy = ways[0][0]
        if len(ways) > 1:
            assert all(origin.startswith("http:") for _, _, origin in ways), ways
        if proxy is None or proxy.startswith("socks"):
            assert 1 == len({origin for _, _, origin in ways}), ways
        if proxy is not None and proxy.startswith("https:"):
            assert 1 == len({context for _, context, _ in ways}), ways


def test_a_tunnel_to_the_proxy_itself_is_not_the_way_to_it():
    routes = Routes(ssl.create_default_context(), None, False, "https://p:1")

    assert routes.of(URL("https://p:1/")) != routes.of(URL("http://h/"))
    assert "https://p:1" == str(routes.of(URL("https://p:1/")))
    assert "proxy https://p:1" == str(routes.of(URL("http://h/")))
    assert "https://h through proxy https://p:1" == routes.of(URL("https://h/")).in_full


async def test_a_tunnel_serves_nobody_else(two_certs, monkeypatch, canary):
    """http:// and https:// through one proxy as two users, each over connections of its own."""
    kept = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"
    async with (
        serving(HELLO, tls=two_certs.origin) as secure,
        serving(kept) as plain,
        relaying({"origin.test:443": secure.port, "origin.test:80": plain.port}) as proxy,
    ):
        one, two = (Secret.of(canary, name, proxy.url()) for name in ("one", "two"))
        monkeypatch.setenv("HTTP_PROXY", proxy.url(user=one.user, password=one.password))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url(user=two.user, password=two.password))
        async with Client(verify=two_certs.ca_file) as client:
            for scheme in ("http", "https", "http", "https"):
                await client.get(f"{scheme}://origin.test/")
            assert 2 == client.stats().total.opened
    for head in proxy.heads:
        tunnel = head.startswith(b"CONNECT")
        assert two.is_in(head) == tunnel
        assert one.is_in(head) != tunnel
    canary.check(secure, plain, proxy)


# ---- the environment


async def test_it_is_read_when_the_client_is_made(monkeypatch):
    async with serving(HELLO) as server, relaying() as proxy:
        before = Client()
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        with_proxy = Client()
        distrustful = Client(trust_env=False)
        monkeypatch.setenv("NO_PROXY", "*")
        exempt = Client()
        monkeypatch.delenv("HTTP_PROXY")
        seen = []
        for client in (before, with_proxy, distrustful, exempt):
            async with client:
                await client.get(server.url())
            seen.append(len(proxy.heads))

    assert [0, 1, 1, 1] == seen


async def test_what_is_given_beats_the_environment(monkeypatch):
    async with serving(HELLO) as server, relaying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "*")
        async with Client(proxy=proxy.url()) as client:
            await client.get(server.url())

    assert 1 == len(proxy.heads)


async def test_a_wrong_proxy_in_the_environment(monkeypatch):
    """It is an error of the requests that would use it, and says where it comes from."""
    monkeypatch.setenv("HTTPS_PROXY", "socks4://user:secret@127.0.0.1:1")
    async with serving(HELLO) as server, Client() as client:
        assert 200 == (await client.get(server.url())).status
        with pytest.raises(
            ProxyError, match=r"^HTTPS_PROXY in the environment: 'socks4'"
        ) as caught:
            await client.get("https://origin.test/")
        assert "secret" not in str(caught.value)
        assert "https://origin.test/" == str(caught.value.request.url)


def test_a_wrong_proxy_that_is_given():
    for proxy in ("socks4://h", "http://user:secret@h/x", {"http": "h"}, ""):
        with pytest.raises(ValueError, match=r"proxy|host") as caught:
            Client(proxy=proxy)
        assert "secret" not in str(caught.value)
    with pytest.raises(TypeError, match="proxies=; fastreq spells it proxy="):
        Client(proxies="http://h")


async def test_a_proxy_for_each_hop(two_certs, monkeypatch, canary):
    """Redirects: the proxy and who we are to it are chosen anew (TRUST 1d, curl CVE-2026-6253)."""
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        last = await enter(serving(HELLO))
        to_last = reply(b"", f"Location: http://127.0.0.1:{last.port}/", status="302 Found")
        second = await enter(serving(to_last, tls=two_certs.origin))
        to_second = reply(b"", "Location: https://origin.test/", status="307 Temporary Redirect")
        first = await enter(serving(to_second))
        for_plain = await enter(relaying({"first.test:80": first.port}))
        for_tls = await enter(relaying({"origin.test:443": second.port}))
        one = Secret.of(canary, "one", for_plain.url())
        two = Secret.of(canary, "two", for_tls.url())
        of_origin = Secret.of(canary, "the origin's", "http://first.test", for_plain.url())
        monkeypatch.setenv("HTTP_PROXY", for_plain.url(user=one.user, password=one.password))
        monkeypatch.setenv("HTTPS_PROXY", for_tls.url(user=two.user, password=two.password))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with Client(verify=two_certs.ca_file) as client:
            with pytest.raises(RemoteProtocolError, match="from https to http") as caught:
                await client.get("http://first.test/", auth=of_origin.pair)
            assert b"hello" == (await client.get(last.url())).body
        canary.check(first, second, last, for_plain, for_tls)
    assert "https://origin.test/" == str(caught.value.request.url)
    assert (1, 1) == (len(for_plain.heads), len(for_tls.heads))


async def test_what_was_said_by_hand_stays_with_the_first_hop(canary):
    async with serving(HELLO) as second:
        there = reply(b"", f"Location: {second.url('/b')}", status="302 Found")
        async with (
            serving(there) as first,
            relaying() as proxy,
            Client(proxy=proxy.url()) as client,
        ):
            by_hand = canary.secret("by hand", proxy.url())
            fields = {"Proxy-Authorization": f"Bearer {by_hand}"}
            assert 200 == (await client.get(first.url("/a"), headers=fields)).status
            canary.check(first, second, proxy)
    assert [True, False] == [by_hand.encode() in head for head in proxy.heads]


@pytest.mark.parametrize("way", ["tunnel", "tls in tls", "socks"])
async def test_upgrade(way, certs, dante):
    async def echo(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhi")
        while data := await conn.reader.read(100):
            await conn.send(data.upper())

    class Speaker(asyncio.Protocol):
        def __init__(self):
            self.received = asyncio.get_running_loop().create_future()

        def data_received(self, data):
            self.received.set_result(data)

    tls = certs.good if way == "tls in tls" else None
    async with scripted(echo, tls=certs.good) as server, relaying(tls=tls) as proxy:
        url = dante.url() if way == "socks" else proxy.url()
        async with Client(proxy=url, verify=certs.ca_file) as client:
            upgraded = await client.upgrade(server.url(), "echo")
            speaker = Speaker()
            upgraded.transport.set_protocol(speaker)
            upgraded.transport.resume_reading()
            upgraded.transport.write(b"hello")
            assert (b"hi", b"HELLO") == (upgraded.received, await speaker.received)
            upgraded.transport.abort()
