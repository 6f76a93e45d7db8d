"""Digest: the RFC's examples, a server that checks what is sent, and what is never sent."""

import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.errors import StreamConsumed
from fastreq.headers import Headers
from fastreq.messages import Request, Response
from fastreq.policies import digest as digest_module
from fastreq.policies.challenges import quoted_string, read_challenges
from fastreq.policies.digest import MAX_ORIGINS, Digest
from fastreq.url import URL, parse_url

HASHES = {
    "MD5": "md5",
    "SHA-256": "sha256",
    "SHA-512-256": "sha512_256",
    "SHA-512": "sha512",
}
NAMES = [name + suffix for name in HASHES for suffix in ("", "-sess")]

CHALLENGE = 'Digest realm="r", nonce="n1", qop="auth"'


def request_to(url="http://example.com/dir/index.html", method="GET", body=b""):
    return Request(method, parse_url(url), Headers(), body)


def refusal(*fields):
    return Response(401, headers=[("WWW-Authenticate", field) for field in fields])


def answer(digest, *fields, request=None):
    """The parameters of what is sent after such a 401; None if nothing more is."""
    flow = digest.flow(request or request_to())
    next(flow)
    try:
        return sent(flow.send(refusal(*fields)))
    except StopIteration:
        return None


def sent(request):
    """The parameters of the Authorization of a request; None without one."""
    if "Authorization" not in request.fields:
        return None
    [challenge] = read_challenges(request.fields["Authorization"])
    assert "digest" == challenge.scheme
    return challenge.parameters


def finish(flow, response):
    with pytest.raises(StopIteration):
        flow.send(response)


# ---- RFC 7616, section 3.9


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_example_of_the_rfc(algorithm, response):
    found = answer(
        Digest(
            "Mufasa",
            "Circle of Life",
            cnonce=lambda: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        ),
        'Digest realm="http-auth@example.org", qop="auth, auth-int", '
        f'algorithm={algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", '
        'opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
        request=request_to(body=(b"no bytes, so that auth is chosen as in the example",)),
    )

    assert found == {
        "username": "Mufasa",
        "realm": "http-auth@example.org",
        "uri": "/dir/index.html",
        "algorithm": algorithm,
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "nc": "00000001",
        "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        "qop": "auth",
        "response": response,
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    }


UTF8 = (
    'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, '
    'nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", '
    'opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8'
)


@pytest.mark.parametrize("user", ["J\u00e4s\u00f8n Doe", "Ja\u0308s\u00f8n Doe"])
@pytest.mark.parametrize("userhash", ["", ", userhash=true"])
def test_example_with_another_alphabet(user, userhash):
    """As erratum 4897 corrects it; the user name in normal form C or not."""
    cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    auth = Digest(user, "Secret, or not?", cnonce=lambda: cnonce)
    flow = auth.flow(request_to("http://api.example.org/doe.json"))
    next(flow)
    value = flow.send(refusal(UTF8 + userhash)).fields["Authorization"]

    assert 'response="3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"' in value
    hashed = "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
    if userhash:
        assert f'Digest username="{hashed}", ' in value
        assert value.endswith(", userhash=true")
    else:
        assert "Digest username*=UTF-8''J%C3%A4s%C3%B8n%20Doe, " in value


def test_a_slash_in_another_alphabet():
    """Every octet but a letter, a digit and -._~ is percent-encoded in `username*`."""
    flow = Digest("\u00e9/X", "p").flow(request_to("http://api.example.org/"))
    next(flow)

    value = flow.send(refusal(UTF8)).fields["Authorization"]
    assert "username*=UTF-8''%C3%A9%2FX, " in value


def test_a_whole_server_is_signed_as_it_is_asked():
    """By an asterisk, which is no path (RFC 9112, section 3.2.4)."""
    asked = Request("OPTIONS", URL("http://api.example.org/").whole_server(), Headers())
    flow = Digest("u", "p").flow(asked)
    next(flow)

    assert 'uri="*", ' in flow.send(refusal(UTF8)).fields["Authorization"]


def test_before_rfc_2617():
    """RFC 2069: no qop, and so no nonce of ours; its section 2.4, with erratum 749."""
    found = answer(
        Digest("Mufasa", "CircleOfLife"),
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"',
    )

    assert "1949323746fe6a43ef61f9606e7febea" == found["response"]
    assert {"qop", "nc", "cnonce", "algorithm"}.isdisjoint(found)


# ---- against a server that checks


