"""Who we are, over whole requests (issue 3, 5; TRUST 1a, 1d, 65, 69, 76).

Passwords are secrets, and `canary.check()` looks who has seen them, also in base64.
"""

import asyncio
import contextlib
import hashlib
import itertools
import re
from base64 import b64decode

import pytest
from servers.received import parse, received
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq import Auth, Basic, Bearer, Client, Digest, LocalProtocolError, Netrc, Request

DENIED = "401 Unauthorized"


def sent_to(server, number=-1):
    return received(server, number).get("authorization")


def basic_of(field):
    scheme, _, value = field.partition(" ")
    assert "Basic" == scheme
    return b64decode(value, validate=True).decode()


def moved(location):
    return reply(b"", f"Location: {location}", status="302 Found")


# ---- basic and bearer


@pytest.mark.parametrize("given", [("üser", "pass:word"), Basic("üser", "pass:word")], ids=repr)
async def test_basic(wire, given):
    """RFC 7617, in UTF-8; the first request has it already."""
    async with serving(reply(), tls=wire.tls) as server, wire.client() as client:
        await client.get(server.url("/"), auth=given)

        assert "üser:pass:word" == basic_of(sent_to(server))
        assert 1 == len(server.requests)


async def test_bearer(canary):
    async with serving(reply()) as server, Client() as client:
        token = canary.secret("token", server.url(""))
        await client.get(server.url("/"), auth=Bearer(token))
        canary.check(server)

        assert f"Bearer {token}" == sent_to(server)


async def test_a_function_of_the_request():
    def sign(request):
        request.headers["X-Signature"] = f"{request.method} {request.url.path}"
        return request

    async with serving(reply()) as server, Client(auth=sign) as client:
        request = client.build_request("GET", server.url("/a"))
        await client.send(request)

        assert "GET /a" == received(server).get("x-signature")
        assert "x-signature" not in request.headers, "it signs a copy"


async def test_auth_of_a_request_replaces_that_of_the_client():
    async with serving(reply()) as server, Client(auth=("client", "pw")) as client:
        await client.get(server.url("/"))
        await client.get(server.url("/"), auth=("request", "pw"))
        await client.get(server.url("/"), auth=None)

        users = [sent_to(server, n) and basic_of(sent_to(server, n)) for n in range(3)]
        assert ["client:pw", "request:pw", None] == users


async def test_a_user_in_the_url():
    """Decoded (TRUST 49); it counts more than the client's auth, as it is said of one host."""
    async with serving(reply()) as server, Client(auth=("client", "pw")) as client:
        await client.get(server.url("/").replace("://", "://us%40er:p%3Aw%C3%BC@"))
        assert "us@er:p:wü" == basic_of(sent_to(server))

        await client.get(server.url("/").replace("://", "://only@"))
        assert "only:" == basic_of(sent_to(server))


async def test_auth_of_a_request_counts_more_than_a_user_in_its_url():
    """None means none."""
    async with serving(reply()) as server, Client(auth=("client", "pw")) as client:
        url = server.url("/").replace("://", "://url:pw@")
        await client.get(url, auth=("request", "pw"))
        assert "request:pw" == basic_of(sent_to(server))

        await client.get(url, auth=None)
        assert sent_to(server) is None


async def test_an_authorization_of_ones_own():
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url("/"), headers={"Authorization": "Custom abc"})

        assert "Custom abc" == sent_to(server)


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
@pytest.mark.parametrize("user", ["", "url:pw@"])
async def test_an_authorization_of_a_request_counts_more_than_what_is_not_its_own(name, user):
    """Than the client's auth, and than a user in the URL; auth= beside it counts more."""
    async with serving(reply()) as server, Client(auth=("client", "pw")) as client:
        url = server.url("/").replace("://", f"://{user}")
        await client.get(url, headers={name: "Custom abc"})
        assert "Custom abc" == sent_to(server)

        await client.get(url, headers={name: "Custom abc"}, auth=("request", "pw"))
        assert "request:pw" == basic_of(sent_to(server))

        await client.get(url, headers={"X-Other": "Custom abc"})
        assert (user or "client:pw").rstrip("@") == basic_of(sent_to(server))


