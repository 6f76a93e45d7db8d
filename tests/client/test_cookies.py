"""Cookies over whole requests: who gets which (issue 3, 4; TRUST 1e, 80 to 90).

The rules themselves are tested in tests/policies; here they meet servers. Each cookie is a secret,
and `canary.check()` looks who has seen it.
"""

import asyncio
import stat
import time

import pytest
from servers.received import parse, received
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import Client, Cookies, LocalProtocolError


def setting(*cookies, body=b""):
    return reply(body, *(f"Set-Cookie: {cookie}" for cookie in cookies))


def by_path(answers):
    """A handler that answers each path as a mapping says, and others with an empty 200."""

    async def handler(conn):
        while True:
            request = parse(await conn.read_request())
            await conn.send(answers.get(request.target, reply()))

    return handler


def sent_to(server, number=-1):
    """The Cookie field that a server got, as a list of pairs."""
    value = received(server, number).get("cookie")
    return [] if value is None else value.split("; ")


@pytest.fixture
def hosts(dns):
    """site.test, its www, and a stranger."""
    for name in ("site.test", "www.site.test", "a.b.site.test", "other.test", "ite.test"):
        dns[name] = "127.0.0.1"


# ---- the jar over requests


async def test_what_is_set_is_sent_back(wire):
    async with serving(setting("a=1", "b=2; Path=/"), tls=wire.tls) as server:
        async with wire.client() as client:
            response = await client.get(server.url("/"))
            await client.get(server.url("/"))

            assert [] == sent_to(server, 0)
            assert ["a=1", "b=2"] == sent_to(server, 1)
            assert {"a": "1", "b": "2"} == dict(response.cookies) == dict(client.cookies)
            assert isinstance(response.cookies, Cookies)


async def test_a_response_that_sets_nothing_has_no_cookies():
    async with serving(setting("a=1"), reply()) as server, Client() as client:
        await client.get(server.url("/"))
        response = await client.get(server.url("/"))

        assert {} == dict(response.cookies)
        assert not response.cookies


async def test_clients_share_nothing_unless_they_are_given_one_jar(canary):
    async with serving(reply()) as server:
        jar = Cookies()
        secret = canary.secret("a", server.url(""))
        jar.set("a", secret, domain="127.0.0.1")
        async with Client(cookies=jar) as one, Client(cookies=jar) as two, Client() as three:
            assert one.cookies is two.cookies is jar
            for client in (one, two, three):
                await client.get(server.url("/"))
        canary.check(server)

        assert [[f"a={secret}"], [f"a={secret}"], []] == [sent_to(server, i) for i in range(3)]


async def test_80_cookies_go_to_their_hosts_alone(canary, hosts):
    """TRUST 80: host-only without a Domain; with one, to its subdomains too; suffixes are no host."""
    async with serving(reply()) as server, Client() as client:

        def at(*names):
            return [server.url("", host=name) for name in names]

        host_only = canary.secret("host-only", *at("site.test"))
        domain = canary.secret("domain", *at("site.test", "www.site.test", "a.b.site.test"))
        www = canary.secret("www", *at("www.site.test"))
        answers = iter(
            [
                setting(f"h={host_only}", f"d={domain}; Domain=site.test"),
                setting(f"w={www}; Domain=www.site.test"),
            ]
        )

        async def handler(conn):
            while True:
                await conn.read_request()
                await conn.send(next(answers, reply()))

        async with scripted(handler) as server:
            host_only = canary.secret("host-only", *at("site.test"))
            domain = canary.secret("domain", *at("site.test", "www.site.test", "a.b.site.test"))
            www = canary.secret("www", *at("www.site.test"))
            answers = iter(
                [
                    setting(f"h={host_only}", f"d={domain}; Domain=site.test"),
                    setting(f"w={www}; Domain=www.site.test"),
                ]
            )
            for name in ("site.test", "www.site.test"):
                await client.get(server.url("/", host=name))
            for name in ("site.test", "www.site.test", "a.b.site.test", "other.test", "ite.test"):
                await client.get(server.url("/", host=name))
            canary._meant_for = {
                secret: meant
                for secret, meant in canary._meant_for.items()
                if any(port.endswith(str(server.port)) for port in meant[1])
            }
            canary.check(server)