class Server:
    """Grants what is signed by the rules, written down once more."""

    def __init__(self, algorithm="SHA-256", qop="auth", realm="r", user="u", password="p"):
        self.algorithm, self.qop, self.realm = algorithm, qop, realm
        self.user, self.password = user, password
        self.nonce, self.count, self.key = "nonce-1", 0, None

    def hash(self, *parts):
        name = HASHES[self.algorithm.removesuffix("-sess")]
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    def respond(self, request):
        given = sent(request)
        if given is None or given["nonce"] != self.nonce:
            stale = "" if given is None else ", stale=TRUE"
            self.count, self.key = 0, None
            return self.refuse(stale)
        self.count += 1
        asked = [request.method, given["uri"]]
        if given["qop"] == "auth-int":
            asked.append(
                hashlib.new(
                    HASHES[self.algorithm.removesuffix("-sess")], request.content
                ).hexdigest()
            )
        if self.key is None:
            self.key = self.hash(self.user, self.realm, self.password)
            if self.algorithm.endswith("-sess"):
                self.key = self.hash(self.key, self.nonce, given["cnonce"])
        right = self.hash(
            self.key,
            self.nonce,
            f"{self.count:08x}",
            given["cnonce"],
            given["qop"],
            self.hash(*asked),
        )
        assert self.qop == given["qop"]
        assert f"{self.count:08x}" == given["nc"]
        assert str(request.url).endswith(given["uri"])
        return Response(200) if given["response"] == right else self.refuse("")

    def refuse(self, more):
        return refusal(
            f"Digest realm={quoted_string(self.realm)}, nonce={quoted_string(self.nonce)}, "
            f'qop="{self.qop}", algorithm={self.algorithm}{more}'
        )

    def run(self, auth, request):
        """The statuses of all responses until the flow ends."""
        flow, statuses = auth.flow(request), []
        signed = next(flow)
        while True:
            response = self.respond(signed)
            statuses.append(response.status)
            try:
                signed = flow.send(response)
            except StopIteration:
                return statuses


@pytest.mark.parametrize("algorithm", NAMES)
@pytest.mark.parametrize("qop", ["auth", "auth-int"])
def test_each_algorithm_and_qop(algorithm, qop):
    """The first request costs two; then the nonce is known, and its uses are counted."""
    server, auth = Server(algorithm, qop), Digest("u", "p")
    request = request_to("http://h/a?b=c&d=%20", "POST", b"body")

    assert [401, 200] == server.run(auth, request)
    assert [200] == server.run(auth, request)
    assert [200] == server.run(auth, request_to("http://h/other"))


@pytest.mark.parametrize("algorithm", NAMES)
def test_a_stale_nonce_is_replaced(algorithm):
    server, auth = Server(algorithm), Digest("u", "p")
    server.run(auth, request_to())
    server.nonce = "nonce-2"

    assert [401, 200] == server.run(auth, request_to())
    assert [200] == server.run(auth, request_to())


@pytest.mark.parametrize("algorithm", NAMES)
def test_the_next_nonce_is_taken(algorithm):
    """With a new count; the key of -sess stays that of the first nonces (section 3.4.2)."""
    server, auth = Server(algorithm), Digest("u", "p")
    flow = auth.flow(request_to())
    signed = flow.send(server.respond(next(flow)))
    assert 200 == server.respond(signed).status
    finish(flow, Response(200, headers={"Authentication-Info": 'nextnonce="nonce-2"'}))
    server.nonce, server.count = "nonce-2", 0

    assert [200] == server.run(auth, request_to())
    assert [200] == server.run(auth, request_to())


HARD = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=20)


@given(
    HARD.filter(str.isascii),
    HARD.filter(str.isascii),
    HARD.filter(str.isascii),
    st.text('\\"ab,= '),
)
def test_quotes_and_backslashes(user, password, realm, nonce):
    """Of all that is quoted: what the server reads is what it meant, or what the user has."""
    server, auth = Server(realm=realm, user=user, password=password), Digest(user, password)
    server.nonce = nonce

    assert [401, 200] == server.run(auth, request_to())


@pytest.mark.parametrize("text", ['a"b', "a\\b", 'a\\"b', "\\", '"', '", nonce="x', "a\tb"])
def test_what_is_quoted_is_quoted_back(text):
    found = answer(
        Digest("u", "p"), f"Digest realm={quoted_string(text)}, nonce={quoted_string(text)}"
    )
    assert (text, text) == (found["realm"], found["nonce"])


