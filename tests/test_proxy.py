"""Requests through proxies: those of Debian, ours, and ones that misbehave (TRUST 1c, 1d, C17).

Each request carries secrets of its own. What a proxy is to know must not reach an origin, and what
an origin is to know must not be seen by a proxy in between, where it is TLS that goes through.
"""

import asyncio
import base64
import contextlib
import re
import secrets
import socket
import ssl

import pytest
import trustme
from servers.proxies import PASSWORD, USER, Relay, relaying
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import (
    BlockedAddress,
    Client,
    ConnectError,
    ConnectTimeout,
    ProxyError,
    Retry,
    Timeout,
    TLSError,
    TotalTimeout,
)
from fastreq.resolve import Resolver
from fastreq.routing import Routes
from fastreq.url import URL

HELLO = reply(b"hello")

CA = trustme.CA()
ORIGIN = CA.issue_cert("origin.test")
PROXY = CA.issue_cert("localhost")


def server_tls(cert):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


@pytest.fixture
def ca_file(tmp_path):
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(path)
    return str(path)


class Secret:
    """A user name and a password that nobody else has."""

    def __init__(self, user=None, password=None):
        self.user = user or f"user{secrets.token_hex(8)}"
        self.password = password or f"pass{secrets.token_hex(8)}"
        self.basic = base64.b64encode(f"{self.user}:{self.password}".encode())

    def is_in(self, data):
        """Whether any of it can be read there."""
        forms = (self.user.encode(), self.password.encode(), self.basic)
        return any(form in bytes(data) for form in forms)


def heard(server):
    """All that reached a scripted server."""
    return b"".join(server.requests)


# ---- the real ones

REAL = ["tinyproxy", "locked_tinyproxy", "squid", "squid-tls", "dante", "dante-h", "microsocks"]


@pytest.fixture(params=REAL)
def real(request):
    """A proxy of Debian: its URL with credentials, and the secret in it."""
    fixture, _, variant = request.param.partition("-")
    proxy = request.getfixturevalue(fixture)
    if fixture in ("tinyproxy", "dante"):
        return proxy.url(scheme="socks5h" if variant == "h" else ""), None
    secret = Secret(USER, PASSWORD)
    if fixture == "squid":  # which knows everybody
        user = secret.user + secrets.token_hex(8)
        secret = Secret(user, proxy.password(user))
    scheme = "https" if variant == "tls" else ""
    return proxy.url(scheme=scheme, user=secret.user, password=secret.password), secret


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_real_proxies(real, tls, certs):
    """Bodies both ways, connections used again, and each secret where it belongs."""
    url, of_proxy = real
    of_origin = Secret()
    big = secrets.token_bytes(200_000)
    async with (
        serving(HELLO, reply(big), tls=certs.good if tls else None) as server,
        Client(proxy=url, verify=certs.ca_file) as client,
    ):
        first = await client.get(server.url("/a?b"), auth=(of_origin.user, of_origin.password))
        await asyncio.sleep(0.01)  # tinyproxy closes after each response, and does not say so
        second = await client.post(server.url("/c"), content=big)

    assert (200, b"hello") == (first.status, first.body)
    assert second.body in (big, b"hello")  # on a new connection the server begins anew
    assert server.requests[0].startswith(b"GET /a?b HTTP/1.1\r\n")
    assert server.requests[1].startswith(b"POST /c HTTP/1.1\r\n")
    assert server.requests[1].endswith(big)
    assert of_origin.basic in server.requests[0]
    assert of_proxy is None or not of_proxy.is_in(heard(server))
    assert b"proxy-auth" not in heard(server).lower()
    if of_proxy is not None:
        assert not of_proxy.is_in(repr([client, first, second, first.request]).encode())


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
                assert secret is None or not secret.is_in(str(caught.value).encode())
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
            assert not secret.is_in(str(caught.value).encode())
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