async def test_auth_counts_more_than_an_authorization_of_the_client():
    fields = {"Authorization": "Custom abc"}
    async with serving(reply()) as server:
        async with Client(auth=("client", "pw"), headers=fields) as client:
            await client.get(server.url("/"), headers={"X-Other": "x"})

        assert "client:pw" == basic_of(sent_to(server))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Basic("a:b", "c"),
        lambda: Basic("a\r\n", "c"),
        lambda: Basic("a", "c\n"),
        lambda: Bearer("a b"),
        lambda: Bearer("a\r\nX-Evil: 1"),
        lambda: Bearer(""),
        lambda: Bearer("é"),
        lambda: Digest("a\n", "b"),
        lambda: Digest("a", "b\0"),
    ],
)
def test_1a_credentials_cannot_inject(make):
    """TRUST 1a: refused when they are made; the text does not show them."""
    with pytest.raises(LocalProtocolError) as caught:
        make()
    assert "Evil" not in str(caught.value)


@pytest.mark.parametrize("auth", ["user:password", 5, ("a",), ("a", "b", "c"), Basic, b"x"])
async def test_auth_of_the_wrong_type(auth):
    async with serving(reply()) as server, Client() as client:
        with pytest.raises(TypeError, match="auth="):
            await client.get(server.url("/"), auth=auth)
        assert 0 == server.connections


async def test_65_a_trace_has_no_credentials(canary):
    """TRUST 65: it is sent back as it came."""
    async with serving(reply()) as server, Client(auth=("u", canary.secret("password"))) as client:
        await client.request("TRACE", server.url("/"))
        await client.request("TRACE", server.url("/"), auth=Bearer(canary.secret("token")))
        canary.check(server)


async def test_65_a_trace_has_no_secrets_that_were_set_by_hand(canary):
    """TRUST 65: not from the client, nor beside the request, nor by a scheme; the rest is sent."""
    names = ("Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Mine")
    secrets = {name: canary.secret(name) for name in names}

    def sign(request):
        request.headers["Authorization"] = canary.secret("signed")
        return request

    async with serving(reply()) as server:
        async with Client(headers={**secrets, "X": "y"}) as client:
            client.sensitive_headers.add("X-Mine")
            await client.request("TRACE", server.url("/"))
            canary.check(server)
            assert "y" == received(server).get("x")
            await client.request("TRACE", server.url("/"), headers=secrets, auth=sign)
            canary.check(server)

            request = client.build_request("TRACE", server.url("/"))
            await client.send(request)
            assert "Authorization" in request.headers, "what the caller has is not changed"
            canary.check(server)


@pytest.mark.parametrize("status", [DENIED, "403 Forbidden"])
async def test_76_what_was_refused_is_not_repeated(status):
    """TRUST 76."""
    challenge = 'WWW-Authenticate: Basic realm="x"'
    async with serving(reply(b"no", challenge, status=status)) as server, Client() as client:
        for auth in (("u", "p"), Bearer("t"), None):
            response = await client.get(server.url("/"), auth=auth)
            assert (int(status[:3]), b"no") == (response.status, response.body)

        assert 3 == len(server.requests)


async def test_69_other_clients_and_origins_know_nothing(canary):
    """TRUST 69: auth of one request is of that one; a client's goes wherever the client is sent."""
    async with serving(reply()) as a, serving(reply()) as b, Client() as client:
        one = canary.secret("of one request", a.url(""))
        await client.get(a.url("/"), auth=("u", one))
        await client.get(a.url("/"))
        await client.get(b.url("/"))
        canary.check(a, b)

        assert sent_to(a) is None


# ---- digest, against a server that checks what it gets


def field_values(field):
    """The parameters of an Authorization, read strictly."""
    scheme, _, rest = field.partition(" ")
    assert "Digest" == scheme
    values, at = {}, 0
    pattern = re.compile(r'([\w*]+)=(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))(?:, |$)')
    while at < len(rest):
        match = pattern.match(rest, at)
        assert match, rest[at:]
        assert match[1] not in values
        quoted = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
        values[match[1]] = quoted
        at = match.end()
    return values