@each_row("code", [*range(9), *range(10, 32), 127])
def test_a_realm_with_a_control_character_is_not_answered(code):
    response = Response(401)
    field = f'Digest realm="a{chr(code)}b", nonce="n"'.encode()
    response.headers._fields.append(("www-authenticate", b"WWW-Authenticate", field))
    flow = Digest("u", "p").flow(request_to())
    next(flow)

    finish(flow, response)


def test_a_user_outside_ascii_without_charset():
    """Sent as UTF-8, the bytes of the hash too; RFC 7616 leaves it open."""
    found = answer(Digest("ü", "ß"), 'Digest realm="ö", nonce="n"')
    key = hashlib.md5(b"\xc3\xbc:\xf6:\xc3\x9f").hexdigest()
    asked = hashlib.md5(b"GET:/dir/index.html").hexdigest()

    assert "\u00c3\u00bc" == found["username"]
    assert hashlib.md5(f"{key}:n:{asked}".encode()).hexdigest() == found["response"]


# ---- what is chosen


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (["MD5", "SHA-256"], "SHA-256"),
        (["SHA-256", "MD5"], "SHA-256"),
        (["MD5", "SHA-512-256", "SHA-256"], "SHA-512-256"),
        (["SHA-256", "SHA-512-256"], "SHA-256"),  # as strong, and the server's first
        (["MD5-sess", "MD5"], "MD5-sess"),
        (["NEW-512", "md5"], "md5"),
        (["NEW-512"], None),
        (["MD5-se\u00df"], None),
        (["-sess"], None),
        (["SHA-256-sess-sess"], None),
    ],
)
@pytest.mark.parametrize("in_one_field", [False, True])
def test_the_strongest_algorithm(offers, chosen, in_one_field):
    fields = [
        f'Digest realm="r", nonce="{n}", qop="auth", algorithm={quoted_string(name)}'
        for n, name in enumerate(offers)
    ]
    if in_one_field:
        fields = [", ".join(["Negotiate", *fields, 'Basic realm="b"'])]
    found = answer(Digest("u", "p"), *fields)

    assert chosen == (found and found["algorithm"])
    assert found is None or str(offers.index(chosen)) == found["nonce"]


@pytest.mark.parametrize(
    ("qop", "body", "chosen"),
    [
        ("auth", b"", "auth"),
        ("auth-int", b"", "auth-int"),
        ("auth,auth-int", b"x", "auth-int"),
        ("auth-int , AUTH,", b"x", "auth-int"),
        ("auth,auth-int", (b"x",), "auth"),
        ("auth,auth-conf", b"", "auth"),
    ],
)
def test_the_strongest_qop(qop, body, chosen):
    found = answer(
        Digest("u", "p"), f'Digest realm="r", nonce="n", qop="{qop}"', request=request_to(body=body)
    )
    assert chosen == found["qop"]


@pytest.mark.parametrize(
    "field",
    [
        'Basic realm="r"',
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r", nonce="n", qop="auth-conf"',
        'Digest realm="r", nonce="n", qop=""',
        'Digest realm="r", nonce="n", algorithm=MD5-sess',  # its key has a nonce we cannot send
        'Digest realm="r", nonce="n", nonce="m"',
        "",
    ],
)
def test_challenges_that_cannot_be_answered(field):
    """The 401 is handed out."""
    assert answer(Digest("u", "p"), field) is None


def test_a_hash_that_this_python_has_not(monkeypatch):
    """FIPS takes away MD5, an old OpenSSL has no SHA-512/256."""

    def new(name, *args, real=hashlib.new, **options):
        if name == "sha512_256":
            raise ValueError("unsupported hash type")
        return real(name, *args, **options)

    monkeypatch.setattr(digest_module.hashlib, "new", new)
    fields = [f'Digest realm="r", nonce="n", algorithm={name}' for name in ("SHA-512-256", "MD5")]

    assert "MD5" == answer(Digest("u", "p"), *fields)["algorithm"]


# ---- bodies


def test_a_stream_cannot_be_signed():
    auth = Digest("u", "p")
    request = request_to(method="POST", body=(b"a tuple is no bytes",))

    with pytest.raises(StreamConsumed, match=r"http://example.com wants the body signed"):
        answer(auth, 'Digest realm="r", nonce="n", qop="auth-int"', request=request)


def test_a_stream_cannot_be_sent_twice():
    with pytest.raises(StreamConsumed, match="make a GET first: its nonce is remembered"):
        answer(Digest("u", "p"), CHALLENGE, request=request_to(body=iter([b"x"])))


