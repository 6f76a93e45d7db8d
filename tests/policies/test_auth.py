"""Basic, Bearer, netrc, and what every scheme keeps to: the caller's request does not change."""

import base64
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.errors import LocalProtocolError
from fastreq.headers import Headers
from fastreq.messages import Request, Response
from fastreq.policies.auth import Auth, Basic, Bearer, Netrc, Rounds, from_userinfo, to_auth
from fastreq.policies.digest import Digest
from fastreq.url import parse_url

CONTROLS = [chr(code) for code in (*range(0x20), 0x7F)]


def request_to(url="https://example.com/", method="GET", body=b"", **fields):
    return Request(method, parse_url(url), Headers(fields), body)


def authorization(auth, request=None):
    """What a scheme sends at first."""
    return next(auth.flow(request or request_to())).fields.get_list("Authorization")


# ---- every scheme


SCHEMES = [
    Basic("u", "p"),
    Bearer("t"),
    Digest("u", "p"),
    to_auth(lambda request: request),
    Auth(),
]


@pytest.mark.parametrize("auth", SCHEMES, ids=lambda auth: type(auth).__name__)
@pytest.mark.parametrize("headers_touched", [False, True])
def test_the_request_given_is_not_changed(auth, headers_touched):
    """Neither its own fields, nor those it shares with the client."""
    shared = Headers({"X": "1"})
    request = Request("GET", parse_url("https://h/"), shared)
    if headers_touched:
        request.headers["Y"] = "2"
    before = dict(request.__dict__), request.fields.raw

    signed = next(auth.flow(request))
    if signed is not request:
        signed.headers["Z"] = "3"

    assert before == (request.__dict__, request.fields.raw)
    assert [(b"X", b"1")] == shared.raw


@pytest.mark.parametrize("auth", SCHEMES, ids=lambda auth: type(auth).__name__)
def test_nothing_more_is_sent_after_success(auth):
    flow = auth.flow(request_to())
    next(flow)

    with pytest.raises(StopIteration):
        flow.send(Response(200))


@pytest.mark.parametrize("auth", [Basic("u", "p"), Bearer("t")], ids=repr)
@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_were_refused_are_not_repeated(auth, status):
    """Row 76."""
    flow = auth.flow(request_to())
    next(flow)

    with pytest.raises(StopIteration):
        flow.send(Response(status, headers={"WWW-Authenticate": 'Basic realm="r"'}))


@pytest.mark.parametrize("auth", [Basic("u", "p"), Bearer("t")], ids=repr)
def test_trace_carries_no_credentials(auth):
    """Row 65: the server sends them back."""
    assert [] == authorization(auth, request_to(method="TRACE"))


@pytest.mark.parametrize("auth", [Basic("u", "p"), Bearer("t")], ids=repr)
def test_one_authorization_is_sent(auth):
    """Row 53: what was set by hand is replaced, twice or not."""
    request = request_to()
    request.headers.add("authorization", "a")
    request.headers.add("Authorization", "b")

    assert 1 == len(authorization(auth, request))


@pytest.mark.parametrize("auth", SCHEMES, ids=lambda auth: type(auth).__name__)
def test_a_copy_is_whole(auth):
    """A stream is still its body, and the client's own options are still there."""
    request = request_to(method="POST", body=iter([b"1"]))
    request.length, request.options = 1, object()
    copy = next(auth.flow(request))

    assert (request.body, 1, request.options) == (copy.body, copy.length, copy.options)
    assert ("POST", request.url) == (copy.method, copy.url)


@pytest.mark.parametrize(
    "auth", [Basic("user", "secret"), Bearer("secret"), Digest("user", "secret")], ids=repr
)
def test_repr_shows_no_secret(auth):
    assert "secret" not in repr(auth)


def test_a_scheme_of_ones_own():
    """It sees the response, and may answer it."""

    class Token(Auth):
        def flow(self, request):
            response = yield request
            if response.status == 401:
                yield request.with_field("X-Token", response.headers["X-Challenge"][::-1])

    flow = Token().flow(request_to())
    next(flow)

    assert "cba" == flow.send(Response(401, headers={"X-Challenge": "abc"})).headers["X-Token"]


