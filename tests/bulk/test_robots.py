"""robots.txt is asked for once per origin, and kept to wherever a redirect leads."""

import pytest
from servers.scripted import parse_fields, reply, scripted

from fastreq import Client, Hooks
from fastreq.bulk.robots import Robots, RobotsDisallowed

pytest.importorskip("protego", reason="it reads robots.txt")

RULES = reply(b"User-agent: *\nDisallow: /private\n")


class Site:
    """Answers by path; counts what it was asked for."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    async def __call__(self, conn):
        while True:
            head = await conn.read_request()
            path = head.split()[1].decode()
            self.asked.append((parse_fields(head)["host"].partition(":")[0], path))
            await conn.send(self.answers.get(path.lstrip("/"), reply(b"ok")))


def to(url, status="302 Found"):
    return reply(b"", f"Location: {url}", status=status)


class Kept:
    """A client that keeps to robots.txt."""

    async def __aenter__(self):
        hooks = Hooks(redirect=lambda event: self.robots.check(event.request))
        self.client = Client(hooks=hooks)
        self.robots = Robots(self.client.get)
        return self

    async def __aexit__(self, *exc):
        await self.robots.close()
        await self.client.aclose()

    async def get(self, url):
        request = self.client.build_request("GET", url)
        await self.robots.check(request)
        return await self.client.send(request)


async def test_where_a_redirect_leads():
    """On the same host, and on another; what is not allowed is not asked for."""
    site = Site(**{"robots.txt": RULES, "a": to("/private/a"), "b": to("/c"), "c": to("/d")})
    async with scripted(site) as server, Kept() as kept:
        site.answers["e"] = to(server.url("/private/e", host="localhost"))
        for path in ("/private", "/a", "/e"):
            with pytest.raises(RobotsDisallowed, match="does not allow it") as caught:
                await kept.get(server.url(path))
            assert caught.value.request.url.path.startswith("/private")
        assert 200 == (await kept.get(server.url("/b"))).status
    assert not [path for _, path in site.asked if path.startswith("/private")]
    assert {("127.0.0.1", "/robots.txt"), ("localhost", "/robots.txt")} <= set(site.asked)
    assert 2 == sum(path == "/robots.txt" for _, path in site.asked)


async def test_where_robots_txt_itself_leads():
    """Followed, whatever it says there, and to another host whose own leads back."""

    async def handler(conn):
        while True:
            head = await conn.read_request()
            path, host = head.split()[1].decode(), parse_fields(head)["host"]
            if path == "/robots.txt":
                other = "127.0.0.1" if host.startswith("localhost") else "localhost"
                await conn.send(to(server.url(f"/private/{other}", host=other)))
            else:
                await conn.send(RULES)

    async with scripted(handler) as server, Kept() as kept:
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(RobotsDisallowed):
                await kept.get(server.url("/private/x", host=host))
            assert 200 == (await kept.get(server.url("/x", host=host))).status


@pytest.mark.parametrize(
    ("answer", "why"), [(reply(status="503 Busy"), "503"), (None, "cannot connect")]
)
async def test_what_cannot_be_read(answer, why):
    """It allows nothing, and says why."""
    async with scripted(Site(**{"robots.txt": answer})) as server, Kept() as kept:
        url = server.url("/x") if answer else "http://127.0.0.1:1/x"
        with pytest.raises(RobotsDisallowed, match=f"cannot be read, .*{why}"):
            await kept.get(url)


async def test_where_there_is_none():
    async with scripted(Site(**{"robots.txt": reply(status="404 No")})) as server, Kept() as kept:
        assert 200 == (await kept.get(server.url("/private"))).status
