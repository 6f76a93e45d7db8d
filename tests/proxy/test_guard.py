"""The guard and proxies: no address is dialled for us that was not looked at."""

import socket

import pytest
from servers.proxies import relaying
from servers.scripted import reply, scripted, serving

from fastreq import BlockedAddress, Client
from fastreq.resolve import Address, Resolver

HELLO = reply(b"hello")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
@pytest.mark.parametrize("target", ["http", "https"])
async def test_the_guard_sees_no_name_that_a_proxy_looks_up(scheme, target):
    async with scripted(lambda conn: conn.wait_closed()) as proxy:
        url = f"{scheme}://127.0.0.1:{proxy.port}"
        for allow, host in [
            ("public", "example.com"),
            (lambda _: True, "example.com"),
            ("public", "127.0.0.1"),
            ("public", "10.0.0.1"),
            ("public", "[::1]"),
            ("public", "[::ffff:10.0.0.1]"),
            (lambda _: False, "192.0.2.1"),
        ]:
            async with Client(proxy=url, allow=allow) as client:
                with pytest.raises(BlockedAddress, match="allow= does not ") as caught:
                    await client.get(f"{target}://{host}/")
            is_name = host == "example.com"
            assert is_name == (f"a name that proxy {url} looks up" in str(caught.value))
        assert 0 == proxy.connections


@pytest.mark.parametrize("layer", ["forward", "tunnel", "socks5", "socks5h"])
async def test_an_address_that_passes(layer, certs, dante):
    """The origin's is looked at, and the proxy's is not."""
    seen = []
    async with (
        serving(HELLO, tls=certs.good if layer == "tunnel" else None) as server,
        relaying() as proxy,
    ):
        url = dante.url(scheme=layer) if layer.startswith("socks") else proxy.url()
        url = url.replace("127.0.0.1", "localhost")
        options = {"verify": certs.ca_file, "allow": lambda a: seen.append(str(a)) or True}
        async with Client(proxy=url, **options) as client:
            assert 200 == (await client.get(server.url())).status

    assert ["127.0.0.1"] == seen


async def test_the_guard_sees_what_we_look_up(dante, monkeypatch):
    """socks5: the address that was checked is the one that the proxy is asked for."""
    answers = {"good.test": ["127.0.0.2", "127.0.0.1"], "bad.test": ["127.0.0.2"]}

    async def resolve(self, host, port):
        return [Address(socket.AF_INET, ip) for ip in answers[host]]

    monkeypatch.setattr(Resolver, "resolve", resolve)
    async with (
        serving(HELLO) as server,
        Client(proxy=dante.url(), allow=lambda a: str(a) == "127.0.0.1") as client,
    ):
        response = await client.get(f"http://good.test:{server.port}/")
        assert b"hello" == response.body
        with pytest.raises(BlockedAddress, match=r"bad.test is 127.0.0.2"):
            await client.get(f"http://bad.test:{server.port}/")


async def test_the_guard_and_a_redirect():
    away = reply(b"", "Location: http://169.254.169.254/", status="302 Found")
    async with serving(away) as server, relaying() as proxy:
        allow = lambda address: address.is_loopback  # noqa: E731
        async with Client(proxy=proxy.url(), allow=allow) as client:
            with pytest.raises(BlockedAddress, match=r"169.254.169.254 is an address"):
                await client.get(server.url())
    assert 1 == len(proxy.heads)