class Checking:
    """A server that wants Digest, and computes for itself what it should be (RFC 7616, 3.4)."""

    def __init__(self, algorithm="MD5", qop="auth", realm="realm", password="secret", uses=100):
        self.algorithm, self.qop, self.realm = algorithm, qop, realm
        self.password, self.uses = password, uses
        self.hash = {"MD5": "md5", "SHA-256": "sha256"}[algorithm.removesuffix("-sess")]
        self.nonces = (f"nonce-{n}" for n in itertools.count(1))
        self.nonce, self.count = "", 0
        self.next_nonce = None
        self.answers = []  # what was decided about each request

    def h(self, *parts):
        return hashlib.new(self.hash, b":".join(parts)).hexdigest().encode()

    async def handle(self, conn):
        while True:
            request = parse(await conn.read_request())
            verdict = self.judge(request)
            self.answers.append(verdict)
            if verdict == "ok":
                await conn.send(reply(b"welcome", *self.info()))
            else:
                await conn.send(reply(b"who?", self.challenge(verdict), status=DENIED))

    def info(self):
        if self.next_nonce is None:
            return []
        self.nonce, self.count, self.next_nonce = self.next_nonce, 0, None
        return [f'Authentication-Info: nextnonce="{self.nonce}"']

    def challenge(self, verdict):
        self.nonce, self.count = next(self.nonces), 0
        realm = re.sub(r'(["\\])', r"\\\1", self.realm)
        qop = f', qop="{self.qop}"' if self.qop else ""
        stale = ", stale=TRUE" if verdict == "stale" else ""
        return (
            f'WWW-Authenticate: Digest realm="{realm}", nonce="{self.nonce}", '
            f'opaque="o\\"paque", algorithm={self.algorithm}{qop}{stale}'
        )

    def judge(self, request):
        if (field := request.get("authorization")) is None:
            return "nobody"
        given = {name: value.encode("latin-1") for name, value in field_values(field).items()}
        assert self.realm.encode() == given["realm"]
        assert b'o"paque' == given["opaque"]
        assert request.target.encode() == given["uri"]
        if given["nonce"].decode() != self.nonce or self.count >= self.uses:
            return "stale"
        self.count += 1
        key = self.h(given["username"], given["realm"], self.password.encode())
        if self.algorithm.endswith("-sess"):
            key = self.h(key, given["nonce"], given["cnonce"])
        asked = [request.method.encode(), given["uri"]]
        middle = []
        if self.qop:
            assert b"%08x" % self.count == given["nc"]
            assert given["qop"].decode() in self.qop.split(", ")
            middle = [given["nc"], given["cnonce"], given["qop"]]
            if given["qop"] == b"auth-int":
                asked.append(self.h(request.body))
        expected = self.h(key, given["nonce"], *middle, self.h(*asked))
        return "ok" if expected == given["response"] else "wrong"


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", "auth, auth-int"])
async def test_digest(wire, canary, algorithm, qop):
    """One 401 per server; then each request is signed at once, with a count that goes up."""
    password = canary.secret("password")  # for nobody: it is never sent
    checking = Checking(algorithm, qop, password=password)
    async with (
        scripted(checking.handle, tls=wire.tls) as server,
        wire.client(auth=Digest("user", password)) as client,
    ):
        for method, body in [("GET", b""), ("POST", b"a body"), ("PUT", [b"a", b"b"])]:
            if qop == "auth-int" and not isinstance(body, bytes):
                continue
            response = await client.request(method, server.url("/a?b=c d"), content=body)
            assert (200, b"welcome") == (response.status, response.body)
        canary.check(server)

        assert ["nobody", "ok", "ok", "ok"][: len(checking.answers)] == checking.answers
        assert 1 == server.connections


async def test_digest_of_old():
    """RFC 2069: without a qop, and with it without a count."""
    checking = Checking(qop="")
    async with (
        scripted(checking.handle) as server,
        Client(auth=Digest("user", "secret")) as client,
    ):
        assert 200 == (await client.get(server.url("/"))).status
        assert {"nc", "cnonce", "qop"}.isdisjoint(field_values(sent_to(server)))


