"""Cookies over whole requests: who gets which (issue 3, 4; TRUST 1e, 80 to 90).

The rules themselves are tested in tests/policies; here they meet servers. Where it matters, each
cookie is a secret, and `canary.check()` looks who has seen it.
"""

import asyncio
import stat
import time

import pytest
from servers.received import parse, received
from servers.scripted import reply, scripted, serving

from fastreq import Client, Cookies, LocalProtocolError


def setting(*cookies, body=b""):
    return reply(body, *(f"Set-Cookie: {cookie}" for cookie in cookies))


def answering(answers):
    """A handler that answers (host, path), or path, as a mapping says, and else with a 200."""

    async def handler(conn):
        while True:
            request = parse(await conn.read_request())
            host = request.get("host").partition(":")[0]
            answer = answers.get((host, request.target)) or answers.get(request.target)
            await conn.send(answer or reply())

    return handler


def sent_to(server, number=-1):
    """The pairs of the Cookie field that a server got; there is only one such field."""
    value = received(server, number).get("cookie")
    return [] if value is None else value.split("; ")


@pytest.fixture
def hosts(dns):
    """Names of a site, and of strangers who look like it."""
    for name in ("site.test", "www.site.test", "a.b.site.test", "other.test", "ite.test"):
        dns[name] = "127.0.0.1"


# ---- the jar over requests


async def test_what_is_set_is_sent_back(wire):
    async with (
        serving(setting("a=1", "b=2; Path=/"), tls=wire.tls) as server,
        wire.client() as client,
    ):
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