def test_a_stream_is_signed_at_once_where_the_nonce_is_known():
    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to())

    assert [200] == server.run(auth, request_to(body=iter([b"x"])))


# ---- what is not repeated, and what is not kept


def test_a_wrong_password_is_sent_once():
    """Row 76, and again for the next request: the server asks, and gets one answer."""
    server, auth = Server(), Digest("u", "wrong")

    for _ in range(3):
        assert [401, 401] == server.run(auth, request_to())
        server.count = 0


def test_a_server_that_is_always_stale_is_answered_twice():
    auth = Digest("u", "p")
    flow = auth.flow(request_to())
    next(flow)
    flow.send(refusal(CHALLENGE))
    flow.send(refusal(CHALLENGE + ", stale=TRUE"))

    finish(flow, refusal(CHALLENGE + ", stale=true"))
    assert sent(next(auth.flow(request_to()))) is None


def test_a_nonce_that_was_refused_is_forgotten():
    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to())
    flow = auth.flow(request_to())
    next(flow)

    finish(flow, refusal("Basic realm=r"))
    assert sent(next(auth.flow(request_to()))) is None


def test_a_server_that_forgot_is_answered():
    """Without saying stale, as after a restart: the credentials were right before."""
    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to())
    flow = auth.flow(request_to())
    next(flow)

    assert "n1" == sent(flow.send(refusal(CHALLENGE)))["nonce"]


@pytest.mark.parametrize("status", [200, 403, 404, 500])
def test_other_answers_end_it(status):
    for start in ([], [refusal(CHALLENGE)]):
        flow = Digest("u", "p").flow(request_to())
        next(flow)
        for response in start:
            flow.send(response)
        finish(flow, Response(status, headers={"WWW-Authenticate": CHALLENGE}))


def test_trace_is_not_answered():
    """Row 65."""
    flow = Digest("u", "p").flow(request_to(method="TRACE"))
    next(flow)
    finish(flow, refusal(CHALLENGE))

    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to())
    assert sent(next(auth.flow(request_to(method="TRACE")))) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "http://example.com:81/",
        "http://other.example/",
        "http://a.example.com/",
    ],
)
def test_a_nonce_stays_with_its_origin(url):
    """Row 69."""
    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to("http://example.com/"))

    assert sent(next(auth.flow(request_to("http://example.com/x"))))
    assert sent(next(auth.flow(request_to(url)))) is None


def test_a_nonce_is_remembered_when_it_was_accepted():
    auth = Digest("u", "p")
    flow = auth.flow(request_to())
    next(flow)
    flow.send(refusal(CHALLENGE))

    assert sent(next(auth.flow(request_to()))) is None
    finish(flow, Response(200))
    assert sent(next(auth.flow(request_to())))


def test_a_late_answer_does_not_bring_back_a_stale_nonce():
    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to())
    slow = auth.flow(request_to())
    next(slow)
    server.nonce = "nonce-2"
    server.run(auth, request_to())
    finish(slow, Response(200))

    assert "nonce-2" == sent(next(auth.flow(request_to())))["nonce"]


def test_a_late_refusal_does_not_lose_the_new_nonce():
    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to())
    slow = auth.flow(request_to())
    next(slow)
    server.nonce = "nonce-2"
    server.run(auth, request_to())
    finish(slow, refusal("Basic realm=r"))

    assert "nonce-2" == sent(next(auth.flow(request_to())))["nonce"]


def test_what_is_remembered_is_bounded():
    """The oldest origins are forgotten."""
    auth = Digest("u", "p")
    for number in range(MAX_ORIGINS + 10):
        Server().run(auth, request_to(f"http://h{number}/"))

    assert f"<Digest user='u' origins={MAX_ORIGINS}>" == repr(auth)
    assert sent(next(auth.flow(request_to("http://h9/")))) is None
    assert sent(next(auth.flow(request_to("http://h10/"))))


def test_our_nonces_are_new_and_random():
    nonces = {answer(Digest("u", "p"), CHALLENGE)["cnonce"] for _ in range(100)}

    assert 100 == len(nonces)
    assert all(len(nonce) >= 32 and set(nonce) <= set(string.hexdigits) for nonce in nonces)


def test_requests_at_once_count_one_nonce():
    server, auth = Server(), Digest("u", "p")
    server.run(auth, request_to())
    flows = [auth.flow(request_to()) for _ in range(20)]

    counts = [int(sent(next(flow))["nc"], 16) for flow in flows]
    assert list(range(2, 22)) == counts