async def test_digest_with_a_wrong_password():
    """TRUST 76: it is tried once."""
    checking = Checking()
    async with scripted(checking.handle) as server, Client(auth=Digest("user", "no")) as client:
        response = await client.get(server.url("/"))

        assert (401, b"who?", 2) == (response.status, response.body, response.attempts)
        assert ["nobody", "wrong"] == checking.answers


async def test_digest_when_the_nonce_is_stale():
    """The server says so, and the request is signed anew without asking anybody."""
    checking = Checking(uses=2)
    async with (
        scripted(checking.handle) as server,
        Client(auth=Digest("user", "secret")) as client,
    ):
        assert [200] * 5 == [(await client.get(server.url("/"))).status for _ in range(5)]
        assert "nobody ok ok stale ok ok stale ok" == " ".join(checking.answers)


async def test_digest_takes_the_next_nonce():
    """RFC 7616, section 3.5."""
    checking = Checking()
    async with (
        scripted(checking.handle) as server,
        Client(auth=Digest("user", "secret")) as client,
    ):
        checking.next_nonce = "given-ahead"
        for _ in range(3):
            assert 200 == (await client.get(server.url("/"))).status

        assert ["nobody", "ok", "ok", "ok"] == checking.answers
        assert "given-ahead" == field_values(sent_to(server))["nonce"]


@pytest.mark.parametrize("realm", ['a"b', "a\\b", '"', "\\", 'x", evil="1'])
async def test_1a_digest_quotes(realm):
    """TRUST 1a: a realm with quotes and backslashes comes back as it was."""
    checking = Checking(realm=realm)
    async with (
        scripted(checking.handle) as server,
        Client(auth=Digest('us"er\\', "secret")) as client,
    ):
        assert 200 == (await client.get(server.url("/"))).status
        assert 'us"er\\' == field_values(sent_to(server))["username"]


async def test_digest_of_many_requests_at_once():
    """Each count is used once."""
    checking = Checking()
    checking.judge = lambda request, judge=checking.judge: unordered(checking, request, judge)
    async with (
        scripted(checking.handle) as server,
        Client(auth=Digest("user", "secret")) as client,
    ):
        await client.get(server.url("/"))
        responses = await asyncio.gather(*(client.get(server.url("/")) for _ in range(20)))

        assert {200} == {response.status for response in responses}
        counts = [field_values(sent_to(server, n))["nc"] for n in range(1, 22)]
        assert len(set(counts)) == len(counts)


def unordered(checking, request, judge):
    """Judge a request whose count may have been overtaken by another's."""
    field = request.get("authorization")
    if field is not None:
        checking.count = int(field_values(field)["nc"], 16) - 1
    return judge(request)