# ---- basic


def test_examples_of_rfc_7617():
    assert ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="] == authorization(Basic("Aladdin", "open sesame"))
    assert ["Basic dGVzdDoxMjPCow=="] == authorization(Basic("test", "123\u00a3"))


@given(st.text().filter(lambda text: ":" not in text), st.text())
def test_basic_round_trip(user, password):
    """What is not refused comes out as it went in."""
    try:
        [value] = authorization(Basic(user, password))
    except LocalProtocolError:
        assert any(char in CONTROLS for char in user + password)
        return
    found = base64.b64decode(value.removeprefix("Basic "), validate=True).decode()
    assert (user, password) == tuple(found.split(":", 1))


def test_a_colon_belongs_to_the_password():
    assert ["Basic dTpwOnE="] == authorization(Basic("u", "p:q"))
    with pytest.raises(LocalProtocolError, match=r"Basic\(user=...\) has a ':'"):
        Basic("u:p", "q")


@each_row("scheme", [Basic, Digest])
@each_row("control", CONTROLS, ids=repr)
def test_control_characters_are_refused(scheme, control):
    """And the text shows where, but not the secret."""
    name = scheme.__name__
    with pytest.raises(LocalProtocolError, match=rf"{name}\(user=.*control character at byte 1;"):
        scheme(f"u{control}ser", "p")
    with pytest.raises(
        LocalProtocolError, match=rf"{name}\(password=.*control character at byte 3;"
    ) as caught:
        scheme("u", f"geh{control}eim")
    assert "geh" not in str(caught.value)


@pytest.mark.parametrize("scheme", [Basic, Digest])
def test_half_a_character_is_refused(scheme):
    with pytest.raises(LocalProtocolError, match="half a character at position 1"):
        scheme("u\ud800", "p")


@pytest.mark.parametrize("scheme", [Basic, Digest])
@pytest.mark.parametrize("pair", [(None, "p"), ("u", None), ("u", 5)])
def test_what_is_no_text_is_refused(scheme, pair):
    name = f"{scheme.__name__}\\({'password' if pair[0] else 'user'}=...\\)"
    kind = "int" if 5 in pair else "NoneType"
    with pytest.raises(TypeError, match=f"{name} is {kind}; expected str"):
        scheme(*pair)


def test_bytes_are_sent_as_they_are():
    """For servers that want another charset."""
    assert ["Basic dTrp"] == authorization(Basic("u", "é".encode("latin-1")))


# ---- bearer


def test_bearer():
    assert ["Bearer mF_9.B5f-4.1JqM"] == authorization(Bearer("mF_9.B5f-4.1JqM"))
    assert ["Bearer 1|abc:d=="] == authorization(Bearer("1|abc:d=="))


@pytest.mark.parametrize("token", ["", "a b", "a\n", "a\r\nX: 1", "é", "a\x00", "\x7f", "\t"])
def test_tokens_that_are_refused(token):
    with pytest.raises(LocalProtocolError, match=r"Bearer\(token=...\) is empty, or has"):
        Bearer(token)


def test_a_token_is_text():
    with pytest.raises(TypeError, match="is NoneType"):
        Bearer(None)
    with pytest.raises(TypeError, match="is int"):
        Bearer(5)


def test_what_is_shown():
    """Who, and never by what."""
    assert "<Basic user='u'>" == repr(Basic("u", "secret"))
    assert "<Bearer>" == repr(Bearer("secret"))


# ---- what auth= means


def test_to_auth():
    bearer = Bearer("t")

    assert to_auth(None) is None
    assert bearer is to_auth(bearer)
    assert ["Basic dTpw"] == authorization(to_auth(("u", "p")))


def test_a_function_signs_a_copy():
    def sign(request):
        request.headers["X-Signature"] = request.method
        return request

    request = request_to()

    assert "GET" == next(to_auth(sign).flow(request)).headers["X-Signature"]
    assert "X-Signature" not in request.headers


# ---- round by round


