"""The guard: the address that is checked is the one that is dialled (issue 3, 9).

Which addresses are public is tested in tests/policies/test_guard.py; here nothing may reach a
server that it must not reach.
"""

import asyncio
import ipaddress

import pytest
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import BlockedAddress, Client, ConnectError, Limits

REDIRECTS = [301, 302, 303, 307, 308]


def only(*addresses):
    """A guard that lets through these alone."""
    allowed = {ipaddress.ip_address(address) for address in addresses}
    return lambda address: address in allowed


class Somewhere:
    """A server on every address of this machine, which notes by which it was reached."""

    def __init__(self):
        self.reached_by = []

    async def handle(self, conn):
        self.reached_by.append(conn.writer.get_extra_info("sockname")[0])
        while True:
            await conn.read_request()
            await conn.send(reply(b"reached"))


# ---- allow="public"

NOT_PUBLIC = """
    127.0.0.1 127.9.9.9 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1
    192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    [::] [::1] [::ffff:127.0.0.1] [::ffff:8.8.8.8] [::127.0.0.1] [64:ff9b::7f00:1]
    [64:ff9b:1::1] [2002:7f00:1::] [2001:0:1::1] [fe80::1] [fc00::1] [fd00:ec2::254] [ff02::1]
    [2001:db8::1] [100::1] [5f00::1] [4000::1]
""".split()


async def test_addresses_that_are_not_public():
    """Private, loopback, link-local, multicast, mapped, NAT64, and what nobody has yet."""
    async with Client(allow="public", timeout=2) as client:
        for host in NOT_PUBLIC:
            with pytest.raises(BlockedAddress, match="which allow= does not let through") as caught:
                await client.get(f"http://{host}:1/")
            assert isinstance(caught.value, ConnectError)
            assert f"http://{host}:1/" == caught.value.request.url.given


async def test_names_of_addresses_that_are_not_public(dns):
    """After DNS, whatever the name looks like."""
    async with Client(allow="public", timeout=2) as client:
        for address in NOT_PUBLIC:
            dns["public.example"] = address.strip("[]")
            with pytest.raises(BlockedAddress, match=r"public\.example is "):
                await client.get("http://public.example:1/")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_nothing_reaches_a_server_of_this_machine(wire, host):
    async with serving(reply(), tls=wire.tls) as server, wire.client(allow="public") as client:
        for method in ("GET", "POST", "HEAD"):
            with pytest.raises(BlockedAddress):
                await client.request(method, server.url("/", host=host))
        with pytest.raises(BlockedAddress):
            async with client.stream("GET", server.url("/", host=host)):
                pass

        assert 0 == server.connections
        assert 0 == client.stats().total.open


async def test_a_unix_socket_is_no_public_address(tmp_path):
    async def handler(conn):
        pytest.fail("reached")

    async with scripted(handler, path=tmp_path / "s.sock") as server:
        async with Client(allow="public") as client:
            with pytest.raises(BlockedAddress):
                await client.get(server.url("/"))
        assert 0 == server.connections


async def test_a_blocked_address_is_not_tried_again():
    async with Client(allow="public", retry=3) as client:
        with pytest.raises(BlockedAddress) as caught:
            await client.get("http://127.0.0.1:1/")
    assert 1 == caught.value.attempts


# ---- a function


async def test_a_function_judges_addresses():
    """It is given an ipaddress, and its answer counts."""
    asked = []

    def allow(address):
        asked.append(address)
        return address.is_loopback

    async with serving(reply(b"reached")) as server, Client(allow=allow) as client:
        assert b"reached" == (await client.get(server.url("/"))).body
        with pytest.raises(BlockedAddress):
            await client.get("http://192.0.2.1:1/")

    assert [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("192.0.2.1")] == asked


async def test_a_function_is_not_fooled_by_ipv6(dns):
    """An IPv4 address inside an IPv6 one is judged as what is dialled."""
    place = Somewhere()
    block = ipaddress.ip_network("127.0.0.0/8")
    dns["site.test"] = "::ffff:127.0.0.1"
    async with scripted(place.handle) as server:
        async with Client(allow=lambda address: address not in block) as client:
            for host in ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "site.test"):
                with pytest.raises(BlockedAddress):
                    await client.get(server.url("/", host=host))
        async with Client(allow=lambda address: address in block) as client:
            response = await client.get(server.url("/", host="[::ffff:127.0.0.1]"))

        assert b"reached" == response.body
        assert ["127.0.0.1"] == place.reached_by


async def test_a_function_that_would_have_to_be_awaited_lets_nothing_through():
    """It is refused when the client is made; and where only its answer tells, then."""

    async def allow(address):
        return False

    with pytest.raises(TypeError, match="is not awaited"):
        Client(allow=allow)
    async with serving(reply()) as server, Client(allow=lambda address: allow(address)) as client:
        with pytest.raises(TypeError, match="expected True or False"):
            await client.get(server.url("/"))

        assert 0 == server.connections
        assert 0 == client.stats().total.leased


async def test_of_several_addresses_only_those_that_may_be_are_dialled(dns):
    """The others are left out of the race, and need not answer."""
    place = Somewhere()
    dns["site.test"] = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"]
    async with scripted(place.handle, host="0.0.0.0") as server:
        async with Client(allow=only("127.0.0.4")) as client:
            response = await client.get(server.url("/", host="site.test"))

        assert ("127.0.0.4", server.port) == response.remote_address
    assert ["127.0.0.4"] == place.reached_by