@pytest.fixture
def unused_port():
    """A port that refuses, for it is bound and does not listen."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


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
            await client.put(nginx.url(path, tls=tls), content=bytes(received))
            assert received == (await client.get(nginx.url(path, tls=tls))).body


# ---- what is sent (TRUST 2, numbers 5, 7, 8, 9, 49)


async def sent_to_proxy(url, *, tls=None, options=None, **keywords):
    """The heads that our proxy saw for one request."""
    async with serving(HELLO, tls=tls) as server:
        url = url.replace("PORT", str(server.port))
        names = {"origin.test:80": server.port, "origin.test:443": server.port}
        async with relaying(names) as proxy, Client(proxy=proxy.url(), **keywords) as client:
            await client.request("GET", url, **(options or {}))
        return proxy.heads, heard(server)


@pytest.mark.parametrize(
    ("url", "target", "host", "path"),
    [
        ("http://origin.test", "http://origin.test/", "origin.test", "/"),
        ("http://origin.test:80/a?b=c#d", "http://origin.test/a?b=c", "origin.test", "/a?b=c"),
        ("http://127.0.0.1:PORT/ä", "http://127.0.0.1:PORT/%C3%A4", "127.0.0.1:PORT", "/%C3%A4"),
    ],
)
async def test_absolute_form(url, target, host, path):
    (head,), received = await sent_to_proxy(url)
    head = re.sub(rb"127.0.0.1:\d+", b"127.0.0.1:PORT", head)

    assert f"GET {target} HTTP/1.1\r\nHost: {host}\r\n".encode() == head[: head.index(b"Accept")]
    assert f"GET {path} HTTP/1.1\r\n".encode() in received


async def test_userinfo_is_sent_to_neither(ca_file):
    """It becomes Authorization, and no part of a target or of Host."""
    secret = Secret()
    url = f"http://{secret.user}:{secret.password}@origin.test/"
    (head,), received = await sent_to_proxy(url)

    assert head.startswith(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n")
    assert b"\r\nAuthorization: Basic " + secret.basic in received
    assert secret.user.encode() not in head


async def test_what_the_proxy_sees_of_tls(ca_file):
    """The name and the port, and nothing else."""
    secret = Secret()
    async with (
        serving(HELLO, tls=server_tls(ORIGIN)) as server,
        relaying({"origin.test:443": server.port}) as proxy,
        Client(proxy=proxy.url(), verify=ca_file) as client,
    ):
        await client.post(
            f"https://{secret.user}:{secret.password}@origin.test/{secret.user}",
            content=secret.password,
            headers={"X-Api-Key": secret.user, "Cookie": secret.password},
        )
    assert [b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n"] == proxy.heads
    assert secret.is_in(heard(server))
    assert not secret.is_in(proxy.seen)


@pytest.mark.parametrize("layer", ["forward", "tunnel"])
async def test_credentials_are_for_the_proxy_alone(layer, ca_file):
    secret = Secret()
    tls = server_tls(ORIGIN) if layer == "tunnel" else None
    seen = []
    hooks = fastreq.Hooks(request_sent=seen.append, response_head=seen.append)
    async with serving(HELLO, tls=tls) as server:
        names = {"origin.test:80": server.port, "origin.test:443": server.port}
        async with relaying(names, user=secret.basic) as proxy:
            url = proxy.url(user=secret.user, password=secret.password)
            async with Client(proxy=url, verify=ca_file, hooks=hooks) as client:
                request = client.build_request("GET", f"http{'s' * bool(tls)}://origin.test/")
                response = await client.send(request)
                again = await client.send(request)

    assert (200, 200) == (response.status, again.status)
    assert all(b"Proxy-Authorization: Basic " + secret.basic in head for head in proxy.heads)
    assert (1 if tls else 2) == len(proxy.heads)
    assert "proxy-authorization" not in response.request.fields.names | request.fields.names
    assert not secret.is_in(heard(server))
    assert not secret.is_in(repr((client, client.stats(), seen, proxy.server.url())).encode())


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_proxy_authorization_by_hand(scheme, ca_file, request):
    """It goes to a proxy that is sent the request, and nowhere else."""
    secret = Secret()
    fields = {
        "Proxy-Authorization": f"Bearer {secret.user}",
        "proxy-authorization": secret.password,
    }
    fields = [*fields.items(), ("X-Other", "stays")]
    tls = server_tls(ORIGIN) if scheme == "https" else None
    async with serving(HELLO, tls=tls) as server, contextlib.AsyncExitStack() as stack:
        if scheme == "socks5":
            url, proxy = request.getfixturevalue("dante").url(), None
        else:
            names = {"origin.test:443": server.port}
            proxy = await stack.enter_async_context(relaying(names))
            url = proxy.url(user="u", password="p")
        target = "https://origin.test/" if tls else server.url()
        async with Client(proxy=url, verify=ca_file) as client:
            await client.get(target, headers=fields)
        async with Client(verify=ca_file) as client:
            if not tls:
                await client.get(target, headers=fields)

    assert b"X-Other: stays" in server.requests[0]
    assert not secret.is_in(heard(server))
    assert b"proxy-authorization" not in heard(server).lower()
    if proxy is not None:
        assert (scheme == "http") == secret.is_in(proxy.seen)
        assert (scheme == "https") == (b"Basic dTpw" in proxy.seen)


async def test_trace_has_no_credentials():
    """Whoever answers it sends back what it was sent (TRUST 2, number 65)."""
    secret = Secret()
    async with serving(HELLO) as server, relaying() as proxy:
        url = proxy.url(user=secret.user, password=secret.password)
        async with Client(proxy=url) as client:
            await client.request("TRACE", server.url())

    assert not secret.is_in(proxy.seen)


async def test_numbers_and_addresses(certs):
    """Timings count the proxy as a part of connecting; the address is the proxy's."""
    opened, reused = [], []
    hooks = fastreq.Hooks(connection_opened=opened.append, connection_reused=reused.append)
    async with serving(HELLO, tls=certs.good) as server, relaying(tls=certs.good) as proxy:
        url = proxy.url(host="localhost")
        async with Client(proxy=url, verify=certs.ca_file, hooks=hooks) as client:
            response = await client.get(server.url())
            await client.get(server.url())

    assert ("127.0.0.1", proxy.port) == response.remote_address
    assert 0 < response.timings.connect
    assert 0 < response.timings.tls
    origin = f"https://127.0.0.1:{server.port}"
    assert [origin] == [event.origin for event in opened] == [event.origin for event in reused]