async def test_digest_over_a_stream():
    """The 401 is not the stream that was asked for."""
    checking = Checking()
    async with (
        scripted(checking.handle) as server,
        Client(auth=Digest("user", "secret")) as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert (200, b"welcome") == (response.status, await response.aread())


async def test_1d_digest_belongs_to_its_origin(canary):
    """TRUST 1d: neither nonce nor answer is for another origin that a redirect leads to."""
    password = canary.secret("password")
    one, two = Checking(password=password), Checking(password=password)
    async with scripted(two.handle) as b:
        async with serving(moved(b.url("/"))) as a, Client(auth=Digest("user", password)) as client:
            response = await client.get(a.url("/"))
        assert (401, ["nobody"]) == (response.status, two.answers)

        two.answers.clear()
        async with (
            scripted(one.handle) as a,
            Client(auth=Digest("user", password)) as client,
        ):
            for server in (a, b, a, b):
                assert 200 == (await client.get(server.url("/"))).status
            assert ["nobody", "ok", "ok"] == one.answers == two.answers
            canary.check(a, b)


async def test_digest_does_not_answer_what_it_does_not_know():
    challenges = [
        'Digest realm="r", nonce="n", algorithm=SHA-1',
        'Digest realm="r", nonce="n", qop="auth-conf"',
        'Digest realm="r", nonce=',
        "Digest",
        'Basic realm="r"',
        "Negotiate abcdefgh==",
    ]
    for challenge in challenges:
        answer = reply(b"", f"WWW-Authenticate: {challenge}", status=DENIED)
        async with serving(answer) as server, Client(auth=Digest("u", "p")) as client:
            assert 401 == (await client.get(server.url("/"))).status
            assert 1 == len(server.requests), challenge


# ---- schemes of one's own


class TokenAuth(Auth):
    """Gets a token when it has none, or an old one, and answers the 401 with it."""

    def __init__(self, url, password):
        self.url, self.password, self.token = url, password, None

    def flow(self, request):
        response = None
        if self.token is not None:
            response = yield request.with_field("Authorization", f"Token {self.token}")
        if response is None or response.status == 401:
            login = Request("POST", fastreq.URL(self.url), fastreq.Headers(), b"login")
            said = yield login.with_field("X-Password", self.password)
            self.token = said.json()["token"]
            yield request.with_field("Authorization", f"Token {self.token}")


async def test_a_generator_may_see_a_401_and_answer_it(wire, canary):
    """It logs in elsewhere, on its own behalf, and signs the request with what it got."""
    tokens = (f"t{n}" for n in itertools.count(1))
    valid = set()

    async def login(conn):
        while True:
            await conn.read_request()
            valid.clear()
            valid.add(token := next(tokens))
            await conn.send(reply(f'{{"token": "{token}"}}'.encode()))

    async def api(conn):
        while True:
            request = parse(await conn.read_request())
            known = request.get("authorization") in {f"Token {token}" for token in valid}
            await conn.send(reply(request.body) if known else reply(status=DENIED))

    async with (
        scripted(login, tls=wire.tls) as door,
        scripted(api, tls=wire.tls) as server,
    ):
        password = canary.secret("password", door.url(""))
        async with wire.client(auth=TokenAuth(door.url("/"), password)) as client:
            for content in (b"first", b"second"):
                response = await client.post(server.url("/"), content=content)
                assert (200, content) == (response.status, response.body)
            valid.clear()
            response = await client.post(server.url("/"), content=b"third")
            assert (200, b"third", 3) == (response.status, response.body, response.attempts)
        canary.check(door, server)

        assert 2 == len(door.requests)
        assert ["t1", "t1", "t1", "t2"] == [sent_to(server, n)[6:] for n in range(4)]


async def test_cookies_of_nobody_do_not_go_where_a_token_comes_from():
    """They are for the origin that was asked for; those that have a domain go where it says."""
    token = reply(b'{"token": "t1"}')
    async with serving(token) as door, serving(reply()) as server:
        auth = TokenAuth(door.url("/login"), "pw")
        async with Client(auth=auth, cookies={"a": "b"}) as client:
            client.cookies.set("c", "d", domain="127.0.0.1")
            await client.get(server.url("/"))

        assert "c=d" == received(door).get("cookie")
        assert {"a=b", "c=d"} == set(received(server).get("cookie").split("; "))


@pytest.mark.parametrize("streams", [True, False])
async def test_a_token_may_be_fetched_for_a_stream(streams):
    """The flow reads the body of its own request, and the caller that of his."""
    token = reply(b'{"token": "t1"}')
    async with serving(token) as door, serving(reply(b"the stream")) as server:
        async with Client(auth=TokenAuth(door.url("/"), "pw")) as client:
            request = client.build_request("GET", server.url("/"))
            response = await client.send(request, stream=streams)
            assert b"the stream" == await response.aread()
        assert "Token t1" == sent_to(server)


class Twice:
    """Gives the same pieces to each that asks, though nobody can know that beforehand."""

    async def __aiter__(self):
        yield b"pie"
        yield b"ces"


async def test_a_stream_that_was_not_sent_yet_is_there_when_the_token_is():
    token = reply(b'{"token": "t1"}')
    async with serving(token) as door, serving(reply()) as server:
        async with Client(auth=TokenAuth(door.url("/"), "pw")) as client:
            response = await client.post(server.url("/"), content=Twice())
        assert (200, 2) == (response.status, response.attempts)
        assert b"pieces" == received(server).body


async def test_a_stream_that_was_sent_is_not_sent_with_the_next_token():
    """It may give nothing the second time, and look fine."""
    token = reply(b'{"token": "t1"}')
    async with serving(token) as door, serving(reply(status=DENIED)) as server:
        auth = TokenAuth(door.url("/"), "pw")
        auth.token = "t0"
        async with Client(auth=auth) as client:
            with pytest.raises(fastreq.StreamConsumed, match="a stream is gone"):
                await client.post(server.url("/"), content=Twice())
        assert 1 == len(server.requests)


@pytest.mark.parametrize("signed", ["/?key=1", "/of/key/1"])
async def test_who_signs_the_url_leaves_a_stream_alone(signed):
    """It has no end that anybody could wait for."""

    async def endless(conn):
        await conn.read_request()
        await conn.send(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await conn.wait_closed()

    def sign(request):
        request.url = request.url.join(signed)
        return request

    async with (
        scripted(endless) as server,
        Client(auth=sign, timeout=5) as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert b"first" == await anext(response.iter_bytes())


async def test_a_retry_that_asks_for_a_token_reads_it_for_a_stream_too():
    """What is read goes by what was sent last, and not by what was tried first."""

    class Old(TokenAuth):
        token_is_old = False

        def flow(self, request):
            if self.token_is_old:
                self.token = None
            self.token_is_old = True
            return super().flow(request)

    async with (
        serving(reply(b'{"token": "t2"}')) as door,
        serving(reply(status="503 Busy"), reply(b"the stream")) as server,
    ):
        auth = Old(door.url("/"), "pw")
        auth.token = "t1"
        async with (
            Client(auth=auth, retry=fastreq.Retry(1, backoff=0)) as client,
            client.stream("GET", server.url("/")) as response,
        ):
            assert b"the stream" == await response.aread()
        assert ["Token t1", "Token t2"] == [sent_to(server, 0), sent_to(server, 1)]


class Reading(Auth):
    """Looks at all bodies, and answers what they ask."""

    needs_response_body = True

    def flow(self, request):
        response = yield request
        if response.body == b"who?":
            yield request.with_field("Authorization", "Me")


async def test_a_generator_may_look_at_all_bodies():
    """Then they are read, a stream's as well, which is none any more."""
    async with (
        serving(reply(b"who?", status=DENIED), reply(b"welcome")) as server,
        Client(auth=Reading()) as client,
        client.stream("GET", server.url("/")) as response,
    ):
        assert (b"welcome", 2) == (response.body, response.attempts)
        assert [b"welcome"] == [piece async for piece in response.iter_bytes()]


async def test_a_generator_whose_answer_cannot_be_read():
    """The error is the caller's, and the connection is closed."""
    async with (
        serving(reply(b"x" * 100)) as server,
        Client(auth=Reading(), max_body=10) as client,
    ):
        with pytest.raises(fastreq.BodyTooLarge):
            async with client.stream("GET", server.url("/")):
                pass
        assert 0 == client.stats().total.leased


async def test_what_a_generator_does_to_its_request_stays_with_its_origin(canary):
    """It works on a copy, so that neither a redirect nor the next request has it."""

    class Changing(Auth):
        def flow(self, request):
            request.headers["X-Signature"] = canary.secret("signature", origin)
            yield request

    async with serving(reply()) as b, serving(moved(b.url("/"))) as a, Client() as client:
        origin = a.url("")
        request = client.build_request("GET", a.url("/"), auth=Changing())
        await client.send(request)
        canary.check(a, b)

        assert received(a).get("x-signature")
        assert "x-signature" not in request.headers


async def test_a_retry_is_signed_anew():
    """Signatures have a time, or a number that may be used once."""
    numbers = itertools.count(1)

    def sign(request):
        request.headers["N"] = str(next(numbers))
        return request

    busy = reply(status="503 Busy")
    async with serving(busy, busy, reply()) as server:
        async with Client(auth=sign, retry=fastreq.Retry(3, backoff=0)) as client:
            assert 3 == (await client.get(server.url("/"))).attempts
        assert ["1", "2", "3"] == [received(server, n).get("n") for n in range(3)]


@pytest.mark.parametrize("jar", [None, {"a": "b"}], ids=["plain", "cookies"])
@pytest.mark.parametrize("fault", ["503", "a keep-alive race"])
async def test_digest_counts_each_time_that_it_is_sent(fault, jar):
    """RFC 7616, section 3.4; else a server would take the second for a replay."""
    challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
    faults = iter([fault])

    async def handler(conn):
        while True:
            request = parse(await conn.read_request())
            if request.get("authorization") is None:
                await conn.send(reply(b"who?", challenge, status=DENIED))
            elif (what := next(faults, None)) is None:
                await conn.send(reply())
            elif what == "503":
                await conn.send(reply(status="503 Busy"))
            else:
                return

    auth, retry = Digest("u", "p"), fastreq.Retry(3, backoff=0)
    if fault != "503":
        retry = 0
    async with scripted(handler) as server:
        async with Client(auth=auth, retry=retry, cookies=jar) as client:
            assert 200 == (await client.get(server.url("/"))).status
        counts = [field_values(sent_to(server, n))["nc"] for n in (1, 2)]
        assert ["00000001", "00000002"] == counts
        assert [jar and "a=b"] * 3 == [received(server, n).get("cookie") for n in range(3)]


async def test_a_generator_that_fails():
    """Its error is the caller's; the response that it had is closed."""

    class Broken(Auth):
        def flow(self, request):
            yield request
            raise RuntimeError("no idea")

    async with serving(reply(b"x" * 1000, status=DENIED)) as server, Client() as client:
        with pytest.raises(RuntimeError, match="no idea"):
            async with client.stream("GET", server.url("/"), auth=Broken()):
                pass
        assert 0 == client.stats().total.leased


async def test_a_generator_that_yields_nothing_sends_the_request_as_it_is():
    class Nothing(Auth):
        def flow(self, request):
            yield from ()

    async with serving(reply(b"x")) as server, Client(auth=Nothing()) as client:
        assert b"x" == (await client.get(server.url("/"))).body


class Async(Auth):
    async def flow(self, request):
        yield request


class NoGenerator(Auth):
    def flow(self, request):
        return "SECRET"


class Text(Auth):
    def flow(self, request):
        yield "SECRET"


class ThenText(Auth):
    def flow(self, request):
        yield request
        yield "SECRET"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Async, "gave async_generator; expected a generator"),
        (NoGenerator, "gave str; expected a generator"),
        (Text, "yielded str; expected a Request"),
        (ThenText, "yielded str; expected a Request"),
    ],
)
async def test_a_flow_of_anything_else_is_told(kind, text):
    """What it gave is not shown: it may be a token."""
    async with serving(reply(b"x")) as server, Client(auth=kind()) as client:
        with pytest.raises(TypeError, match=text) as caught:
            await client.get(server.url("/"))
        assert "SECRET" not in str(caught.value)
        assert 0 == client.stats().total.leased