async def test_a_function_that_fails():
    def allow(address):
        raise RuntimeError("no idea")

    async with serving(reply()) as server, Client(allow=allow) as client:
        with pytest.raises(RuntimeError, match="no idea"):
            await client.get(server.url("/"))
        assert 0 == server.connections


@pytest.mark.parametrize("allow", ["private", True, 5, ["10.0.0.0/8"]])
def test_a_guard_that_is_none(allow):
    with pytest.raises(TypeError, match="allow="):
        Client(allow=allow)


# ---- redirects


@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "inside.test", "[::ffff:7f00:1]"])
async def test_a_redirect_leads_nowhere_that_is_not_allowed(dns, status, host):
    """Each hop is checked, as the first was."""
    dns["outside.test"], dns["inside.test"] = "127.0.0.2", "127.0.0.1"
    async with serving(reply(b"secret")) as inside:
        moved = f"Location: {inside.url('/', host=host)}"
        async with (
            scripted(
                answering(reply(b"", moved, status=f"{status} X")), host="127.0.0.2"
            ) as outside,
            Client(allow=only("127.0.0.2")) as client,
        ):
            with pytest.raises(BlockedAddress):
                await client.get(outside.url("/", host="outside.test"))
        assert (1, 0) == (outside.connections, inside.connections)


def answering(answer):
    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(answer)

    return handler


# ---- DNS that changes its answer


async def test_rebinding_gains_nothing(dns):
    """A name that is asked for once is dialled as it was answered: there is no second look-up."""
    answers = iter([["127.0.0.2"], ["127.0.0.3"], ["127.0.0.3"]])
    asked, place = [], Somewhere()

    def answer():
        asked.append(1)
        return next(answers)

    dns["rebinding.test"] = answer
    async with scripted(place.handle, host="0.0.0.0") as server:
        limits = Limits(keepalive_expiry=0)  # so that each request dials
        async with Client(allow=only("127.0.0.2"), limits=limits) as client:
            url = server.url("/", host="rebinding.test")
            assert b"reached" == (await client.get(url)).body
            assert 1 == len(asked)
            with pytest.raises(BlockedAddress, match=r"127\.0\.0\.3"):
                await client.get(url)
            assert 2 == len(asked)

    assert ["127.0.0.2"] == place.reached_by


async def test_rebinding_between_a_redirect_and_its_target(dns):
    """The same name, twice in one call."""
    answers = iter([["127.0.0.2"], ["127.0.0.1"]])
    dns["rebinding.test"] = lambda: next(answers)
    hit = []

    async def inside(conn):
        hit.append(await conn.read_request())
        await conn.send(reply(b"secret"))

    async with scripted(inside) as server:
        moved = f"Location: {server.url('/', host='rebinding.test')}"
        handler = answering(reply(b"", moved, status="302 Found"))
        async with (
            scripted(handler, host="127.0.0.2") as outside,
            Client(allow=only("127.0.0.2")) as client,
        ):
            with pytest.raises(BlockedAddress):
                await client.get(outside.url("/", host="rebinding.test"))
    assert [] == hit


async def test_a_kept_connection_goes_where_it_went(dns):
    """Its address was allowed when it was dialled; the name may mean another by now."""
    answers = iter([["127.0.0.2"], ["127.0.0.3"]])
    dns["site.test"] = lambda: next(answers)
    place = Somewhere()
    async with (
        scripted(place.handle, host="0.0.0.0") as server,
        Client(allow=only("127.0.0.2")) as client,
    ):
        for _ in range(3):
            response = await client.get(server.url("/", host="site.test"))
            assert "127.0.0.2" == response.remote_address[0]
    assert ["127.0.0.2"] == place.reached_by


async def test_an_answer_with_good_and_bad_addresses_falls_back_to_none_that_is_bad(dns):
    """Where the good one does not listen, the bad one is not tried instead."""
    place = Somewhere()
    dns["mixed.test"] = ["127.0.0.2", "127.0.0.1"]
    async with (
        scripted(place.handle, host="127.0.0.1") as server,
        Client(allow=only("127.0.0.2")) as client,
    ):
        with pytest.raises(ConnectError) as caught:
            await client.get(server.url("/", host="mixed.test"))
    assert not isinstance(caught.value, BlockedAddress)
    assert [] == place.reached_by


# ---- through the rest of the client


async def test_events_downloads_and_many_are_guarded_too(tmp_path):
    async with serving(reply()) as server, Client(allow="public") as client:
        with pytest.raises(BlockedAddress):
            await client.download(server.url("/"), tmp_path / "file")
        with pytest.raises(BlockedAddress):
            async with asyncio.timeout(1):
                async for _ in client.events(server.url("/")):
                    pass
        async for result in client.map([server.url("/")]):
            assert isinstance(result.error, BlockedAddress)
        with pytest.raises(BlockedAddress):
            await client.upgrade(server.url("/"), "websocket")
        with pytest.raises(BlockedAddress):
            await fastreq.get(server.url("/"), allow="public")
        assert 0 == server.connections


async def test_resolver_garbage_is_no_address(dns):
    """TRUST 1e, DNS answers: what is no address is not dialled."""
    dns["bad.test"] = ["not an address", "127.0.0.1\0", "::1%0"]
    async with Client(allow="public") as client:
        with pytest.raises((BlockedAddress, fastreq.DNSError)):
            await client.get("http://bad.test/")
