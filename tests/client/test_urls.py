"""URLs and parameters: what is asked for is what a server sees (issue 3, 2; TRUST 1a, 1e)."""

import pickle
import socket

import pytest
from servers.received import parse, received
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import URL, Client, InvalidURL, LocalProtocolError, UnsupportedProtocol


class Written:
    """What is no str, but has a sane one: as yarl.URL and pathlib.PurePosixPath have."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


# ---- the request line, and Host


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("?a=b", "/?a=b"),
        ("/a b/é?q=ü x#fragment", "/a%20b/%C3%A9?q=%C3%BC%20x"),
        ("/a/./b/../c", "/a/c"),
        ("/%2e%2e/x", "/x"),
        ("/%7e/~/%2F/%zz", "/%7e/~/%2F/%zz"),
        ("/a//b", "/a//b"),
        ("/:@!$&'()*+,;=", "/:@!$&'()*+,;="),
        ('/"<>[]^`{|}', "/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        ("/?", "/?"),
        ("#only", "/"),
    ],
)
async def test_7_target(path, target):
    """TRUST 5, 7, 77: origin-form; what is encoded stays so, and what is not legal becomes it."""
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url(path))

        assert ("GET", target) == (received(server).method, received(server).target)
        assert f"127.0.0.1:{server.port}" == received(server).get("host")


@pytest.mark.parametrize("path", ["", "/a/b?c=d#e"])
@pytest.mark.parametrize("based", [False, True])
async def test_10_options_for_the_whole_server(path, based):
    """TRUST 10: asterisk-form, and nothing of a path; through a base URL, and pickled, too."""
    async with serving(reply()) as server:
        async with Client(base_url=server.url("/base") if based else "") as client:
            whole = pickle.loads(pickle.dumps(URL(server.url(path)).whole_server()))
            response = await client.options(whole, auth=("user", "password"))

            assert ("OPTIONS", "*") == (received(server).method, received(server).target)
            assert f"127.0.0.1:{server.port}" == received(server).get("host")
            assert server.url("") == str(response.request.url) == str(whole)
            assert whole != URL(server.url("/"))

            await client.options(server.url("/"))
            assert "/" == received(server).target


@pytest.mark.parametrize("method", ["GET", "POST", "CONNECT", "options-all"])
async def test_10_only_options(method):
    """No other method is about a whole server, and no query is."""
    async with serving(reply()) as server, Client() as client:
        whole = URL(server.url()).whole_server()
        with pytest.raises(LocalProtocolError):
            await client.request(method, whole)
        with pytest.raises(InvalidURL, match="has no query"):
            await client.options(whole, params={"a": "b"})
        assert 0 == server.connections
    with pytest.raises(InvalidURL, match="has no scheme"):
        URL("/path").whole_server()


async def test_10_digest_for_the_whole_server():
    """What is signed is what is sent."""
    refusal = reply(b"", 'WWW-Authenticate: Digest realm="a", nonce="b"', status="401 Who")
    async with serving(refusal, reply()) as server, Client() as client:
        auth = fastreq.Digest("user", "password")
        await client.options(URL(server.url()).whole_server(), auth=auth)

        assert 'uri="*"' in received(server).get("authorization")


async def test_46_a_long_target():
    """TRUST 46: 8,000 octets, and more."""
    async with serving(reply()) as server, Client() as client:
        path = "/" + "x" * 20_000 + "?" + "y" * 20_000
        await client.get(server.url(path))

        assert path == received(server).target


async def test_6_ipv6():
    """In brackets, with its port, in Host as in the URL."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    async with scripted(one_answer, host="::1") as server, Client() as client:
        response = await client.get(f"http://[0:0::1]:{server.port}/x")

        assert f"[::1]:{server.port}" == received(server).get("host")
        assert f"http://[::1]:{server.port}/x" == str(response.url)


async def one_answer(conn):
    await conn.read_request()
    await conn.send(reply())


async def test_names_are_lower_case_and_may_end_in_a_dot(dns):
    dns["site.test"] = dns["site.test."] = "127.0.0.1"
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url("/", host="SITE.test"))
        await client.get(server.url("/", host="site.TEST."))

        hosts = [parse(raw).get("host") for raw in server.requests]
        assert [f"site.test:{server.port}", f"site.test.:{server.port}"] == hosts


async def test_a_unix_socket(tmp_path):
    async with scripted(one_answer, path=tmp_path / "s.sock") as server, Client() as client:
        response = await client.get(server.url("/containers?all=1"))

        assert str(tmp_path / "s.sock") == response.remote_address
        assert "/containers?all=1" == received(server).target
        assert "localhost" == received(server).get("host")