async def test_a_generator_is_closed_when_the_request_fails():
    closed = []

    class Holding(Auth):
        def flow(self, request):
            try:
                yield request
            finally:
                closed.append(True)

    async with Client(auth=Holding()) as client:
        with pytest.raises(fastreq.ConnectError):
            await client.get("http://127.0.0.1:1/")
    assert [True] == closed


# ---- netrc


@pytest.fixture
def netrc(tmp_path, canary):
    """A netrc file: site.test has a password, and there is a default that must not be used."""
    path = tmp_path / "netrc"
    secrets = {"default": canary.secret("default")}

    def write(*origins):
        secrets["site"] = canary.secret("of site.test", *origins)
        path.write_text(
            f"machine site.test login me password {secrets['site']}\n"
            f"machine other.test login you password {canary.secret('of other.test')}\n"
            f"default login any password {secrets['default']}\n"
        )
        path.chmod(0o600)
        return path

    return write


async def test_1d_netrc_is_off_unless_asked_for(netrc, canary, dns, monkeypatch):
    """TRUST 1d: not even with $NETRC set."""
    dns["site.test"] = "127.0.0.1"
    monkeypatch.setenv("NETRC", str(netrc()))
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url("/", host="site.test"))
        canary.check(server)

        assert sent_to(server) is None


