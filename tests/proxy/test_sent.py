"""What proxies and origins get to see (TRUST 1d; 2, numbers 5, 7, 8, 9, 49, 65).

Each request carries secrets of its own. What a proxy is to know must not reach an origin, and what
an origin is to know must not be seen by a proxy, where it is TLS that goes through.
"""

import re
import secrets
import ssl

import pytest
from servers.proxies import relaying
from servers.scripted import reply, scripted, serving
from servers.secrets import Secret, heard

import fastreq
from fastreq import Client, ProxyError, TLSError

HELLO = reply(b"hello")


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


async def test_options_for_the_whole_server():
    """TRUST 10: a proxy is told by an empty path (RFC 9112, section 3.2.4); GET has none."""
    async with serving(HELLO) as proxy, Client(proxy=proxy.url("")) as client:
        whole = fastreq.URL("http://origin.test:8001/a").whole_server()
        await client.options(whole)
        with pytest.raises(fastreq.LocalProtocolError):
            await client.get(whole)

    (request,) = proxy.requests
    assert request.startswith(b"OPTIONS http://origin.test:8001 HTTP/1.1\r\nHost: origin.test:8001")


async def test_userinfo_is_sent_to_neither():
    """It becomes Authorization, and no part of a target or of Host."""
    secret = Secret()
    url = f"http://{secret.user}:{secret.password}@origin.test/"
    (head,), received = await sent_to_proxy(url)

    assert head.startswith(b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n")
    assert b"\r\nAuthorization: Basic " + secret.basic in received
    assert secret.user.encode() not in head


async def test_what_the_proxy_sees_of_tls(two_certs, canary):
    """The name and the port, and nothing else."""
    secret = Secret.of(canary, "the origin's", "https://origin.test")
    async with (
        serving(HELLO, tls=two_certs.origin) as server,
        relaying({"origin.test:443": server.port}) as proxy,
        Client(proxy=proxy.url(), verify=two_certs.ca_file) as client,
    ):
        await client.post(
            f"https://{secret.user}:{secret.password}@origin.test/{secret.user}",
            content=secret.password,
            headers={"X-Api-Key": secret.user, "Cookie": secret.password},
        )
    assert [b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n"] == proxy.heads
    canary.check(server, proxy)


@pytest.mark.parametrize("layer", ["forward", "tunnel"])
async def test_credentials_are_for_the_proxy_alone(layer, two_certs, canary):
    tls = two_certs.origin if layer == "tunnel" else None
    seen = []
    hooks = fastreq.Hooks(request_sent=seen.append, response_head=seen.append)
    async with serving(HELLO, tls=tls) as server:
        names = {"origin.test:80": server.port, "origin.test:443": server.port}
        async with relaying(names) as proxy:
            secret = Secret.of(canary, "the proxy's", proxy.url())
            url = proxy.url(user=secret.user, password=secret.password)
            async with Client(proxy=url, verify=two_certs.ca_file, hooks=hooks) as client:
                request = client.build_request("GET", f"http{'s' * bool(tls)}://origin.test/")
                response = await client.send(request)
                again = await client.send(request)

    assert (200, 200) == (response.status, again.status)
    assert all(b"Proxy-Authorization: Basic " + secret.basic in head for head in proxy.heads)
    assert (1 if tls else 2) == len(proxy.heads)
    assert "proxy-authorization" not in response.request.fields.names | request.fields.names
    canary.check(server, proxy)
    assert not secret.is_in([client, client.stats(), seen])


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "none"])
async def test_proxy_authorization_by_hand(scheme, two_certs, canary, dante):
    """It goes to a proxy that is sent the request, and nowhere else."""
    tls = two_certs.origin if scheme == "https" else None
    async with (
        serving(HELLO, tls=tls) as server,
        relaying({"origin.test:443": server.port}) as proxy,
    ):
        way = {"socks5": dante.url(), "none": None}.get(scheme, proxy.url(user="u", password="p"))
        target = "https://origin.test/" if tls else server.url()
        meant_for = [proxy.url()] if scheme == "http" else []
        fields = [
            ("Proxy-Authorization", "Bearer " + canary.secret("by hand", *meant_for)),
            ("proxy-authorization", canary.secret("by hand once more", *meant_for)),
            ("X-Other", "stays"),
        ]
        async with Client(proxy=way, verify=two_certs.ca_file) as client:
            await client.get(target, headers=fields)

    canary.check(server, proxy)
    assert b"X-Other: stays" in server.requests[0]
    assert b"proxy-authorization" not in heard(server).lower()
    # What was said by hand counts more; of a tunnel it says nothing.
    assert (scheme == "https") == (b"Basic dTpw" in proxy.seen)


async def test_trace_has_no_credentials(canary):
    """Whoever answers it sends back what it was sent (TRUST 2, number 65)."""
    secret = Secret.of(canary, "the proxy's")
    async with serving(HELLO) as server, relaying() as proxy:
        url = proxy.url(user=secret.user, password=secret.password)
        async with Client(proxy=url) as client:
            await client.request("TRACE", server.url())

    canary.check(server, proxy)


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
async def test_all_layers(in_tls, tls, two_certs):
    big = secrets.token_bytes(2**20)
    async with serving(HELLO, reply(big), tls=two_certs.origin if tls else None) as server:
        names = {"origin.test:80": server.port, "origin.test:443": server.port}
        async with relaying(names, tls=two_certs.proxy if in_tls else None) as proxy:
            url = proxy.url(host="localhost")
            async with Client(proxy=url, verify=two_certs.ca_file) as client:
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
        ("origin", "origin", "proxy https://localhost"),
        ("proxy", "proxy", "https://origin.test through proxy https://localhost"),
        ("strange_proxy", "origin", "proxy https://localhost"),
        ("proxy", "strange_origin", "https://origin.test through proxy https://localhost"),
    ],
)
async def test_each_certificate_is_for_its_own_name(
    to_proxy, to_origin, culprit, two_certs, canary
):
    of_origin = canary.secret("the origin's")
    async with serving(HELLO, tls=getattr(two_certs, to_origin)) as server:
        names = {"origin.test:443": server.port}
        async with relaying(names, tls=getattr(two_certs, to_proxy)) as proxy:
            # Who has shown no right certificate is not told who we are.
            secret = Secret.of(canary, "the proxy's", *[proxy.url()] * ("through" in culprit))
            url = proxy.url(host="localhost", user=secret.user, password=secret.password)
            async with Client(proxy=url, verify=two_certs.ca_file) as client:
                with pytest.raises(TLSError) as caught:
                    await client.get("https://origin.test/", headers={"X-Api-Key": of_origin})
    assert str(caught.value).startswith(culprit)
    assert "tls" == caught.value.phase
    assert [] == server.requests
    canary.check(server, proxy)


async def test_a_plain_proxy_for_the_origins_certificate(two_certs):
    """A name that is right for the proxy is wrong for the origin, without TLS to the proxy too."""
    async with (
        serving(HELLO, tls=two_certs.proxy) as server,
        relaying({"origin.test:443": server.port}) as proxy,
        Client(proxy=proxy.url(host="localhost"), verify=two_certs.ca_file) as client,
    ):
        with pytest.raises(TLSError, match=r"another name: .*origin.test"):
            await client.get("https://origin.test/")


async def test_a_client_certificate_is_not_for_proxies(certs, two_certs):
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