async def test_49_userinfo_is_in_no_line_but_its_own(canary):
    """TRUST 49: it becomes Authorization, and is never part of the target or of Host."""
    async with serving(reply()) as server, Client() as client:
        password = canary.secret("password", server.url(""))
        response = await client.get(server.url("/").replace("://", f"://user:{password}@"))

        request = received(server)
        assert ("/", f"127.0.0.1:{server.port}") == (request.target, request.get("host"))
        assert request.get("authorization").startswith("Basic ")
        assert password not in repr(response.request)
        assert password.encode() not in request.raw
        canary.check(server)


async def test_anything_with_a_sane_str():
    async with serving(reply()) as server, Client() as client:
        await client.get(URL(server.url("/url")))
        await client.get(Written(server.url("/link")))

        assert ["/url", "/link"] == [parse(raw).target for raw in server.requests]


@pytest.mark.parametrize("url", [None, 5, b"http://h/", "", "/path", "//host/", "host/path"])
async def test_what_is_no_url(url):
    async with Client() as client:
        with pytest.raises(InvalidURL):
            await client.get(url)


@pytest.mark.parametrize("url", ["ftp://h/", "file:///etc/passwd", "ws://h/", "host:80"])
async def test_schemes_that_are_not_ours(url):
    async with Client() as client:
        with pytest.raises(UnsupportedProtocol, match="none of http, https"):
            await client.get(url)


CONTROLS = [chr(code) for code in (*range(0x20), 0x7F)]


async def test_1a_control_characters():
    """TRUST 1a: in path, query, host, userinfo and port, each of them is refused, and none sent."""
    async with serving(reply()) as server, Client() as client:
        for control in CONTROLS:
            for url in (
                server.url(f"/a{control}b"),
                server.url(f"/?a={control}b"),
                server.url("/", host=f"127.0.0.1{control}"),
                server.url("/", host=f"{control}127.0.0.1"),
                server.url("/").replace("://", f"://us{control}er@"),
                server.url("/").replace(f":{server.port}", f":{server.port}{control}"),
                server.url("/") + control,
            ):
                with pytest.raises(InvalidURL):
                    await client.get(url)
            with pytest.raises(InvalidURL):
                await client.get(server.url("/"), params=f"a={control}b")
        assert 0 == server.connections


async def test_1a_a_blank_is_encoded():
    """TRUST 1a: the request line has exactly two blanks."""
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url("/a b"), params="c d")
        await client.get(server.url("/"), params={"c d": "e f"})

        targets = [parse(raw).target for raw in server.requests]
        assert ["/a%20b?c%20d", "/?c+d=e+f"] == targets


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "[127.0.0.1]", "127.0.0.1\\",
        "good.test\\@evil.test", "good.test#@evil.test", "a@b@evil.test", "%31%32%37.0.0.1",
        "[::1", "::1", "[::1%25]", "[fe80::1%eth0]", "evil.test:80:80", "ev il.test", "",
        "１２７.0.0.1", "127。0。0。1", "evil.test\u2044",
    ],
)  # fmt: skip
async def test_1e_hosts_that_parsers_disagree_about(monkeypatch, host):
    """TRUST 1e: what another client may read as another host is refused, before DNS."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: asked.append(a) or [])
    async with Client() as client:
        with pytest.raises((InvalidURL, fastreq.DNSError)):
            await client.get(f"http://{host}/")
    assert not [a for a in asked if a[0] != "good.test"]


async def test_idna_by_the_extra_only(dns, monkeypatch):
    """With `idna`, a name is found as UTS 46 has it; without it, the error says what to install."""
    pytest.importorskip("idna")
    dns["xn--bcher-kva.test"] = "127.0.0.1"
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url("/", host="Bücher.test"))
        assert f"xn--bcher-kva.test:{server.port}" == received(server).get("host")

        fastreq.url._read_server.cache_clear()
        monkeypatch.setitem(__import__("sys").modules, "idna", None)
        with pytest.raises(InvalidURL, match=r"fastreq-http\[idna\]"):
            await client.get(server.url("/again", host="Büecher.test"))


# ---- params=


@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("", {"a": "1", "b": "2"}, "?a=1&b=2"),
        ("?x=0", {"a": "1"}, "?x=0&a=1"),
        ("?a=0", {"a": "1"}, "?a=0&a=1"),
        ("", {"a": ["1", "2"]}, "?a=1&a=2"),
        ("", [("a", "1"), ("b", "2"), ("a", "3")], "?a=1&b=2&a=3"),
        ("", {"q": "a b+c&d=e/?#é"}, "?q=a+b%2Bc%26d%3De%2F%3F%23%C3%A9"),
        ("", {"n": 1, "f": 1.5, "t": True, "none": None}, "?n=1&f=1.5&t=true&none="),
        ("", "a=1&b", "?a=1&b"),
        ("", "?a=1", "?a=1"),
        ("?x", {}, "?x"),
        ("?x", None, "?x"),
        ("?x#frag", {"a": "1"}, "?x&a=1"),
        ("", {"a": []}, ""),
    ],
)
async def test_params(query, params, expected):
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url(f"/p{query}"), params=params)

        assert f"/p{expected}" == received(server).target


async def test_params_of_the_client_come_first():
    """Nothing is replaced: the client's, then the URL's, then the request's."""
    async with serving(reply()) as server, Client(params={"key": "k", "a": "0"}) as client:
        await client.get(server.url("/?a=1"), params={"a": "2"})
        await client.get(server.url("/"))

        targets = [parse(raw).target for raw in server.requests]
        assert ["/?key=k&a=0&a=1&a=2", "/?key=k&a=0"] == targets