@pytest.mark.parametrize("how", ["path", "environment"])
async def test_1d_netrc_for_exactly_the_host(netrc, canary, dns, monkeypatch, how):
    """TRUST 1d: no subdomain, no suffix, no default, and nothing after a redirect."""
    names = "site.test www.site.test ite.test site.test.evil.test unknown.test".split()
    dns |= dict.fromkeys(names, "127.0.0.1")
    async with serving(reply()) as server:
        path = netrc(server.url("", host="site.test"))
        monkeypatch.setenv("NETRC", str(path))
        auth = Netrc(path) if how == "path" else Netrc()
        async with serving(moved(server.url("/", host="other.test"))) as start:
            dns["other.test"] = "127.0.0.1"
            async with Client(auth=auth) as client:
                for name in names:
                    await client.get(server.url("/", host=name))
                await client.get(start.url("/", host="unknown.test"))
            canary.check(server, start)

        assert [True, *[False] * 5] == ["authorization" in str(r).lower() for r in server.requests]


# ---- a server that nobody here wrote


async def test_httpbin_basic_and_bearer(httpbin):
    async with Client() as client:
        url = httpbin.url("/basic-auth/us%C3%A9r/p%20w")
        assert 401 == (await client.get(url)).status
        assert 401 == (await client.get(url, auth=("usér", "no"))).status
        assert 200 == (await client.get(url, auth=("usér", "p w"))).status
        assert 200 == (await client.get(url.replace("://", "://us%C3%A9r:p%20w@"))).status

        assert 401 == (await client.get(httpbin.url("/bearer"))).status
        said = (await client.get(httpbin.url("/bearer"), auth=Bearer("abc"))).json()
        assert "abc" == said["token"]


