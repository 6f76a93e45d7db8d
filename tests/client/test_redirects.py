"""Redirects over real sockets: where they lead, and what goes along (issue 3, 3; TRUST 1d).

Each request carries secrets of its own, and `canary.check()` looks who has seen them.
"""

import asyncio
import itertools
import socket
from contextlib import AsyncExitStack

import pytest
from servers.received import parse, received
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import (
    Client,
    ConnectError,
    InvalidURL,
    RemoteProtocolError,
    StreamConsumed,
    TooManyRedirects,
    UnsupportedProtocol,
)

REASONS = {301: "Moved Permanently", 302: "Found", 303: "See Other", 307: "Temporary Redirect"}
REASONS[308] = "Permanent Redirect"


def moved(location, status=302, *fields, body=b""):
    return reply(body, f"Location: {location}", *fields, status=f"{status} {REASONS[status]}")


def leading(server_of):
    """A handler that answers each path with what a function says."""

    async def handler(conn):
        while True:
            request = parse(await conn.read_request())
            answer = server_of(request)
            await conn.send(answer)

    return handler


# ---- following


async def test_redirects_are_followed_and_remembered(wire):
    """Relative or not; `history` has what was on the way, oldest first."""
    answers = {
        "/": moved("/a"),
        "/a": moved("b?c=d", 301, body=b"a page"),
        "/b?c=d": reply(b"there"),
    }
    handler = leading(lambda request: answers[request.target])
    async with scripted(handler, tls=wire.tls) as server, wire.client() as client:
        response = await client.get(server.url("/#part"))

        assert (200, b"there") == (response.status, response.body)
        assert server.url("/b?c=d#part") == str(response.url), "TRUST 68"
        assert [302, 301] == [r.status for r in response.history]
        assert [b"", b"a page"] == [r.body for r in response.history]
        assert ["/", "/a"] == [r.url.path for r in response.history]
        assert ["GET", "GET", "GET"] == [parse(raw).method for raw in server.requests]
        assert 1 == server.connections, "a connection is kept on the way"


@pytest.mark.parametrize("how", ["client", "request"])
async def test_redirects_may_be_left_alone(how):
    async with serving(moved("/x")) as server:
        async with Client(follow_redirects=how != "client") as client:
            options = {"follow_redirects": False} if how == "request" else {}
            response = await client.get(server.url("/"), **options)

        assert (302, "/x", []) == (response.status, response.headers["location"], response.history)
        assert 1 == len(server.requests)


async def test_a_request_may_follow_where_its_client_does_not():
    answers = moved("/x"), reply(b"there")
    async with serving(*answers) as server, Client(follow_redirects=False) as client:
        response = await client.get(server.url("/"), follow_redirects=True)

        assert b"there" == response.body