class Flow(Auth):
    """A scheme whose flow is a function of the request."""

    def __init__(self, flow):
        self.flow = flow

    def __repr__(self):
        return "<Flow>"


def test_what_a_flow_does_to_its_request_is_done_to_a_copy():
    def flow(request):
        request.headers["X-Signature"] = "secret"
        request.method = "PUT"
        yield request

    body = iter([b"x"])
    request = request_to(method="POST", body=body)
    signed = Rounds(Flow(flow), request).begin()

    assert ("PUT", "secret", body) == (signed.method, signed.headers["X-Signature"], signed.body)
    assert ("POST", []) == (request.method, request.fields.get_list("X-Signature"))


def test_the_first_request_is_signed_anew_for_another_try():
    """By the flow from its beginning; what came later is sent as it was."""
    closed, count = [], iter("abc")

    def flow(request):
        try:
            yield request.with_field("N", next(count))
            yield request.with_field("N", "second")
        finally:
            closed.append(True)

    rounds = Rounds(Flow(flow), request_to())
    first = rounds.begin()
    again = rounds.again(first)
    assert (["a", "b"], [True]) == ([r.headers["N"] for r in (first, again)], closed)

    second = rounds.answer(Response(401))
    assert second is rounds.again(second)
    assert None is rounds.answer(Response(401))
    assert [True, True] == closed


def test_digest_counts_each_try():
    """RFC 7616, section 3.4: nc is how often the nonce was sent, whichever round it is."""

    def counted(request):
        return request.fields["Authorization"].partition("nc=")[2][:8]

    challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
    auth = Digest("u", "p")
    rounds = Rounds(auth, request_to())
    sent = rounds.begin()
    sent = rounds.again(sent)
    sent = rounds.answer(Response(401, headers=challenge))
    assert "00000001" == counted(sent)
    sent = rounds.again(sent.with_field("Cookie", "a=b"))
    assert ("00000002", "a=b") == (counted(sent), sent.fields["Cookie"])
    assert None is rounds.answer(Response(503))

    rounds = Rounds(auth, request_to())
    sent = rounds.begin()
    assert ["00000003", "00000004"] == [counted(sent), counted(rounds.again(sent))]


def test_a_pickled_request_knows_no_password():
    session = Rounds(Digest("u", "password"), request_to())
    session.begin()
    challenge = {"WWW-Authenticate": 'Digest realm="r", nonce="n", qop="auth"'}
    sent = session.answer(Response(401, headers=challenge))

    assert sent.sign_again is not None
    assert pickle.loads(pickle.dumps(sent)).sign_again is None


def test_bodies_that_a_flow_may_look_at():
    """All, if it says so; else that of its own requests, to other paths and origins."""

    class Looking(Auth):
        needs_response_body = True

    request, token = request_to(), request_to("https://example.com/token")
    assert not Rounds(Auth(), request).needs_body_of_answer(request.with_field("A", "b"))
    assert Rounds(Auth(), request).needs_body_of_answer(token)
    signed = request_to(f"{request.url}?key=1")
    assert not Rounds(Auth(), request).needs_body_of_answer(signed)
    assert not Rounds(to_auth(lambda _: token), request).needs_body_of_answer(token)
    assert Rounds(Looking(), request).needs_body_of_answer(request)


@pytest.mark.parametrize(("given", "shown"), [(None, "None"), ("SECRET", "a str")])
def test_a_function_that_gives_no_request_is_told(given, shown):
    """Not what it gave, which may be a token."""
    with pytest.raises(TypeError, match=f" gave {shown}; expected the Request"):
        next(to_auth(lambda request: given).flow(request_to()))


@pytest.mark.parametrize(
    "value", ["token", b"token", ("u",), ("u", "p", "r"), ["u", "p"], 5, Basic]
)
def test_what_is_no_auth(value):
    with pytest.raises(TypeError, match=r"expected \(user, password\), a fastreq\.Auth") as caught:
        to_auth(value)
    assert "token'" not in str(caught.value)