@pytest.mark.parametrize("qop", ["auth", "auth-int", "any"])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_httpbin_digest(httpbin, qop, algorithm):
    async with Client() as client:
        url = httpbin.url(f"/digest-auth/{qop}/user/passwd/{algorithm}")
        response = await client.get(url, auth=Digest("user", "passwd"))
        assert (200, "user") == (response.status, response.json()["user"])

        assert 401 == (await client.get(url, auth=Digest("user", "no"))).status


async def test_httpbin_digest_goes_stale(httpbin):
    async with Client(auth=Digest("user", "passwd")) as client:
        url = httpbin.url("/digest-auth/auth/user/passwd/MD5/1")
        assert [200] * 4 == [(await client.get(url)).status for _ in range(4)]


async def test_1d_a_signed_request_that_is_sent_again_is_not_signed_elsewhere():
    """Not where it was redirected to, and a kept connection was closed (TRUST 1d)."""

    async def elsewhere(conn):
        await conn.read_request()
        await conn.send(reply(b"there"))
        if conn.server.connections == 1:
            await conn.read_request()  # and hangs up

    async with scripted(elsewhere) as other:
        challenge = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"'
        answers = (reply(b"", challenge, status=DENIED), reply(), moved(other.url("/")))
        async with serving(*answers) as server, Client() as client:
            await client.get(other.url("/"))
            response = await client.get(server.url("/"), auth=Digest("user", "password"))
            response = await client.send(response.request)

            assert (b"there", 3) == (response.body, len(other.requests))
            assert [None] * 3 == [sent_to(other, number) for number in range(3)]


@pytest.mark.parametrize("answers", [True, False])
async def test_1d_credentials_are_not_in_what_led_elsewhere(answers):
    """Whoever sends the request of a response, or of an error, once more gives none away."""

    async def elsewhere(conn):
        await conn.read_request()
        if answers:
            await conn.send(reply())

    async with scripted(elsewhere) as other, serving(moved(other.url("/"))) as server:
        async with Client() as client:
            try:
                response = await client.get(server.url("/"), auth=("user", "password"))
                led = response.request
            except fastreq.ReadError as exc:
                led = exc.request
            assert other.url("/") == str(led.url)
            with contextlib.suppress(fastreq.ReadError):
                await client.send(led)

        assert "Basic" in sent_to(server)
        assert [None, None] == [sent_to(other, number) for number in range(2)]