@pytest.mark.parametrize("status", [300, 304, 305, 306, 309, 399])
async def test_other_statuses_are_answers(status):
    async with serving(
        f"HTTP/1.1 {status} X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".encode()
    ) as server:
        async with Client() as client:
            assert status == (await client.get(server.url("/"))).status
        assert 1 == len(server.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_without_a_location_it_is_the_answer(status):
    async with serving(reply(b"page", status=f"{status} X")) as server, Client() as client:
        response = await client.get(server.url("/"))

        assert (status, b"page", []) == (response.status, response.body, response.history)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
async def test_75_method_and_body(wire, status, method):
    """TRUST 73, 75; RFC 9110, section 15.4: 307 and 308 keep both, 303 makes a GET of it."""
    becomes_get = method != "HEAD" and (status == 303 or (status < 303 and method == "POST"))
    body = b"" if method in ("GET", "HEAD") else b"body"
    headers = {"Content-Type": "text/x", "Content-Language": "en"} if body else {}
    final = reply() if method != "HEAD" else b"HTTP/1.1 200 OK\r\n\r\n"
    async with serving(moved("/there", status), final, tls=wire.tls) as server:
        async with wire.client() as client:
            request = client.build_request(method, server.url("/"), content=body, headers=headers)
            response = await client.send(request)

        assert ("/there", 200) == (response.url.path, response.status)
        sent = received(server)
        assert ("GET" if becomes_get else method) == sent.method
        assert (b"" if becomes_get else body) == sent.body
        kept = body and not becomes_get
        assert ("text/x" if kept else None) == sent.get("content-type")
        assert ("en" if kept else None) == sent.get("content-language")
        assert not becomes_get or sent.get("content-length") is None


async def test_a_body_that_is_dropped_need_not_be_repeatable():
    async def stream():
        yield b"once"

    async with serving(moved("/there", 303), reply(b"done")) as server, Client() as client:
        response = await client.post(server.url("/"), content=stream())

        assert b"done" == response.body
        assert b"once" == received(server, 0).body
        assert ("GET", b"") == (received(server).method, received(server).body)


@pytest.mark.parametrize("status", [307, 308])
async def test_75_a_stream_is_not_sent_twice(status):
    async with serving(moved("/there", status)) as server, Client() as client:
        with pytest.raises(StreamConsumed, match=f"{status} from") as caught:
            await client.post(server.url("/"), content=iter([b"once"]))

        assert "POST" == caught.value.request.method
        assert 1 == len(server.requests)


# ---- 17 cases, 6 headers: what stays, and what goes along

HEADERS = ["Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key", "X-Vault-Token", "X-Mine"]
# Of an origin that is no proxy, which nobody is told (RFC 9110, section 11.7.2).
FOR_NOBODY = {"Proxy-Authorization"}

# From, to, and whether that is another origin; "{b}" is the port of a second server of the kind.
CASES = [
    ("http://127.0.0.1:{a}/", "/y", False),
    ("http://127.0.0.1:{a}/", "http://127.0.0.1:{a}/y", False),
    ("http://site.test:{a}/", "http://SITE.TEST:{a}/y", False),
    ("https://localhost:{s}/", "//localhost:{s}/y", False),
    ("http://[::1]:{six}/", "http://[0:0::1]:{six}/y", False),
    ("{unix}/", "/y", False),
    ("http://localhost:{a}/", "https://localhost:{s}/y", True),
    ("http://127.0.0.1:{a}/", "http://127.0.0.1:{b}/y", True),
    ("https://localhost:{s}/", "https://localhost:{t}/y", True),
    ("http://127.0.0.1:{a}/", "http://localhost:{a}/y", True),
    ("https://localhost:{s}/", "https://127.0.0.1:{s}/y", True),
    ("http://site.test:{a}/", "//www.site.test:{a}/y", True),
    ("http://www.site.test:{a}/", "http://site.test:{a}/y", True),
    ("http://site.test:{a}/", "http://site.test.:{a}/y", True),
    ("http://site.test:{a}/", "http://site.test.evil.test:{a}/y", True),
    ("http://127.0.0.1:{a}/", "http://[::1]:{six}/y", True),
    ("{unix}/", "http://localhost:{a}/y", True),
]
PLACES = {"a", "b", "s", "t", "six"}


def test_there_are_17_cases_and_6_headers():
    assert (17, 6) == (len(CASES), len(HEADERS))


@pytest.fixture
def names(dns):
    for name in ("site.test", "site.test.", "www.site.test", "site.test.evil.test"):
        dns[name] = "127.0.0.1"


class Places:
    """The servers that a case can lead from and to."""

    def __init__(self, certs, tmp_path):
        self.certs, self.path = certs, tmp_path / "s.sock"
        self.servers = {}
        self.location = ""

    async def answer(self, conn):
        while True:
            request = parse(await conn.read_request())
            await conn.send(moved(self.location) if request.target == "/" else reply())

    async def open(self, stack, text):
        """Start the servers that a text names, and give it with their ports."""
        for place in sorted(PLACES | {"unix"}):
            if f"{{{place}}}" in text and place not in self.servers:
                options = {
                    "unix": {"path": self.path},
                    "six": {"host": "::1"},
                    "s": {"tls": self.certs.good},
                    "t": {"tls": self.certs.good},
                }.get(place, {})
                server = await stack.enter_async_context(scripted(self.answer, **options))
                self.servers[place] = server
        ports = {place: server.port for place, server in self.servers.items()}
        if "unix" in self.servers:
            ports["unix"] = self.servers["unix"].url("")
        return text.format(**ports)


@pytest.mark.parametrize(("start", "location", "leaves"), CASES)
@pytest.mark.parametrize("copies", [1, 2])
async def test_1d_secrets_stay_with_their_origin(
    canary, certs, names, tmp_path, start, location, leaves, copies
):
    """TRUST 1d, 69, 73: every copy of each, set by hand, by `auth=` and by `cookies=`."""
    if "six" in start + location and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with AsyncExitStack() as stack:
        places = Places(certs, tmp_path)
        start = await places.open(stack, start)
        places.location = await places.open(stack, location)
        here = start.removesuffix("/")
        servers = list(places.servers.values())

        def secret(name):
            return canary.secret(name, *(() if name in FOR_NOBODY else (here,)))

        fields = [(name, secret(name)) for name in HEADERS for _ in range(copies)]
        fields = [(n, f"name=x{v}" if n == "Cookie" else v) for n, v in fields]
        client = Client(verify=certs.ca_file, headers={"X-Vault-Token": "replaced"})
        client.sensitive_headers.add("X-MINE")
        await stack.enter_async_context(client)
        response = await client.get(
            start, headers=fields, cookies={"per-request": secret("cookies=")}
        )

        assert (200, 1) == (response.status, len(response.history))
        canary.check(*servers)
        total = sum(len(server.requests) for server in servers)
        assert 2 == total
        for name in set(HEADERS) - FOR_NOBODY - {"Cookie"}:
            first, last = (response.history[0].request, response.request)
            assert copies == len(first.headers.get_list(name))
            assert (0 if leaves else copies) == len(last.headers.get_list(name))


@pytest.mark.parametrize(("start", "location", "leaves"), CASES)
async def test_1d_auth_stays_with_its_origin(
    canary, certs, names, tmp_path, start, location, leaves
):
    """The same of `auth=`, and of the user in a URL."""
    if "six" in start + location and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with AsyncExitStack() as stack:
        places = Places(certs, tmp_path)
        start = await places.open(stack, start)
        places.location = await places.open(stack, location)
        here = start.removesuffix("/")
        client = await stack.enter_async_context(Client(verify=certs.ca_file))

        basic = canary.secret("Basic", here)
        await client.get(start, auth=("user", basic))
        bearer = canary.secret("Bearer", here)
        await client.get(start, auth=fastreq.Bearer(bearer))
        if "unix" not in start:
            userinfo = canary.secret("userinfo", here)
            await client.get(start.replace("://", f"://user:{userinfo}@"))

        canary.check(*places.servers.values())
        last = [server.requests[-1] for server in places.servers.values()][-1]
        assert leaves == (b"uthorization" not in last)


async def chain_of(stack, *locations):
    """Servers that lead from one to the next; the last answers."""
    servers, answers = {}, {}
    for name in dict.fromkeys(place.partition("/")[0] for place in locations):
        handler = leading(lambda request, name=name: answers[name, request.target])
        servers[name] = await stack.enter_async_context(scripted(handler))
    urls = [servers[p.partition("/")[0]].url("/" + p.partition("/")[2]) for p in locations]
    for place, following in itertools.pairwise(zip(locations, urls, strict=True)):
        name, _, path = place[0].partition("/")
        answers[name, "/" + path] = moved(following[1])
    name, _, path = locations[-1].partition("/")
    answers[name, "/" + path] = reply(b"the end")
    return urls[0], servers


@pytest.mark.parametrize(
    "way",
    [
        ["a", "b", "a/back"],
        ["a", "b", "a/back", "a/on"],
        ["a", "b", "b/on", "a/back"],
        ["a", "b", "c", "a/back", "b/again"],
        ["a", "a/on", "b", "a/back"],
    ],
    ids="-".join,
)
async def test_1d_what_was_dropped_never_comes_back(canary, way):
    """TRUST 1d (Go CVE-2024-45336): A, B, and back to A; not by auth, nor by the jar."""
    async with AsyncExitStack() as stack:
        url, servers = await chain_of(stack, *way)
        here = servers["a"].url("")
        key, mine = canary.secret("X-Api-Key", here), canary.secret("cookie=", here)
        loose, bearer = canary.secret("unscoped cookie", here), canary.secret("Bearer", here)
        async with Client(cookies={"loose": loose}, auth=fastreq.Bearer(bearer)) as client:
            response = await client.get(url, headers={"X-Api-Key": key}, cookies={"mine": mine})

        assert b"the end" == response.body
        canary.check(*servers.values())
        stays = next(i for i, place in enumerate(way) if not place.startswith("a"))
        for sent in [*response.history, response][stays:]:
            assert {"authorization", "cookie", "x-api-key"}.isdisjoint(sent.request.fields.names)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_1d_whatever_the_status_and_the_method(canary, status):
    async with serving(reply()) as b, serving(moved(b.url("/"), status)) as a, Client() as client:
        key = canary.secret("X-Api-Key", a.url(""))
        await client.post(a.url("/"), headers={"x-API-key": key}, content=b"body")

        canary.check(a, b)


async def test_1d_a_body_goes_where_307_sends_it():
    """It is what the caller wanted to be sent; only what says who we are stays."""
    async with serving(reply()) as b, serving(moved(b.url("/"), 307)) as a, Client() as client:
        await client.post(a.url("/"), content=b"body")

        assert b"body" == received(b).body


async def test_1d_headers_of_the_client_are_no_exception(canary):
    async with serving(reply()) as b, serving(moved(b.url("/"))) as a:
        key = canary.secret("X-Api-Key", a.url(""))
        async with Client(headers={"X-Api-Key": key, "X-Harmless": "goes along"}) as client:
            await client.get(a.url("/"))
        canary.check(a, b)

        assert "goes along" == received(b).get("x-harmless")


async def test_1d_names_of_ones_own_replace_the_usual_ones(canary):
    """What always stays, stays; the list is what the caller says."""
    async with serving(reply()) as b, serving(moved(b.url("/"))) as a:
        mine = canary.secret("X-Mine", a.url(""))
        async with Client(sensitive_headers=["x-MINE"]) as client:
            headers = {"X-Mine": mine, "X-Api-Key": "not sensitive here"}
            await client.get(a.url("/"), headers=headers, auth=("u", canary.secret("p", a.url(""))))
        canary.check(a, b)

        assert "not sensitive here" == received(b).get("x-api-key")


async def test_1d_a_host_of_ones_own_stays():
    """TRUST 73: Host is made anew for each origin."""
    async with serving(reply()) as b, serving(moved(b.url("/"))) as a, Client() as client:
        await client.get(a.url("/"), headers={"Host": "virtual.test"})

        assert "virtual.test" == received(a).get("host")
        assert f"127.0.0.1:{b.port}" == received(b).get("host")


async def test_67_a_referer_with_a_password_stays(canary):
    """TRUST 67; we set none of our own."""
    async with serving(reply()) as b, serving(moved(b.url("/"))) as a, Client() as client:
        password = canary.secret("Referer", a.url(""))
        await client.get(a.url("/"), headers={"Referer": f"http://user:{password}@x.test/"})
        canary.check(a, b)
        await client.get(a.url("/"))

        assert received(a).get("referer") is None


# ---- cookies on the way


async def test_a_cookie_that_is_set_on_the_way_is_sent_from_there_on():
    """As a login does: the redirect sets it, and its target wants it."""
    answers = {"/login": moved("/home", 303, "Set-Cookie: session=abc; Path=/"), "/home": reply()}
    async with scripted(leading(lambda r: answers[r.target])) as server, Client() as client:
        response = await client.post(server.url("/login"), data={"user": "me"})

        assert "session=abc" == received(server).get("cookie")
        assert {"session": "abc"} == dict(client.cookies) == dict(response.history[0].cookies)


async def test_a_cookie_that_is_unset_on_the_way_is_not():
    answers = {"/logout": moved("/", 302, "Set-Cookie: session=; Max-Age=0; Path=/"), "/": reply()}
    async with scripted(leading(lambda r: answers[r.target])) as server, Client() as client:
        client.cookies.set("session", "abc", domain="127.0.0.1")
        await client.get(server.url("/logout"))

        assert "session=abc" == received(server, 0).get("cookie")
        assert received(server, 1).get("cookie") is None


async def test_the_jar_gives_each_host_its_own(canary, dns):
    """Cookies of the jar follow RFC 6265bis, redirect or not; ports and schemes are one host."""
    dns["a.test"] = dns["b.test"] = "127.0.0.1"
    async with serving(reply()) as b, serving(moved(b.url("/", host="b.test"))) as a:
        for_a = canary.secret("cookie of a", a.url("", host="a.test"))
        for_b = canary.secret("cookie of b", b.url("", host="b.test"))
        async with Client() as client:
            client.cookies.set("c", for_a, domain="a.test")
            client.cookies.set("c", for_b, domain="b.test")
            await client.get(a.url("/", host="a.test"))
        canary.check(a, b)


# ---- where nobody should be led


async def test_1d_https_to_http_is_refused(certs, canary):
    """TRUST 1d: whoever listens could answer; nothing is sent, and the text says what to do."""
    async with serving(reply()) as plain, serving(moved(plain.url("/")), tls=certs.good) as secure:
        key = canary.secret("X-Harmless", secure.url(""))
        async with Client(verify=certs.ca_file) as client:
            with pytest.raises(RemoteProtocolError, match="from https to http") as caught:
                await client.get(secure.url("/"), headers={"X-Harmless": key})
        canary.check(plain, secure)

        assert 0 == plain.connections
        assert secure.url("/") == str(caught.value.request.url)


async def test_1d_http_to_https_is_followed(certs):
    async with (
        serving(reply(b"safe"), tls=certs.good) as secure,
        serving(moved(secure.url("/"))) as plain,
        Client(verify=certs.ca_file) as client,
    ):
        assert b"safe" == (await client.get(plain.url("/"))).body


@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("file:///etc/passwd", UnsupportedProtocol),
        ("ftp://127.0.0.1/", UnsupportedProtocol),
        ("gopher://127.0.0.1:11211/", UnsupportedProtocol),
        ("javascript:alert(1)", UnsupportedProtocol),
        ("http://", InvalidURL),
        ("http:///x", InvalidURL),
        ("http:x", InvalidURL),
        ("\\\\evil.test/", InvalidURL),
        ("/\\evil.test/", InvalidURL),
        ("http://a b/", InvalidURL),
        ("http://127.0.0.1:99999/", InvalidURL),
        ("http://2130706433/", InvalidURL),
        ("http://[::1/", InvalidURL),
        ("http://user:pw@127.0.0.1/", type(None)),
        ("http+unix://%2Frun%2Fdocker.sock/", type(None)),
    ],
)
async def test_1d_a_location_that_leads_nowhere(location, cause):
    """TRUST 1d, 50: a typed error, and the response is closed."""
    async with serving(moved(location, body=b"page")) as server, Client() as client:
        with pytest.raises(RemoteProtocolError, match="Location") as caught:
            await client.get(server.url("/"))

        assert isinstance(caught.value.__cause__, cause)
        assert "pw" not in str(caught.value)
        assert 1 == len(server.requests)