async def test_a_stream_sets_cookies_as_soon_as_its_head_is_here():
    async with (
        serving(setting("a=1", body=b"body")) as server,
        Client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert {"a": "1"} == dict(client.cookies) == dict(response.cookies)


async def test_clients_share_nothing_unless_they_are_given_one_jar(canary):
    async with serving(reply()) as server:
        jar, secret = Cookies(), canary.secret("a", server.url(""))
        jar.set("a", secret, domain="127.0.0.1")
        async with Client(cookies=jar) as one, Client(cookies=jar) as two, Client() as three:
            assert one.cookies is two.cookies is jar
            for client in (one, two, three):
                await client.get(server.url("/"))
        canary.check(server)

        assert [[f"a={secret}"], [f"a={secret}"], []] == [sent_to(server, n) for n in range(3)]


async def test_80_cookies_go_to_their_hosts_alone(canary, hosts):
    """TRUST 80: host-only without a Domain; with one, to subdomains too, and to nobody else."""
    answers = {}
    async with scripted(answering(answers)) as server, Client() as client:

        def url(name):
            return server.url("/", host=name)

        own = canary.secret("host-only", url("site.test"))
        domain = canary.secret("domain", *map(url, ["site.test", "www.site.test", "a.b.site.test"]))
        www = canary.secret("of www", url("www.site.test"))
        answers["site.test", "/"] = setting(f"own={own}", f"all={domain}; Domain=.SITE.test")
        answers["www.site.test", "/"] = setting(f"www={www}; Domain=www.site.test")
        for _ in range(2):
            for name in ("site.test", "www.site.test", "a.b.site.test", "other.test", "ite.test"):
                await client.get(url(name))
        canary.check(server)

        assert {
            "host-only": {url("site.test")[:-1]},
            "domain": {url(n)[:-1] for n in ("site.test", "www.site.test", "a.b.site.test")},
            "of www": {url("www.site.test")[:-1]},
        } == canary.seen(server)


@pytest.mark.parametrize(
    "domain", ["other.test", "www.site.test", "test", "te.test", "127.0.0.1", "x.ite.test"]
)
async def test_80_82_nobody_sets_cookies_for_others(hosts, domain):
    """TRUST 80, 82: a Domain that is not the host, nor above it, or has no dot."""
    async with serving(setting(f"a=1; Domain={domain}")) as server, Client() as client:
        await client.get(server.url("/", host="site.test"))

        assert {} == dict(client.cookies)


async def test_82_public_suffixes_by_a_function(dns):
    """TRUST 82: a callable may say what is nobody's own."""
    dns["shop.co.test"] = dns["bank.co.test"] = "127.0.0.1"
    jar = Cookies(public_suffixes=lambda domain: domain in ("test", "co.test"))
    async with (
        serving(setting("a=1; Domain=co.test", "b=2; Domain=shop.co.test")) as server,
        Client(cookies=jar) as client,
    ):
        await client.get(server.url("/", host="shop.co.test"))
        await client.get(server.url("/", host="bank.co.test"))

        assert [] == sent_to(server)
        assert {"b": "2"} == dict(client.cookies)


async def test_82_public_suffixes_by_the_extra(dns):
    pytest.importorskip("publicsuffixlist")
    dns["a.github.io"] = dns["b.github.io"] = "127.0.0.1"
    async with (
        serving(setting("evil=1; Domain=github.io", "own=1")) as server,
        Client() as client,
    ):
        await client.get(server.url("/", host="a.github.io"))
        await client.get(server.url("/", host="b.github.io"))

        assert [] == sent_to(server)
        assert {"own": "1"} == dict(client.cookies)


async def test_81_paths(canary):
    """TRUST 81: the default path, and matching at a slash (curl CVE-2025-9086)."""
    cookies = setting("default=1", "any=1; Path=/any", "root=1; Path=/", "bad=1; Path=bad")
    async with scripted(answering({"/any/page": cookies})) as server, Client() as client:
        expected = {
            "/any/page": ["default=1", "any=1", "bad=1", "root=1"],
            "/any": ["default=1", "any=1", "bad=1", "root=1"],
            "/any/": ["default=1", "any=1", "bad=1", "root=1"],
            "/any/x/y?z=/": ["default=1", "any=1", "bad=1", "root=1"],
            "/anybad": ["root=1"],
            "/": ["root=1"],
            "/ANY/": ["root=1"],
        }
        await client.get(server.url("/any/page"))
        for path, pairs in expected.items():
            await client.get(server.url(path))
            assert pairs == sent_to(server), path


async def test_83_secure_cookies(certs, canary):
    """TRUST 83: not set by http, not sent over http, not overwritten by http."""
    answers = {"/set": setting("s=plain; Secure"), "/overlay": setting("t=evil")}
    async with scripted(answering(answers)) as plain:
        tls_answers = {}
        async with (
            scripted(answering(tls_answers), tls=certs.good) as secure,
            Client(verify=certs.ca_file) as client,
        ):
            secret = canary.secret("Secure", secure.url(""))
            tls_answers["/set"] = setting(f"t={secret}; Secure")
            await client.get(plain.url("/set"))
            assert {} == dict(client.cookies)

            await client.get(secure.url("/set"))
            await client.get(plain.url("/overlay"))
            await client.get(plain.url("/"))
            await client.get(secure.url("/"))
            canary.check(plain, secure)

            assert [] == sent_to(plain)
            assert [f"t={secret}"] == sent_to(secure)


@pytest.mark.parametrize(
    ("cookie", "kept_over"),
    [
        ("__Secure-a=1; Secure", {"tls"}),
        ("__Secure-a=1", set()),
        ("__secure-a=1", set()),
        ("__Host-a=1; Secure; Path=/", {"tls"}),
        ("__Host-a=1; Secure; Path=/x", set()),
        ("__Host-a=1; Secure", set()),
        ("=__Host-a=1", set()),
        ("__Host-a", set()),
    ],
)
async def test_84_prefixes(wire, cookie, kept_over):
    """TRUST 84: a name promises something, whatever its case, and even where it is no name."""
    async with serving(setting(cookie), tls=wire.tls) as server, wire.client() as client:
        await client.get(server.url("/", host="localhost"))

        assert ("tls" in kept_over if wire.tls else "plain" in kept_over) == bool(client.cookies)


async def test_85_87_each_field_is_one_cookie_or_none():
    """TRUST 85, 87: never joined, never decoded; what has a control character is ignored."""
    fields = [
        "a=1, b=2",
        "c=%0D%0AX-Evil: 1",
        'd="quoted; e=3"',
        "long=" + "x" * 4100,
        "f",
        "=",
        "",
        "tab=a\tb",
    ]
    async with serving(setting(*fields), reply()) as server, Client() as client:
        await client.get(server.url("/"))
        await client.get(server.url("/"))

        assert ["a=1, b=2", "c=%0D%0AX-Evil: 1", 'd="quoted', "f"] == sent_to(server)


async def test_86_90_cookies_end(monkeypatch):
    """TRUST 86, 90: Max-Age beats Expires; what has ended is neither sent nor shown."""
    now = time.time()
    jar = Cookies(clock=lambda: now)
    past, future = "Thu, 01 Jan 1970 00:00:01 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"
    cookies = setting(
        "session=1",
        "minute=1; Max-Age=60",
        f"beats=1; Max-Age=60; Expires={past}",
        f"gone=1; Max-Age=0; Expires={future}",
        f"past=1; Expires={past}",
        f"capped=1; Expires={future}",
    )
    async with serving(cookies, reply()) as server, Client(cookies=jar) as client:
        await client.get(server.url("/"))
        await client.get(server.url("/"))
        assert ["session=1", "minute=1", "beats=1", "capped=1"] == sent_to(server)

        now += 61
        await client.get(server.url("/"))
        await client.get(server.url("/"))
        assert ["session=1", "capped=1", "minute=1", "beats=1"] == sent_to(server)

        now += 401 * 86400
        assert ["session"] == list(client.cookies)


async def test_88_order():
    """TRUST 88: longer paths first, then older, in one field."""
    answers = {"/a/b/c": setting("1=/; Path=/", "2=/a; Path=/a", "3=/a; Path=/a", "4=/a/b")}
    async with scripted(answering(answers)) as server, Client() as client:
        await client.get(server.url("/a/b/c"))
        await client.get(server.url("/a/b/c"))

        assert ["4=/a/b", "2=/a", "3=/a", "1=/"] == sent_to(server)


async def test_89_a_server_cannot_fill_the_jar():
    """TRUST 1e, 89: 50 of one response, and 8,190 bytes of one request."""
    many = setting(*(f"n{n}=1" for n in range(200)))
    async with serving(many, reply()) as server, Client() as client:
        await client.get(server.url("/"))
        await client.get(server.url("/"))

        assert [f"n{n}=1" for n in range(50)] == sent_to(server)

    big = setting(*(f"n{n}={'x' * 4000}" for n in range(10)))
    async with serving(big, reply()) as server, Client() as client:
        await client.get(server.url("/"))
        await client.get(server.url("/"))

        assert 2 == len(sent_to(server))
        assert len("; ".join(sent_to(server))) <= 8190


async def test_65_a_trace_has_no_cookies(canary):
    """TRUST 65; RFC 9110, section 9.3.8: whoever answers it sends back what it was sent."""
    async with serving(reply()) as server:
        jar = {"a": canary.secret("jar"), "b": canary.secret("more of the jar")}
        async with Client(cookies=jar) as client:
            await client.request("TRACE", server.url("/"), cookies={"c": canary.secret("request")})
        canary.check(server)


async def test_cookies_of_many_requests_at_once():
    """What concurrent responses set is all kept."""

    def answer(number):
        return setting(f"n{number}=1; Path=/")

    answers = {f"/{n}": answer(n) for n in range(40)}
    async with scripted(answering(answers)) as server, Client() as client:
        await asyncio.gather(*(client.get(server.url(f"/{n}")) for n in range(40)))

        assert {f"n{n}" for n in range(40)} == set(client.cookies)


# ---- given by hand


async def test_cookies_of_the_client_go_to_every_host_that_is_asked(hosts):
    async with serving(reply()) as server, Client(cookies={"a": "1", "b": "2"}) as client:
        for name in ("site.test", "other.test"):
            await client.get(server.url("/", host=name))
            assert ["a=1", "b=2"] == sent_to(server)


async def test_what_a_server_sets_is_newer():
    async with serving(setting("a=theirs; Path=/")) as server, Client(cookies={"a": "1"}) as client:
        await client.get(server.url("/"))
        await client.get(server.url("/"))

        assert [["a=1"], ["a=theirs"]] == [sent_to(server, 0), sent_to(server, 1)]


@pytest.mark.parametrize(
    "cookies", [{"mine": "1"}, [("mine", "1")], Cookies({"mine": "1"})], ids=["dict", "list", "jar"]
)
async def test_cookies_of_one_request(cookies):
    """They come first, beside those of the client, and are not kept."""
    async with serving(reply()) as server, Client(cookies={"a": "1"}) as client:
        await client.get(server.url("/"), cookies=cookies)
        await client.get(server.url("/"))

        assert [["mine=1", "a=1"], ["a=1"]] == [sent_to(server, 0), sent_to(server, 1)]
        assert {"a": "1"} == dict(client.cookies)


async def test_a_cookie_of_one_request_replaces_that_of_the_client():
    async with serving(reply()) as server, Client(cookies={"a": "1", "b": "2"}) as client:
        await client.get(server.url("/"), cookies={"a": "mine"})

        assert ["a=mine", "b=2"] == sent_to(server)


async def test_88_one_field_however_they_are_given():
    """TRUST 88: what stands in several fields is joined by semicolons."""
    async with serving(reply()) as server, Client() as client:
        headers = [("Cookie", "a=1"), ("cookie", "b=2; c=3")]
        await client.get(server.url("/"), headers=headers)
        assert ["a=1", "b=2", "c=3"] == sent_to(server)

        await client.get(server.url("/"), headers=headers, cookies={"d": "4"})
        assert ["a=1", "b=2", "c=3", "d=4"] == sent_to(server)

        client.cookies["e"] = "5"
        await client.get(server.url("/"), headers=headers, cookies={"d": "4"})
        assert ["a=1", "b=2", "c=3", "d=4", "e=5"] == sent_to(server)


async def test_a_cookie_field_may_be_changed_before_it_is_sent():
    async with serving(reply()) as server, Client() as client:
        request = client.build_request("GET", server.url("/"), cookies={"a": "1"})
        request.headers["Cookie"] += "; b=2"
        await client.send(request)

        assert ["a=1", "b=2"] == sent_to(server)


BAD = ["a;b", "a,b", "a b", 'a"b', "a\\b", "a\r\nX-Evil: 1", "a\0", "a\x7f", "é", "a\tb"]


@pytest.mark.parametrize("bad", BAD, ids=ascii)
async def test_1a_a_cookie_cannot_inject(bad):
    """TRUST 1a, bad input: refused before a byte is sent, and before it is in a jar."""
    async with serving(reply()) as server, Client() as client:
        for cookies in ({bad: "1"}, {"a": bad}):
            with pytest.raises(LocalProtocolError, match="cookie"):
                await client.get(server.url("/"), cookies=cookies)
            with pytest.raises(LocalProtocolError, match="cookie"):
                Client(cookies=cookies)
            with pytest.raises(LocalProtocolError, match="cookie"):
                client.cookies.update(cookies)
        assert 0 == server.connections


# ---- cookies.txt


async def test_cookies_txt_there_and_back(tmp_path, canary, hosts):
    """TRUST 1e: read by its owner alone, and whose each is, is not lost on the way."""
    path, answers = tmp_path / "cookies.txt", {}
    async with scripted(answering(answers)) as server:

        def url(name):
            return server.url("/", host=name)

        own = canary.secret("host-only", url("site.test"))
        domain = canary.secret("domain", url("site.test"), url("www.site.test"))
        answers["site.test", "/"] = setting(
            f"own={own}; Max-Age=600",
            f"all={domain}; Domain=site.test; Max-Age=600; HttpOnly",
            "session=1",
        )
        async with Client() as client:
            await client.get(url("site.test"))
            client.cookies.save(path)
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        answers.clear()

        jar = Cookies()
        jar.load(path)
        async with Client(cookies=jar) as client:
            assert {"own", "all"} == set(client.cookies), "a session ends with its client"
            for name in ("site.test", "www.site.test", "other.test"):
                await client.get(url(name))
        canary.check(server)


async def test_cookies_txt_of_curl(tmp_path, hosts):
    path = tmp_path / "cookies.txt"
    path.write_text(
        "# Netscape HTTP Cookie File\n\n"
        "#HttpOnly_.site.test\tTRUE\t/\tFALSE\t0\tsession\tabc\n"
        "www.site.test\tFALSE\t/\tFALSE\t4102444800\twww\tdef\n"
    )
    async with serving(reply()) as server, Client() as client:
        client.cookies.load(path)
        await client.get(server.url("/", host="www.site.test"))

        assert ["session=abc", "www=def"] == sent_to(server)


# ---- a server that nobody here wrote


async def test_httpbin_cookies(httpbin):
    async with Client() as client:
        said = (await client.get(httpbin.url("/cookies/set"), params={"a": "1", "b": "2"})).json()
        assert {"a": "1", "b": "2"} == said["cookies"] == dict(client.cookies)

        said = (await client.get(httpbin.url("/cookies/delete?a"))).json()
        assert {"b": "2"} == said["cookies"] == dict(client.cookies)

        said = (await client.get(httpbin.url("/cookies"), cookies={"c": "3"})).json()
        assert {"b": "2", "c": "3"} == said["cookies"]