# ---- TLS to the proxy, and through it


@pytest.mark.parametrize("in_tls", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_all_layers(in_tls, tls, ca_file):
    big = secrets.token_bytes(2**20)
    async with serving(HELLO, reply(big), tls=server_tls(ORIGIN) if tls else None) as server:
        names = {"origin.test:80": server.port, "origin.test:443": server.port}
        async with relaying(names, tls=server_tls(PROXY) if in_tls else None) as proxy:
            url = proxy.url(host="localhost")
            async with Client(proxy=url, verify=ca_file) as client:
                origin = f"http{'s' * tls}://origin.test"
                for _ in range(2):
                    assert b"hello" == (await client.get(origin)).body
                    response = await client.put(origin, content=big)
                    assert response.body in (big, b"hello")  # forwarding takes a new connection
                    assert server.requests[-1].endswith(big)
    assert (1 if tls else 4) == server.connections


@pytest.mark.parametrize(
    ("to_proxy", "to_origin", "culprit"),
    [
        (ORIGIN, ORIGIN, "proxy https://localhost"),  # a proxy with the origin's certificate
        (PROXY, PROXY, "https://origin.test through proxy https://localhost"),
        (trustme.CA().issue_cert("localhost"), ORIGIN, "proxy https://localhost"),
        (PROXY, trustme.CA().issue_cert("origin.test"), "https://origin.test through proxy"),
    ],
)
async def test_each_certificate_is_for_its_own_name(to_proxy, to_origin, culprit, ca_file):
    secret = Secret()
    async with serving(HELLO, tls=server_tls(to_origin)) as server:
        names = {"origin.test:443": server.port}
        async with relaying(names, tls=server_tls(to_proxy)) as proxy:
            url = proxy.url(host="localhost", user=secret.user, password=secret.password)
            async with Client(proxy=url, verify=ca_file) as client:
                with pytest.raises(TLSError) as caught:
                    await client.get("https://origin.test/", headers={"X-Api-Key": secret.user})
    assert str(caught.value).startswith(culprit)
    assert "tls" == caught.value.phase
    assert [] == server.requests
    # Who has shown no right certificate is not told who we are.
    assert secret.is_in(proxy.seen) == ("through" in culprit)


async def test_a_plain_proxy_for_the_origins_certificate(ca_file):
    """A name that is right for the proxy is wrong for the origin, without TLS to the proxy too."""
    async with (
        serving(HELLO, tls=server_tls(PROXY)) as server,
        relaying({"origin.test:443": server.port}) as proxy,
        Client(proxy=proxy.url(host="localhost"), verify=ca_file) as client,
    ):
        with pytest.raises(TLSError, match=r"another name: .*origin.test"):
            await client.get("https://origin.test/")


async def test_a_client_certificate_is_not_for_proxies(certs, ca_file):
    """`cert=` says to origins who we are; a proxy that asks for a certificate is given none."""
    shown = []

    async def ask(conn):
        shown.append(conn.tls.getpeercert())
        await conn.read_request()
        await conn.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs.good_file)
    context.load_verify_locations(certs.ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    async with scripted(ask, tls=context) as proxy:
        options = {"verify": certs.ca_file, "cert": certs.client_file}
        async with Client(proxy=proxy.url("", host="localhost"), **options) as client:
            with pytest.raises(ProxyError, match="403"):
                await client.get("https://origin.test/")
            assert 403 == (await client.get("http://origin.test/")).status
        async with Client(**options) as client:
            assert 403 == (await client.get(proxy.url())).status
    assert [False, False, True] == [bool(certificate) for certificate in shown]


async def test_a_proxy_that_speaks_no_tls():
    async def refuse(conn):
        await conn.reader.read(1)
        await conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with (
        scripted(refuse) as proxy,
        Client(proxy=f"https://127.0.0.1:{proxy.port}") as client,
    ):
        with pytest.raises(TLSError, match=r"^proxy https://127.*is it http://, or another port"):
            await client.get("https://origin.test/")


# ---- proxies that misbehave (C17)


def answering(answer, then="wait_closed", step=None):
    """A proxy that answers each first request so."""

    async def misbehave(conn):
        await conn.read_head()
        await conn.send(answer, step=step)
        await getattr(conn, then)()

    return misbehave


MISBEHAVIOUR = {
    "407": b"HTTP/1.1 407 Who are you?\r\nProxy-Authenticate: Basic\r\nContent-Length: 8\r\n\r\nTHE-BODY",
    "3xx": b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 8\r\n\r\nTHE-BODY",
    "401": b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\nTHE-BODY",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nTHE-BODY",
    "503": b"HTTP/1.1 503 Down\r\nRetry-After: 1\r\n\r\nTHE-BODY",
    "200 and bytes": b"HTTP/1.1 200 OK\r\n\r\nTHE-BODY",
    "200 and a body": b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nTHE-BODY",
    "200 and a response": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nTHE-BODY",
    "200 and a TLS record": b"HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03\x00\x02THE-BODY",
    "1xx flood": b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
    "huge head": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000,
    "huge status line": b"HTTP/1.1 200 " + b"x" * 10_000_000,
    "huge 407": b"HTTP/1.1 407 Who?\r\nContent-Length: 10000000\r\n\r\n" + b"THE-BODY" * 1_250_000,
    "no HTTP": b"220 mail.test ESMTP\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "part of a head": b"HTTP/1.1 200 OK\r\nX: THE-BODY",
    "nothing": b"",
}
ENDLESS = {"part of a head", "nothing"}


@pytest.mark.parametrize("in_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("step", [None, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("then", ["wait_closed", "close", "reset", "half_close"])
@pytest.mark.parametrize("what", MISBEHAVIOUR)
async def test_misbehaviour(what, then, step, in_tls, certs):
    """A typed error, at once; nothing of what the proxy says is shown as the origin's."""
    answer = MISBEHAVIOUR[what]
    if what in ENDLESS and then == "wait_closed":
        pytest.skip("that is a matter of time")
    if step and len(answer) > 10_000:
        answer = answer[:20_000]
    tls = certs.good if in_tls else None
    async with (
        scripted(answering(answer, then, step), tls=tls) as proxy,
        Client(proxy=proxy.url(""), verify=certs.ca_file) as client,
    ):
        began = asyncio.get_running_loop().time()
        # Bytes that come later than the head are in the middle of a handshake.
        expected = (ProxyError, TLSError) if "200 and" in what and step else ProxyError
        with pytest.raises(expected) as caught:
            await client.get("https://origin.test/")
        assert asyncio.get_running_loop().time() - began < 5
        assert 0 == client.stats().total.open

    error = caught.value
    assert f"proxy {proxy.url('')}" in str(error)
    assert "evil" not in str(error)
    assert "BODY" not in str(error) or "before it was asked" in str(error) or ENDLESS & {what}
    assert len(str(error)) < 500
    if what[:3].isdigit() and "200" not in what and then != "reset":
        assert int(what[:3]) == error.status
    if then == "wait_closed" and type(error) is ProxyError:
        assert isinstance(error.__cause__, (fastreq.RemoteProtocolError, type(None)))


@pytest.mark.parametrize(
    "answers",
    [
        [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6) + b"early"],
        [b"\x05\x00", b"\x05\x00\x00\x01" + bytes(6) + HELLO],
        [b"\x05\x00\x05\x00\x00\x01" + bytes(6)],
        [b"\x05\xff"],
        [b"\x05\x02"],
        [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
        [b"\x05\x00", b"\x05\x00\x00\x03\xff" + bytes(100)],
        [b"\x05\x00", b""],
        [b"\x05"],
        [b""],
    ],
)
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_misbehaviour_in_socks(answers, then):
    async def misbehave(conn):
        for answer in answers:
            await conn.reader.read(100)
            await conn.send(answer)
        await getattr(conn, then)()

    async with scripted(misbehave) as proxy:
        url = f"socks5h://127.0.0.1:{proxy.port}"
        async with Client(proxy=url) as client:
            with pytest.raises(ProxyError, match=f"^proxy {url} "):
                await client.get("http://origin.test/")
            assert 0 == client.stats().total.open


@pytest.mark.parametrize("first", [HELLO, HELLO + HELLO, b"\x05\x00\x05\x00", b"220 ready\r\n"])
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_speaks_first(first, scheme):
    async def speak(conn):
        await conn.send(first)
        await conn.wait_closed()

    async with (
        scripted(speak) as proxy,
        Client(proxy=f"{scheme}://127.0.0.1:{proxy.port}", timeout=3) as client,
    ):
        with pytest.raises((ProxyError, TLSError)):
            await client.get("https://origin.test/")


async def test_a_plain_origin_that_speaks_first():
    """What comes through a tunnel before a request is no answer to it (TRUST 1c)."""

    async def tunnel(conn):
        await conn.reader.read(100)
        await conn.send(b"\x05\x00")
        await conn.reader.read(100)
        await conn.send(b"\x05\x00\x00\x01" + bytes(6))
        await asyncio.sleep(0.05)
        await conn.send(HELLO)
        await conn.wait_closed()

    async def main(client, url):
        lease = client.stats
        first = asyncio.create_task(client.get(url))
        await asyncio.sleep(0)
        return await first, lease

    async with (
        scripted(tunnel) as proxy,
        Client(proxy=f"socks5h://127.0.0.1:{proxy.port}") as client,
    ):
        # The request is out before the answer here, and the second HELLO is nobody's.
        response, stats = await main(client, "http://origin.test/")
        assert b"hello" == response.body
        assert 1 == stats().total.idle


@pytest.mark.parametrize("in_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["close", "reset", "half_close"])
async def test_a_tunnel_that_breaks(how, in_tls, certs):
    """In the handshake with the origin, and in the middle of an exchange."""

    async def breaking(conn):
        await conn.read_head()
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await conn.reader.read(10)
        await getattr(conn, how)()
        await conn.wait_closed()

    tls = certs.good if in_tls else None
    async with (
        scripted(breaking, tls=tls) as proxy,
        Client(proxy=proxy.url(""), verify=certs.ca_file) as client,
    ):
        with pytest.raises(TLSError, match=r"^https://origin.test through proxy http"):
            await client.get("https://origin.test/")

    async def vanish(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        await conn.reset()

    async with (
        scripted(vanish, tls=certs.good) as server,
        relaying(tls=tls) as proxy,
        Client(proxy=proxy.url(), verify=certs.ca_file) as client,
    ):
        with pytest.raises((fastreq.ReadError, fastreq.IncompleteBody)):
            await client.get(server.url())
        assert 0 == client.stats().total.open


async def test_a_proxy_that_is_not_there(unused_port):
    secret = Secret()
    for scheme in ("http", "https", "socks5", "socks5h"):
        url = f"{scheme}://{secret.user}:{secret.password}@127.0.0.1:{unused_port}"
        async with Client(proxy=url) as client:
            for target in ("http://127.0.0.1:1/", "https://127.0.0.1:1/"):
                with pytest.raises(ConnectError) as caught:
                    await client.get(target)
                assert str(caught.value) == (
                    f"cannot connect to proxy {scheme}://127.0.0.1:{unused_port} "
                    "(127.0.0.1: connection refused: nothing listens there)"
                )


async def test_a_proxy_without_an_address(monkeypatch):
    def fail(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    async with Client(proxy="http://user:secret@proxy.test:3128") as client:
        with pytest.raises(fastreq.DNSError, match=r"'proxy.test'"):
            await client.get("https://127.0.0.1/")


async def test_a_tunnel_without_regard_to_framing(ca_file):
    """TRUST 2, number 20: what a 2xx to CONNECT says of its length is not listened to."""
    established = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(HELLO, tls=server_tls(ORIGIN)) as server:
        names = {"origin.test:443": server.port}
        async with (
            relaying(names, established=established) as proxy,
            Client(proxy=proxy.url(), verify=ca_file) as client,
        ):
            assert b"hello" == (await client.get("https://origin.test/")).body


# ---- time, and cancelling


async def silent(conn):
    await conn.wait_closed()


@pytest.mark.parametrize(
    ("scheme", "greeting"), [("http", b""), ("http", b"HTTP/1.1 2"), ("socks5h", b"\x05")]
)
@pytest.mark.parametrize(
    ("timeout", "error"), [(Timeout(connect=0.1), ConnectTimeout), (0.1, TotalTimeout)]
)
async def test_time(scheme, greeting, timeout, error):
    async def slow(conn):
        await conn.reader.read(100)
        await conn.send(greeting)
        await conn.wait_closed()

    async with scripted(slow) as proxy:
        url = f"{scheme}://user:secret@127.0.0.1:{proxy.port}"
        async with Client(proxy=url, timeout=timeout) as client:
            with pytest.raises(error) as caught:
                await client.get("https://origin.test/")
    text = str(caught.value)
    assert f"no connection to https://origin.test through proxy {scheme}://127.0.0.1:" in text
    assert "in what the proxy does" in text
    assert "secret" not in text
    assert "proxy" == caught.value.phase


async def test_time_for_tls_to_a_proxy():
    async with scripted(silent) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        async with Client(proxy=url, timeout=Timeout(connect=0.1)) as client:
            with pytest.raises(ConnectTimeout, match="in the TLS handshake") as caught:
                await client.get("https://origin.test/")
    assert "tls" == caught.value.phase


@pytest.mark.parametrize("way", ["tls in tls", "tls in http", "http in tls", "socks"])
async def test_cancel_at_every_step(way, certs, request):
    """Wherever it strikes, nothing is left; and the next request is as good as ever."""
    tls = certs.good if way.startswith("tls") else None
    async with serving(HELLO, tls=tls) as server, contextlib.AsyncExitStack() as stack:
        if way == "socks":
            proxy = await stack.enter_async_context(scripted(socks_to(server.port)))
            url = f"socks5://user:pass@127.0.0.1:{proxy.port}"
        else:
            relay = relaying(tls=certs.good if way.endswith("tls") else None)
            url = (await stack.enter_async_context(relay)).url()
        async with Client(proxy=url, verify=certs.ca_file) as client:
            steps = 0
            while await cancelled_after(steps, client, server.url()):
                assert 0 == client.stats().total.open
                steps += 1
            assert steps > 10


async def cancelled_after(steps, client, url):
    """Cancel a request on a new connection after so many turns of the loop, if it lasts so long."""
    task = asyncio.create_task(client.get(url, headers={"Connection": "close"}))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        assert b"hello" == task.result().body
    return task.cancelled()


def socks_to(port, passwords=(b"\x01\x04user\x04pass",)):
    """A SOCKS proxy that asks for a password, and leads to a port of this machine."""

    async def serve(conn):
        version, count = await conn.reader.readexactly(2)
        methods = await conn.reader.readexactly(count)
        assert version == 5
        await conn.send(b"\x05\x02")
        assert 2 in methods
        assert await conn.reader.readexactly(len(passwords[0])) in passwords
        await conn.send(b"\x01\x00")
        conn.server.requests.append(await conn.reader.read(300))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await conn.send(b"\x05\x00\x00\x01" + bytes(6))
        relay = Relay({}, None, b"")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(relay._pump(conn.reader, writer, bytearray()))
                group.create_task(relay._pump(reader, conn.writer, bytearray()))
        finally:
            writer.transport.abort()

    return serve


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


async def test_a_tunnel_serves_nobody_else(ca_file, monkeypatch):
    """http:// and https:// through one proxy as two users, each over connections of its own."""
    one, two = Secret(), Secret()
    async with (
        serving(HELLO, tls=server_tls(ORIGIN)) as secure,
        serving(HELLO) as plain,
        relaying({"origin.test:443": secure.port, "origin.test:80": plain.port}) as proxy,
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy.url(user=one.user, password=one.password))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url(user=two.user, password=two.password))
        async with Client(verify=ca_file) as client:
            for scheme in ("http", "https", "http", "https"):
                await client.get(f"{scheme}://origin.test/")
            assert 2 == client.stats().total.opened
    for head in proxy.heads:
        tunnel = head.startswith(b"CONNECT")
        assert two.is_in(head) == tunnel
        assert one.is_in(head) != tunnel
    assert not one.is_in(heard(secure) + heard(plain))
    assert not two.is_in(heard(secure) + heard(plain))


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
        with pytest.raises(ProxyError, match=r"^HTTPS_PROXY in the environment: 'socks4'") as caught:
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


async def test_a_proxy_for_each_hop(ca_file, monkeypatch):
    """Redirects: the proxy and who we are to it are chosen anew (TRUST 1d, curl CVE-2026-6253)."""
    one, two, of_origin = Secret(), Secret(), Secret()
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        last = await enter(serving(HELLO))
        to_last = reply(b"", f"Location: http://127.0.0.1:{last.port}/", status="302 Found")
        second = await enter(serving(to_last))
        to_second = reply(b"", "Location: http://second.test/", status="307 Temporary Redirect")
        first = await enter(serving(to_second))
        for_plain = await enter(relaying({"second.test:80": second.port, "a.test:80": first.port}))
        for_tls = await enter(relaying({"a.test:443": first.port}))
        monkeypatch.setenv("HTTP_PROXY", for_plain.url(user=one.user, password=one.password))
        monkeypatch.setenv("HTTPS_PROXY", for_tls.url(user=two.user, password=two.password))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with Client(verify=ca_file) as client:
            response = await client.get(
                "http://a.test/",
                auth=(of_origin.user, of_origin.password),
                headers={"Proxy-Authorization": f"Bearer {two.password}"},
            )
    assert [302, 307] == sorted(hop.status for hop in response.history)
    assert b"hello" == response.body
    assert [] == for_tls.heads
    assert [b"GET http://a.test/", b"GET http://second.test/"] == [
        head.rpartition(b" HTTP/1.1")[0].partition(b" HTTP")[0] for head in for_plain.heads
    ]
    # Said by hand, it is for the first proxy alone, and stays with the first origin.
    assert two.password.encode() in for_plain.heads[0]
    assert two.password.encode() not in for_plain.heads[1]
    assert one.is_in(for_plain.heads[1])
    for server, secret in [(first, one), (second, one), (last, one), (first, two), (last, two)]:
        assert not secret.is_in(heard(server))
    assert of_origin.is_in(heard(first))
    assert not of_origin.is_in(heard(second) + heard(last))


# ---- the guard


@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
@pytest.mark.parametrize("target", ["http", "https"])
async def test_the_guard_sees_no_name_that_a_proxy_looks_up(scheme, target):
    async with scripted(silent) as proxy:
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
                with pytest.raises(BlockedAddress, match="allow= does not let through") as caught:
                    await client.get(f"{target}://{host}/")
            if host == "example.com":
                assert f"a name that {url} looks up" in str(caught.value)
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
        return [fastreq.resolve.Address(socket.AF_INET, ip) for ip in answers[host]]

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


async def test_socks_takes_the_next_address(unused_port, monkeypatch):
    """An address that the proxy cannot reach is not the last word."""

    async def resolve(self, host, port):
        families = [(socket.AF_INET6, "2001:db8::1"), (socket.AF_INET, "127.0.0.1")]
        return [fastreq.resolve.Address(*family) for family in families]

    tried = []

    async def picky(conn):
        await conn.reader.readexactly(3)
        await conn.send(b"\x05\x00")
        request = await conn.reader.readexactly(4)
        tried.append(request[3])
        if request[3] == 4:
            await conn.send(b"\x05\x08\x00\x01" + bytes(6))
            await conn.wait_closed()
            return
        await conn.reader.readexactly(6)
        await conn.send(b"\x05\x00\x00\x01" + bytes(6))
        await conn.read_request()
        await conn.send(HELLO)

    monkeypatch.setattr(Resolver, "resolve", resolve)
    async with scripted(picky) as proxy, Client(proxy=f"socks5://127.0.0.1:{proxy.port}") as client:
        assert b"hello" == (await client.get("http://origin.test/")).body
    assert [4, 1] == tried


# ---- with the rest of the client


@pytest.mark.parametrize(
    ("answer", "then", "tries"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "close", 3),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "close", 3),
        (b"", "close", 3),
        (b"", "reset", 3),
        (b"HTTP/1.1 2", "close", 3),
        (b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n", "close", 1),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "close", 1),
        (b"nonsense\r\n", "close", 1),
    ],
)
async def test_retries(answer, then, tries):
    """Nothing was sent to the origin, so even a POST may be tried again, where that can help."""
    async with (
        scripted(answering(answer, then)) as proxy,
        Client(proxy=proxy.url(""), retry=Retry(2, backoff=0)) as client,
    ):
        with pytest.raises(ProxyError) as caught:
            await client.post("https://origin.test/", content=b"x")
    assert tries == caught.value.attempts == proxy.connections


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


async def test_closing_while_a_tunnel_is_made():
    async with scripted(silent) as proxy:
        client = Client(proxy=proxy.url(""), timeout=Timeout(connect=0.3))
        task = asyncio.create_task(client.get("https://origin.test/"))
        while not proxy.connections:
            await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(fastreq.FastreqError):
            await task