async def test_1d_a_location_cannot_inject():
    """What a Location holds is one target, percent-encoded."""
    location = '/x y"<>é\x7f'.encode().decode("latin-1").replace("\x7f", "")
    answers = iter([moved(location).decode().encode("latin-1"), reply()])
    async with scripted(leading(lambda _: next(answers))) as server, Client() as client:
        await client.get(server.url("/"))

        assert "/x%20y%22%3C%3E%C3%A9" == received(server).target


async def test_a_location_that_is_there_twice():
    answer = reply(b"", "Location: /x", "Location: /y", status="302 Found")
    async with serving(answer) as server, Client() as client:
        with pytest.raises(RemoteProtocolError, match="2 Location fields"):
            await client.get(server.url("/"))


async def test_a_redirect_to_where_nobody_listens():
    """The error is that of the request that failed, and not of the one that led there."""
    async with serving(moved("http://127.0.0.1:1/x")) as server, Client() as client:
        with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1") as caught:
            await client.get(server.url("/"))

        assert "http://127.0.0.1:1/x" == str(caught.value.request.url)


# ---- loops, and too many


async def test_74_loops_are_named():
    answers = {"/": moved("/a"), "/a": moved("/b"), "/b": moved("/a")}
    async with scripted(leading(lambda r: answers[r.target])) as server, Client() as client:
        with pytest.raises(TooManyRedirects, match=r"in a circle: .*/a' -> .*/b' -> .*/a'"):
            await client.get(server.url("/"))

        assert ["/", "/a", "/b", "/a"] == [parse(raw).target for raw in server.requests]