def test_a_scheme_that_would_sign_nothing():
    """As one that was written for httpx, whose method has another name."""

    class OfHttpx(Auth):
        def auth_flow(self, request):
            yield request

    with pytest.raises(TypeError, match=r"OfHttpx, which has no flow\(\) of its own"):
        to_auth(OfHttpx())
    assert type(to_auth(Auth())) is Auth


@pytest.mark.parametrize(
    ("url", "pair"),
    [
        ("http://u:p@h/", b"u:p"),
        ("http://u@h/", b"u:"),
        ("http://:p@h/", b":p"),
        ("http://u:p%3Aq@h/", b"u:p:q"),
        ("http://u:p:q@h/", b"u:p:q"),
        ("http://%C3%A9:%E9@h/", b"\xc3\xa9:\xe9"),  # no charset is assumed
    ],
)
def test_userinfo(url, pair):
    value = "Basic " + base64.b64encode(pair).decode()
    assert [value] == authorization(from_userinfo(parse_url(url)))


def test_no_userinfo():
    assert from_userinfo(parse_url("http://h/")) is None


@pytest.mark.parametrize(
    "userinfo", ["a%3Ab:p", "a%0Ab:p", "a:%0D%0AX-Evil: 1".replace(" ", "%20")]
)
def test_userinfo_cannot_inject(userinfo):
    with pytest.raises(LocalProtocolError):
        from_userinfo(parse_url(f"http://{userinfo}@h/"))


# ---- netrc


@pytest.fixture
def netrc_file(tmp_path):
    path = tmp_path / "netrc"
    path.write_text(
        "machine example.com login user password secret\n"
        "machine Upper.example login up password pw\n"
        "machine default login d password d\n"
        "machine bad.example login a:b password p\n"
        "machine localhost login l password l\n"
        "default login anyone password everywhere\n"
    )
    return path


@pytest.mark.parametrize(
    ("url", "pair"),
    [
        ("https://example.com/", "user:secret"),
        ("https://example.com:8443/", "user:secret"),
        ("https://EXAMPLE.com/", "user:secret"),
        ("https://upper.example/", "up:pw"),
        ("https://me:mine@example.com/", "me:mine"),
        ("https://other.example/", None),
        ("https://sub.example.com/", None),
        ("https://xexample.com/", None),
        ("https://example.com./", None),
        ("https://default/", None),
        ("https://example.com@other.example/", "example.com:"),
        ("http+unix://%2Frun%2Fa.sock/", None),
    ],
)
def test_netrc_is_for_exactly_its_hosts(netrc_file, url, pair):
    expected = [] if pair is None else ["Basic " + base64.b64encode(pair.encode()).decode()]
    assert expected == authorization(Netrc(netrc_file), request_to(url))


def test_netrc_leaves_an_authorization_alone(netrc_file):
    request = request_to(Authorization="Bearer t")
    assert ["Bearer t"] == authorization(Netrc(netrc_file), request)


def test_netrc_refuses_what_basic_refuses(netrc_file):
    with pytest.raises(LocalProtocolError, match="has a ':'"):
        authorization(Netrc(netrc_file), request_to("https://bad.example/"))


def test_netrc_is_found(netrc_file, tmp_path, monkeypatch):
    """In $NETRC, else in the home directory, if nobody else may read it."""
    monkeypatch.setenv("NETRC", str(netrc_file))
    assert authorization(Netrc())

    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    home = netrc_file.rename(tmp_path / ".netrc")
    os.chmod(home, 0o600)
    assert authorization(Netrc())

    os.chmod(home, 0o644)
    with pytest.raises(ValueError, match="netrc") as caught:
        Netrc()
    assert "line None" not in str(caught.value)


def test_netrc_must_be_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Netrc(tmp_path / "none")


def test_netrc_must_be_one(tmp_path):
    path = tmp_path / "netrc"
    path.write_text("machine h\nlogon u\n")

    with pytest.raises(ValueError, match="line 2") as caught:
        Netrc(path)
    assert str(path) in str(caught.value)


def test_netrc_shows_nothing(netrc_file):
    assert "<Netrc hosts=4>" == repr(Netrc(netrc_file))