@pytest.mark.parametrize("params", [{"a": object()}, ["a"], 5, {"a": {"b": "c"}}, {True: "a"}])
async def test_params_of_the_wrong_type(params):
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(TypeError, match="params"):
            await client.get(server.url("/"), params=params)
        with pytest.raises(TypeError, match="params"):
            Client(params=params)
        assert 0 == server.connections


# ---- base_url (httpx's rules: a relative URL is added to its path)


@pytest.mark.parametrize(
    ("base", "url", "expected"),
    [
        ("", "/users", "/users"),
        ("/", "users", "/users"),
        ("/v1", "users", "/v1/users"),
        ("/v1", "/users", "/v1/users"),
        ("/v1/", "users", "/v1/users"),
        ("/v1/", "/users/", "/v1/users/"),
        ("/v1", "", "/v1/"),
        ("/v1", "?page=2", "/v1/?page=2"),
        ("/v1", "users?page=2#x", "/v1/users?page=2"),
        ("/v1/", "a%2Fb", "/v1/a%2Fb"),
        ("/v1?key=secret", "users", "/v1/users?key=secret"),
        ("/v1?key=secret#x", "users?page=2&a=%26", "/v1/users?key=secret&page=2&a=%26"),
        ("/v1?key=a%20b", "?page=2", "/v1/?key=a%20b&page=2"),
        ("/v1?key=a", "??page=2", "/v1/?key=a&?page=2"),
        ("/v1", "//users/1", "/v1/users/1"),
        ("/v1", "///users//1", "/v1/users//1"),
        ("/v1", "//evil.example:99/a?b", "/v1/evil.example:99/a?b"),
        ("/v1", "//user@evil.example", "/v1/user@evil.example"),
        ("/v1", "//", "/v1/"),
        ("/v1", URL("//evil.example/a"), "/v1/evil.example/a"),
        ("/v1", Written("//evil.example/a"), "/v1/evil.example/a"),
    ],
)
async def test_base_url(base, url, expected):
    async with serving(reply()) as server, Client(base_url=server.url(base)) as client:
        await client.get(url)

        assert expected == received(server).target


async def test_base_url_leaves_other_urls_alone():
    base = "http://127.0.0.1:1/v1?key=secret"
    async with serving(reply()) as server, Client(base_url=base) as client:
        await client.get(server.url("/absolute"))
        await client.get(fastreq.URL(server.url("/absolute")))
        await client.options(fastreq.URL(server.url("/absolute")).whole_server())

        assert ["/absolute", "/absolute", "*"] == [parse(raw).target for raw in server.requests]


async def test_a_path_leads_to_no_other_host(canary):
    """What a caller puts behind a slash may begin with one: the credentials stay at home."""
    async with serving(reply()) as server, serving(reply()) as other:
        password = canary.secret("password", server.url(""))
        async with Client(base_url=server.url("/v1"), auth=("me", password)) as client:
            name = f"/127.0.0.1:{other.port}/"
            await client.get(f"/{name}")
        canary.check(server, other)

        assert 0 == other.connections
        assert f"/v1/127.0.0.1:{other.port}/" == received(server).target


async def test_base_url_may_have_a_user(canary):
    async with serving(reply()) as server, serving(reply()) as other:
        password = canary.secret("password", server.url(""))
        base = server.url("/v1").replace("://", f"://me:{password}@")
        async with Client(base_url=base) as client:
            assert password not in repr(client)
            await client.get("users")
            await client.get(other.url("/users"))
        canary.check(server, other)

        assert "/v1/users" == received(server).target


@pytest.mark.parametrize("base", ["/v1", "example.com", "//host/"])
def test_a_base_url_that_is_none(base):
    with pytest.raises((InvalidURL, UnsupportedProtocol)):
        Client(base_url=base)


async def test_base_url_is_there_to_be_seen():
    async with Client(base_url="https://h/v1") as client:
        assert "https://h/v1" == str(client.base_url)
        assert "https://h/v1/x" == str(client.build_request("GET", "x").url)


def test_a_base_url_that_is_none_keeps_its_password():
    with pytest.raises(InvalidURL) as caught:
        Client(base_url="//user:secret@example.com/")
    assert "secret" not in str(caught.value)