async def test_74_the_same_url_with_another_cookie_is_no_loop():
    """A site that sets a cookie and asks again, once."""

    def answer(request):
        if request.get("cookie") is None:
            return moved("/", 302, "Set-Cookie: seen=1")
        return reply(b"welcome")

    async with scripted(leading(answer)) as server, Client() as client:
        assert b"welcome" == (await client.get(server.url("/"))).body


@pytest.mark.parametrize("limit", [0, 1, 3, 10])
async def test_no_more_than_max_redirects(limit):
    """TRUST 1d, limits: exactly so many are followed."""
    handler = leading(lambda r: moved(f"/{int(r.target[1:]) + 1}"))
    async with scripted(handler) as server, Client(max_redirects=limit) as client:
        with pytest.raises(TooManyRedirects, match=f"more than {limit} redirects") as caught:
            await client.get(server.url("/0"))

        assert limit + 1 == len(server.requests)
        assert f"/{limit}" == caught.value.request.url.path


async def test_just_as_many_as_max_redirects():
    def answer(request):
        left = int(request.target[1:])
        return moved(f"/{left - 1}") if left else reply()

    async with scripted(leading(answer)) as server, Client(max_redirects=5) as client:
        response = await client.get(server.url("/5"))

        assert (200, 5) == (response.status, len(response.history))


# ---- streams


async def test_a_stream_follows_too(wire):
    async with (
        serving(moved("/x", body=b"a page"), reply(b"there"), tls=wire.tls) as server,
        wire.client() as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert b"there" == await response.aread()
        assert [302] == [r.status for r in response.history]


async def test_an_endless_page_on_the_way_is_not_read():
    """It is the redirect that was wanted; its connection is closed."""

    async def handler(conn):
        request = parse(await conn.read_request())
        if request.target == "/":
            await conn.send(moved("/there").replace(b"Content-Length: 0", b"Connection: close"))
            while True:
                await conn.send(bytes(65536))
        await conn.send(reply(b"there"))

    async with scripted(handler) as server, Client() as client:
        async with client.stream("GET", server.url("/")) as response:
            assert b"there" == await response.aread()
        assert 2 == server.connections


async def test_an_error_on_the_way_leaves_no_connection_behind():
    async def handler(conn):
        await conn.read_request()
        await conn.send(moved("ftp://x/").replace(b"Length: 0", b"Length: 100") + b"part of it")
        await conn.wait_closed()

    async with scripted(handler) as server, Client() as client:
        with pytest.raises(RemoteProtocolError):
            async with client.stream("GET", server.url("/")):
                pass
        await asyncio.sleep(0.01)
        assert 0 == client.stats().total.leased


# ---- servers that nobody here wrote


async def test_httpbin_redirects(httpbin):
    async with Client() as client:
        response = await client.get(httpbin.url("/redirect/5"))
        assert (httpbin.url("/get"), 5) == (str(response.url), len(response.history))

        response = await client.get(httpbin.url("/absolute-redirect/3"))
        assert 3 == len(response.history)

        url = httpbin.url("/redirect-to")
        params = {"url": httpbin.url("/anything"), "status_code": 307}
        response = await client.post(url, params=params, json={"kept": True})
        assert ("POST", {"kept": True}) == (response.json()["method"], response.json()["json"])

        params["status_code"] = 303
        response = await client.post(url, params=params, json={"kept": False})
        assert ("GET", None) == (response.json()["method"], response.json()["json"])

        with pytest.raises(TooManyRedirects):
            await client.get(httpbin.url("/redirect/11"))


@pytest.mark.parametrize("tls", [False, True])
async def test_nginx_redirects(nginx, tls):
    async with Client(verify=nginx.ca_file) as client:
        response = await client.get(nginx.url("/redirect", tls=tls))

        assert nginx.files["/hello"] == response.body
        assert [301] == [r.status for r in response.history]
