"""The jar: whose cookies go where (TRUST 80 to 84, 88, 90; RFC 6265bis, sections 5.7 and 5.8)."""

import copy
import math
import pickle
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.errors import LocalProtocolError
from fastreq.headers import Headers
from fastreq.messages import Response
from fastreq.policies import cookie_store
from fastreq.policies.cookies import MAX_SENT, MAX_SENT_BYTES, Cookies, cookie_header
from fastreq.url import parse_url

HTTPS = parse_url("https://www.example.com/")
HTTP = parse_url("http://www.example.com/")
DAY = 24 * 3600


class Clock:
    """A clock that tests set."""

    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


def nothing_is_public(domain):
    return False


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jar(clock):
    return Cookies(clock=clock, public_suffixes=nothing_is_public)


def sent(jar, url, **options):
    return jar.header_for(parse_url(url), **options)


def received(jar, url, *fields):
    jar.store(parse_url(url), fields)


def test_names_that_were_set_by_hand_win(jar):
    """Each of them, up to its first "=", and without the blanks around it."""
    received(jar, "http://h.example/", *(f"{name}=jar" for name in ("a", "b", "c", "Xd")))

    assert "a=1;b=2; c=jar; Xd=jar" == sent(jar, "http://h.example/", given="a=1;b=2")
    assert "a=1;\tb =x=y; Xd=2; c=jar" == sent(jar, "http://h.example/", given="a=1;\tb =x=y; Xd=2")


def test_a_domain_and_a_path_choose(jar):
    """What to look at, to delete and to clear; the dot of a domain is left out."""

    def left():
        return sorted((cookie.domain, cookie.path) for cookie in jar.all())

    for domain in ("a.example", "b.example"):
        for path in ("/", "/x"):
            jar.set("n", domain[0] + path, domain, path)

    assert "b/x" == jar.get("n", domain=".B.example")
    assert "a/" == jar.get("n", domain="a.example", path="/")
    assert None is jar.get("n", domain="nobody.example")
    jar.delete("n", "A.example", "/x")
    assert [("a.example", "/"), ("b.example", "/"), ("b.example", "/x")] == left()
    jar.clear(path="/x")
    assert [("a.example", "/"), ("b.example", "/")] == left()
    jar.delete("n", "b.example")
    assert [("a.example", "/")] == left()
    with pytest.raises(KeyError, match="nothing"):
        jar.delete("nothing")


def test_a_copy_knows_what_time_it_is(jar, clock):
    """By the clock of the jar that it was made of."""
    clock.now = 0.0
    received(jar, "http://h.example/", "a=b; Max-Age=5")

    assert ["a"] == list(jar.copy())


def test_a_copy_knows_what_is_public(clock):
    """As the jar that it was made of."""
    jar = Cookies(clock=clock, public_suffixes=lambda domain: domain == "x.example")
    for each in (jar, jar.copy()):
        with pytest.raises(LocalProtocolError, match="anybody can have a host under"):
            each.set("a", "b", ".x.example")
        each.set("a", "b", ".y.example")


def test_a_jar_that_changes_between_two_looks(jar):
    """What it seems to have is what it has, whatever came and went since."""
    jar.set("a", "1", "h.example")
    assert ["a"] == list(jar)
    jar.set("b", "2", "h.example")
    assert ["a", "b"] == list(jar)
    del jar["a"]
    jar.set("c", "3", "h.example")
    assert ["b", "c"] == list(jar)

    other = Cookies()
    other["a"] = "1"
    assert ["a"] == list(other)
    del other["a"]
    assert [[], []] == [list(other), list(other)]


def test_what_is_kept_of_a_cookie(jar):
    """All that was said; nobody but the reader of a jar asks for HttpOnly and SameSite."""
    received(jar, "https://h.example/", "a=b; HttpOnly; SameSite=Lax", "c=d")
    said, unsaid = jar.all()

    assert (True, "Lax") == (said.http_only, said.same_site)
    assert (False, "") == (unsaid.http_only, unsaid.same_site)


def test_a_response_that_takes_back_what_it_set(jar):
    received(jar, "http://h.example/", "a=b", "a=; Max-Age=0")
    assert not jar


def test_the_jar_of_a_response():
    """What it set, where it came from."""
    jar = Response.jar(HTTPS, ["a=b", "c=d; Domain=elsewhere.example"])

    assert {"a": "b"} == dict(jar)
    assert "www.example.com" == jar.all()[0].domain


def test_an_empty_jar(jar):
    """It says so, however often it is asked."""
    assert [[], []] == [list(jar), list(jar)]
    assert "" == cookie_header(jar, HTTPS)
    assert "<Cookies>" == repr(jar)


def test_the_repr_has_names_alone(jar):
    jar.update(a="secret", b="secret")
    assert "<Cookies a, b>" == repr(jar)


# ---- 80: whose a cookie is


@pytest.mark.parametrize(
    ("host", "domain", "to"),
    [
        # Without a Domain: the host alone.
        ("example.com", "", {"example.com"}),
        ("www.example.com", "", {"www.example.com"}),
        ("localhost", "", {"localhost"}),
        ("127.0.0.1", "", {"127.0.0.1"}),
        ("[::1]", "", {"[::1]"}),
        ("www.example.com.", "", {"www.example.com."}),
        # With one: it and all below.
        ("example.com", "example.com", {"example.com", "www.example.com", "a.www.example.com"}),
        ("www.example.com", "example.com", {"example.com", "www.example.com", "a.www.example.com"}),
        (
            "www.example.com",
            ".example.com",
            {"example.com", "www.example.com", "a.www.example.com"},
        ),
        ("www.example.com", "EXAMPLE.com", {"example.com", "www.example.com", "a.www.example.com"}),
        ("WWW.example.com", "www.example.com", {"www.example.com", "a.www.example.com"}),
        # Not its own.
        ("example.com", "www.example.com", set()),
        ("example.com", "other.com", set()),
        ("badexample.com", "example.com", set()),
        ("example.com.evil.com", "example.com", set()),
        ("example.com", "ample.com", set()),
        ("www.example.com", "..example.com", set()),
        ("www.example.com", "w.example.com", set()),
        ("www.example.com", "*.example.com", set()),
        ("www.example.com", "example.com:80", set()),
        ("www.example.com", "http://example.com", set()),
        ("www.example.com", "\xe4xample.com", set()),
        # All of a top-level domain, or of what looks like one.
        ("example.com", "com", set()),
        ("example.com", ".com", set()),
        ("example.com.", "com.", set()),
        ("example.com", "com.", set()),
        ("example.com", ".", {"example.com"}),  # a Domain of nothing is none
        ("www.localhost", "localhost", set()),
        ("localhost", "localhost", {"localhost"}),
        ("localhost", ".localhost", {"localhost"}),
        # The dot at the end makes another host.
        ("www.example.com", "example.com.", set()),
        ("www.example.com.", "example.com", set()),
        ("www.example.com.", "example.com.", {"www.example.com."}),
        # An address has no domain.
        ("127.0.0.1", "127.0.0.1", {"127.0.0.1"}),
        ("127.0.0.1", "0.0.1", set()),
        ("127.0.0.1", ".0.0.1", set()),
        ("127.0.0.1", "1", set()),
        ("[::1]", "::1", {"[::1]"}),
        ("[::ffff:1.2.3.4]", "2.3.4", set()),
        ("www.example.com", " ", {"www.example.com"}),
    ],
)
def test_80_domain(jar, host, domain, to):
    received(jar, f"http://{host}/", f"a=b; Domain={domain}" if domain else "a=b")

    hosts = [
        "example.com", "www.example.com", "a.www.example.com", "www.example.com.", "com", "com.",
        "badexample.com", "other.com", "evil.com", "ample.com", "localhost", "www.localhost",
        "127.0.0.1", "1.127.0.0.1.example", "10.0.0.1", "[::1]", "[::2]", "[::ffff:102:304]",
    ]  # fmt: skip
    assert to == {other for other in hosts if sent(jar, f"http://{other}/")}


def test_80_the_port_makes_no_difference(jar):
    received(jar, "http://h.example:8000/", "a=b")

    assert "a=b" == sent(jar, "http://h.example:9000/")


def test_80_a_socket_is_a_host_of_its_own(jar):
    """All of them have the host "localhost", and none gets another's cookies."""
    received(
        jar, "http+unix://%2Frun%2Fa.sock/", "a=1", "b=2; Domain=localhost", "c=3; Domain=a.sock"
    )
    received(jar, "http://localhost/", "d=4")

    assert "a=1" == sent(jar, "http+unix://%2Frun%2Fa.sock/x")
    assert sent(jar, "http+unix://%2Frun%2Fb.sock/") is None
    assert "d=4" == sent(jar, "http://localhost/")


def test_80_an_address_has_no_domain_above_it(jar):
    """Whoever says so: here the user."""
    jar.set("a", "b", domain=".0.0.1")
    jar.set("c", "d", domain="127.0.0.1")

    assert "c=d" == sent(jar, "http://127.0.0.1/")


def test_80_one_name_for_the_host_and_its_domain(jar):
    """They are two cookies, as they have different scopes."""
    received(jar, "http://e.example.com/", "a=host", "a=domain; Domain=e.example.com")

    assert "a=host; a=domain" == sent(jar, "http://e.example.com/")
    assert "a=domain" == sent(jar, "http://www.e.example.com/")


# ---- 81: paths


@pytest.mark.parametrize(
    ("request_path", "cookie_path", "goes"),
    [
        ("/", "/", True),
        ("/any", "/", True),
        ("/any", "/any", True),
        ("/any/", "/any", True),
        ("/any/x", "/any", True),
        ("/any/x", "/any/", True),
        ("/any/", "/any/", True),
        ("/anybad", "/any", False),
        ("/any", "/any/", False),
        ("/an", "/any", False),
        ("/", "/any", False),
        ("/ANY", "/any", False),
        ("/%61ny", "/any", False),
        ("/x/any", "/any", False),
        ("/any?x", "/any", True),
        ("/?/any", "/any", False),
        ("/any;x", "/any", False),
        ("/a//b", "/a/", True),
        ("/a/../any", "/any", True),  # as it is requested, which is /any
        ("/any/..;/x", "/any/", True),
    ],
)
def test_81_path_match(jar, request_path, cookie_path, goes):
    received(jar, "http://h.example/", f"a=b; Path={cookie_path}")

    assert goes == (sent(jar, f"http://h.example{request_path}") is not None)


@pytest.mark.parametrize(
    ("request_path", "expected"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a", "/"),
        ("/a/", "/a"),
        ("/a/b", "/a"),
        ("/a/b/", "/a/b"),
        ("//", "/"),
        ("/a?x=/b/c", "/"),
        ("/%2Fa/b", "/%2Fa"),
    ],
)
@pytest.mark.parametrize("attribute", ["", "; Path", "; Path=", "; Path=x", "; Path=\xe4"])
def test_81_default_path(jar, request_path, expected, attribute):
    received(jar, f"http://h.example{request_path}", f"a=b{attribute}")

    assert [expected] == [cookie.path for cookie in jar.all()]


# ---- 82: public suffixes

SUFFIXES = {"com", "uk", "co.uk", "github.io", "io"}


@pytest.mark.parametrize(
    ("host", "domain", "to"),
    [
        ("a.co.uk", "co.uk", set()),
        ("a.co.uk", ".co.uk", set()),
        ("a.co.uk", "CO.UK", set()),
        ("a.co.uk", "uk", set()),
        ("a.co.uk", "a.co.uk", {"a.co.uk", "b.a.co.uk"}),
        ("b.a.co.uk", "a.co.uk", {"a.co.uk", "b.a.co.uk"}),
        ("a.co.uk.", "co.uk.", set()),
        ("github.io", "github.io", {"github.io"}),  # its own, and nobody else's
        ("a.github.io", "github.io", set()),
        ("com", "com", {"com"}),
    ],
)
def test_82_public_suffix(clock, host, domain, to):
    jar = Cookies(clock=clock, public_suffixes=SUFFIXES.__contains__)
    received(jar, f"https://{host}/", f"a=b; Domain={domain}")

    hosts = [
        "a.co.uk",
        "b.a.co.uk",
        "x.co.uk",
        "co.uk",
        "x.co.uk.",
        "github.io",
        "a.github.io",
        "com",
        "x.com",
    ]
    assert to == {other for other in hosts if sent(jar, f"https://{other}/")}


@pytest.fixture
def fresh_suffixes():
    """The optional package is looked for once; here it is looked for again."""
    cookie_store._installed_suffixes.cache_clear()
    yield
    cookie_store._installed_suffixes.cache_clear()


def test_82_without_the_extra_a_domain_needs_a_dot(monkeypatch, fresh_suffixes):
    monkeypatch.setitem(sys.modules, "publicsuffixlist", None)
    jar = Cookies()
    received(jar, "https://a.co.uk/", "a=1; Domain=uk", "b=2; Domain=co.uk")

    assert "b=2" == sent(jar, "https://x.co.uk/")


@pytest.mark.parametrize(
    ("domain", "is_public"),
    [
        ("com", True),
        ("example.com", False),
        ("co.uk", True),
        ("example.co.uk", False),
        ("github.io", True),
        ("ck", True),
        ("anything.ck", True),
        ("www.ck", False),
        ("kobe.jp", True),
        ("c.kobe.jp", True),
        ("city.kobe.jp", False),
        ("k12.ak.us", True),
        ("test.k12.ak.us", False),
        ("xn--55qx5d.cn", True),
        ("xn--85x722f.xn--55qx5d.cn", False),
        ("xn--fiqs8s", True),
    ],
)
def test_82_with_the_extra_the_list_counts(fresh_suffixes, domain, is_public):
    """The vectors of publicsuffix.org, as cookies: a Domain is refused if it is public."""
    pytest.importorskip("publicsuffixlist", reason="the extra 'cookies' is not installed")
    jar = Cookies()
    received(jar, f"https://host.{domain}/", f"a=b; Domain={domain}")

    assert is_public == (not jar)


def test_82_the_list_is_not_loaded_before_it_is_needed(monkeypatch, fresh_suffixes):
    monkeypatch.setattr(cookie_store, "import_module", lambda name: pytest.fail("loaded"))
    jar = Cookies({"x": "y"})
    received(jar, "https://h.example/", "a=b", "c=d; Domain=other.example", "e=f; Domain=example")

    assert "x=y; a=b" == sent(jar, "https://h.example/")


# ---- 83: Secure


def test_83_secure_is_set_and_sent_over_https_only(jar):
    received(jar, "http://h.example/", "a=1; Secure")
    received(jar, "https://h.example/", "b=2; Secure", "c=3")

    assert "c=3" == sent(jar, "http://h.example/")
    assert "b=2; c=3" == sent(jar, "https://h.example/")


def test_83_localhost_is_no_exception(jar):
    received(jar, "http://localhost/", "a=1; Secure")
    received(jar, "http+unix://%2Fa.sock/", "a=1; Secure")
    received(jar, "https+unix://%2Fa.sock/", "b=1; Secure")

    assert ["b"] == list(jar)
    assert "b=1" == sent(jar, "https+unix://%2Fa.sock/")
    assert sent(jar, "http+unix://%2Fa.sock/") is None


@pytest.mark.parametrize(
    ("secure", "insecure", "survives"),
    [
        # (host, attributes) of the Secure cookie, and of the one that http tries to set
        (("h.e.com", ""), ("h.e.com", ""), False),
        (("h.e.com", "; Domain=e.com"), ("h.e.com", ""), False),
        (("h.e.com", "; Domain=e.com"), ("h.e.com", "; Domain=e.com"), False),
        (("h.e.com", ""), ("h.e.com", "; Domain=e.com"), False),  # it would stand beside it
        (("h.e.com", ""), ("e.com", ""), False),  # 6265bis: "or vice versa"
        (("e.com", ""), ("h.e.com", ""), False),
        (("h.e.com", ""), ("g.e.com", ""), True),
        (("h.e.com", ""), ("he.com", ""), True),
        (("h.e.com", "; Path=/login"), ("h.e.com", "; Path=/login"), False),
        (("h.e.com", "; Path=/login"), ("h.e.com", "; Path=/login/en"), False),
        (("h.e.com", "; Path=/"), ("h.e.com", "; Path=/foo"), False),
        (("h.e.com", "; Path=/login"), ("h.e.com", "; Path=/"), True),  # the Secure one goes first
        (("h.e.com", "; Path=/login"), ("h.e.com", "; Path=/loginbad"), True),
        (("h.e.com", ""), ("h.e.com", "; Max-Age=0"), False),
        (("h.e.com", ""), ("h.e.com", "; Secure"), False),
    ],
)
def test_83_http_overlays_no_secure_cookie(jar, secure, insecure, survives):
    (host, attributes), (other_host, other_attributes) = secure, insecure
    received(jar, f"https://{host}/", f"a=good; Secure{attributes}")

    received(jar, f"http://{other_host}/", f"a=evil{other_attributes}", f"b=fine{other_attributes}")

    values = [cookie.value for cookie in jar.all()]
    assert "good" in values
    assert survives == ("evil" in values)
    assert "Secure" in other_attributes or "Max-Age" in other_attributes or "fine" in values


def test_83_https_may_replace_it(jar):
    received(jar, "https://h.example/", "a=1; Secure")
    received(jar, "https://h.example/", "a=2")

    assert "a=2" == sent(jar, "http://h.example/")


# ---- 84: prefixes


@pytest.mark.parametrize(
    ("field", "kept"),
    [
        ("__Secure-a=b; Secure", True),
        ("__Secure-a=b; Secure; Domain=example.com; Path=/x", True),
        ("__Secure-a=b", False),
        ("__sEcUrE-a=b", False),
        ("__SECURE-a=b; Secure", True),
        ("__Secure-=b", False),
        ("__Secure=b", True),
        ("x__Secure-a=b", True),
        ("__Host-a=b; Secure; Path=/", True),
        ("__Host-a=b; Secure; Path=/; Domain=", True),
        ("__Host-a=b; Secure; Path=/; Domain=example.com", False),
        ("__Host-a=b; Secure; Path=/; Domain=www.example.com", False),
        ("__Host-a=b; Secure; Path=/x", False),
        ("__Host-a=b; Secure", False),  # the default path is "/" too, but was not said
        ("__Host-a=b; Path=/", False),
        ("__host-a=b; Path=/", False),
        ("__HOST-a=b; Secure; Path=/", True),
        ("__Host-=b; Path=/", False),
        ("__Host=b", True),
        # Nameless ones, which a server would read as the name.
        ("=__Secure-a=b; Secure", False),
        ("=__Host-a=b; Secure; Path=/", False),
        ("__Host-a; Secure; Path=/", False),
        ("=__hOsT-a=b; Secure; Path=/", False),
        ("=__Secure-; Secure", False),
        ("=a__Secure-", True),
        ("a=__Host-b", True),
    ],
)
def test_84_prefixes(jar, field, kept):
    jar.store(HTTPS, [field])

    assert kept == bool(jar)


# ---- 86, 90: the end of a cookie


def test_90_what_has_expired_is_neither_sent_nor_shown_nor_kept(jar, clock):
    received(jar, "http://h.example/", "a=1; Max-Age=10", "b=2; Max-Age=20", "c=3")
    assert {"a": "1", "b": "2", "c": "3"} == jar

    clock.now += 9.5
    assert "a=1; b=2; c=3" == sent(jar, "http://h.example/")

    clock.now += 0.5
    assert {"b": "2", "c": "3"} == jar
    assert "b=2; c=3" == sent(jar, "http://h.example/")

    clock.now += 10
    assert "c=3" == sent(jar, "http://h.example/")
    assert 1 == jar._store.count
    assert jar.get("b") is None
    assert "b" not in jar


def test_90_an_empty_jar_is_false_once_its_last_cookie_is_looked_for(jar, clock):
    received(jar, "http://h.example/", "a=1; Max-Age=10")
    clock.now += 10

    assert sent(jar, "http://h.example/") is None
    assert not jar


@pytest.mark.parametrize(
    "end", ["Max-Age=0", "Max-Age=-5", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"]
)
def test_86_a_server_deletes_by_an_end_in_the_past(jar, end):
    received(jar, "http://h.example/", "a=1", "b=2", "a=1; Path=/x")
    received(jar, "http://h.example/", f"a=; {end}", f"never={end}; {end}")
    received(jar, "http://other.example/", f"b=; {end}")

    assert "a=1; b=2" == sent(jar, "http://h.example/x")


def test_86_the_end_is_at_most_400_days_away(jar, clock):
    received(jar, "http://h.example/", "a=1; Max-Age=99999999999", "b=2; Expires=1 Jan 2099 0:0:0")

    assert {clock.now + 400 * DAY} == {cookie.expires for cookie in jar.all()}


# ---- 87, 88: what is sent


def test_87_one_field_is_one_cookie(jar):
    received(jar, "http://h.example/", "a=1, b=2; Path=/, c=3")
    received(jar, "http://h.example/", "a=1, b=2")

    assert [("a", "1, b=2")] * 2 == [(cookie.name, cookie.value) for cookie in jar.all()]


def test_88_longer_paths_first_then_older(jar):
    received(jar, "http://h.example/", "a=1", "b=2; Path=/x/y", "c=3; Path=/x", "d=4; Path=/x/y")
    received(jar, "http://h.example/", "e=5", "c=6; Path=/x", "a=7")  # which keep their age

    assert "b=2; d=4; c=6; a=7; e=5" == sent(jar, "http://h.example/x/y/z")


def test_88_the_order_is_that_of_all_domains(jar):
    received(jar, "http://www.h.example/", "a=1; Domain=h.example", "b=2", "c=3; Domain=h.example")

    assert "a=1; b=2; c=3" == sent(jar, "http://www.h.example/")


def test_88_a_cookie_that_becomes_secure_keeps_its_age(jar):
    received(jar, "https://h.example/", "a=1", "b=2; Secure")
    received(jar, "https://h.example/", "a=3; Secure")

    assert "a=3; b=2" == sent(jar, "https://h.example/")


def test_88_a_cookie_that_had_expired_is_as_old_as_its_next_one(jar, clock):
    received(jar, "http://h.example/", "a=1; Max-Age=5", "b=2")
    clock.now += 5
    received(jar, "http://h.example/", "a=3")

    assert "b=2; a=3" == sent(jar, "http://h.example/")


def test_88_the_same_name_of_two_paths_is_sent_twice(jar):
    received(jar, "http://h.example/", "a=1", "a=2; Path=/x")

    assert "a=2; a=1" == sent(jar, "http://h.example/x")


def test_a_value_goes_back_as_it_came(jar):
    received(jar, "http://h.example/", 'a="x\\"y, z%0d%0a=="', "nameless", "=a=b", "\xe4=\xf6\xff")

    header = sent(jar, "http://h.example/")
    assert 'a="x\\"y, z%0d%0a=="; a=b; \xe4=\xf6\xff' == header  # the nameless are one
    Headers().add("Cookie", header)


def test_sent_are_150_at_most(jar):
    for n in range(4):
        received(jar, "http://h.example/", *(f"c{n}-{i}={i}" for i in range(45)))

    assert MAX_SENT == len(sent(jar, "http://h.example/").split("; ")) == 150


def test_sent_are_8190_bytes_at_most(jar):
    received(jar, "http://h.example/", "a=" + "1" * 4095, "b=" + "2" * 4089)
    assert MAX_SENT_BYTES == len(sent(jar, "http://h.example/"))

    received(jar, "http://h.example/", "b=" + "2" * 4090)
    assert "a=" + "1" * 4095 == sent(jar, "http://h.example/")


def test_what_is_given_by_hand_is_sent_whole_and_first(jar):
    received(jar, "http://h.example/", "a=1", "b=2", "c=3")

    assert "b=x; d=y; a=1; c=3" == sent(jar, "http://h.example/", given="b=x; d=y")
    assert "d=y" == sent(jar, "http://other.example/", given="d=y")
    assert "d=y" == Cookies().header_for(HTTP, "d=y")
    long = "d=" + "y" * 10_000
    assert long == sent(jar, "http://h.example/", given=long)


def test_an_empty_jar_costs_one_truth_test():
    class Never:
        def __getattr__(self, name):
            pytest.fail(f"looked at the {name}")

    assert Cookies().header_for(Never()) is None


# ---- by hand: no scope


def test_without_a_domain_it_goes_wherever_the_user_asks(jar):
    jar["a"] = "b"

    assert "a=b" == sent(jar, "http://h.example/x")
    assert "a=b" == sent(jar, "https://other.example/")
    assert "a=b" == sent(jar, "http://127.0.0.1/")
    assert "a=b" == sent(jar, "http+unix://%2Fa.sock/")


def test_without_a_domain_it_follows_no_redirect_to_another_origin(jar):
    jar["a"] = "b"
    received(jar, "http://h.example/", "c=d")

    assert "c=d" == sent(jar, "http://h.example/", unscoped=False)
    assert sent(jar, "http://other.example/", unscoped=False) is None


def test_what_the_server_sets_later_is_sent_to_it_instead(jar):
    jar["session"] = "mine"
    received(jar, "http://h.example/", "session=new; Path=/x")

    assert "session=new" == sent(jar, "http://h.example/x")
    assert "session=mine" == sent(jar, "http://h.example/")
    assert "session=mine" == sent(jar, "http://other.example/x")
    assert "new" == jar["session"]


def test_what_is_set_by_name_replaces_all_of_that_name(jar):
    received(jar, "http://h.example/", "a=1", "a=2; Path=/x", "b=3")
    jar["a"] = "4"

    assert {"a": "4", "b": "3"} == jar
    assert "b=3; a=4" == sent(jar, "http://h.example/x")


@pytest.mark.parametrize("name", ["__Secure-a", "__Host-a", "__hOST-a"])
def test_84_a_prefix_makes_it_secure(jar, name):
    jar[name] = "b"

    assert sent(jar, "http://h.example/") is None
    assert f"{name}=b" == sent(jar, "https://h.example/")


# ---- by hand: with a scope


def test_set_for_a_host(jar):
    jar.set("a", "b", domain="H.example")

    assert "a=b" == sent(jar, "http://h.example/")
    assert sent(jar, "http://www.h.example/") is None
    assert sent(jar, "http://other.example/") is None


def test_set_for_a_domain(jar):
    jar.set("a", "b", domain=".h.example", path="/x", secure=True)

    assert "a=b" == sent(jar, "https://www.h.example/x/y")
    assert sent(jar, "http://www.h.example/x/y") is None
    assert sent(jar, "https://www.h.example/y") is None


def test_set_until(jar, clock):
    jar.set("a", "b", "h.example", expires=clock.now + 1000 * DAY)
    jar.set("c", "d", "h.example", expires=clock.now)
    clock.now += 999 * DAY

    assert "a=b" == sent(jar, "http://h.example/")


def test_a_server_replaces_what_was_set_for_it(jar):
    jar.set("a", "mine", domain="h.example")
    received(jar, "http://h.example/", "a=new")

    assert "a=new" == sent(jar, "http://h.example/")


@pytest.mark.parametrize(
    "domain",
    ["com", ".com", ".", "..h.example", "h..example", "http://h.example", "h.example/", "h example",
     "h.example;", "h.example\n", "\xe4.example", "h.example:80\t", " ",
     "h.example:80", "127.0.0.1:8000"],
)  # fmt: skip
def test_set_refuses_a_domain(clock, domain):
    jar = Cookies(public_suffixes=SUFFIXES.__contains__)
    if domain == "com":  # the one host of this name, not all below it
        jar.set("a", "secret", domain=domain)
        assert sent(jar, "http://h.com/") is None
        return
    with pytest.raises(LocalProtocolError) as caught:
        jar.set("a", "secret", domain=domain)

    assert "secret" not in str(caught.value)
    assert not jar


@pytest.mark.parametrize("path", ["", "x", "/;", "/x y", "/\t", "/\n", "/\xe4"])
def test_set_refuses_a_path(jar, path):
    with pytest.raises(LocalProtocolError, match="path"):
        jar.set("a", "b", path=path)


@pytest.mark.parametrize("scope", [{"domain": ".h.example"}, {"path": "/x"}])
def test_84_set_refuses_a_host_cookie_for_more_than_a_host(jar, scope):
    with pytest.raises(LocalProtocolError, match="__Host-"):
        jar.set("__Host-a", "b", **scope)


# ---- by hand: nothing but a cookie


def is_octet(code):
    return code in (
        0x21,
        *range(0x23, 0x2C),
        *range(0x2D, 0x3B),
        *range(0x3C, 0x5C),
        *range(0x5D, 0x7F),
    )


@each_row("code", range(256))
def test_1a_a_character_in_a_value(code):
    """RFC 6265, section 4.1.1: cookie-octet, and nothing else."""
    for value in (f"{chr(code)}", f"x{chr(code)}y", f"xy{chr(code)}", f'"{chr(code)}"'):
        if is_octet(code) or value == '"""':
            continue
        with pytest.raises(LocalProtocolError) as caught:
            cookie_header({"name": value}, HTTP)
        assert repr(chr(code)) in str(caught.value)
        with pytest.raises(LocalProtocolError):
            Cookies({"name": value})
    if is_octet(code):
        assert f"a=x{chr(code)}" == cookie_header({"a": f"x{chr(code)}"}, HTTP)


@each_row("code", range(256))
def test_1a_a_character_in_a_name(code):
    token = chr(code).isascii() and (chr(code).isalnum() or chr(code) in "!#$%&'*+-.^_`|~")
    if token:
        assert f"a{chr(code)}=b" == cookie_header({f"a{chr(code)}": "b"}, HTTP)
        return
    for name in (chr(code), f"x{chr(code)}y"):
        with pytest.raises(LocalProtocolError):
            cookie_header([(name, "b")], HTTP)
        with pytest.raises(LocalProtocolError):
            Cookies()[name] = "b"


@pytest.mark.parametrize("value", ["\u010d\u010a", "\ud800", "\uff1b", "ключ", "\u2028"])
def test_1a_beyond_latin_1(value):
    for pair in ((value, "b"), ("a", value)):
        with pytest.raises(LocalProtocolError):
            cookie_header([pair], HTTP)


@pytest.mark.parametrize("value", ['"', '"x', 'x"', '""x', '"x"y"', 'x"y'])
def test_1a_quotes_stand_around_a_value_or_nowhere(value):
    with pytest.raises(LocalProtocolError, match="percent-encode"):
        cookie_header({"a": value}, HTTP)


@pytest.mark.parametrize("value", ['""', '"x"', ""])
def test_1a_quotes_around_a_value_are_sent(value):
    assert f"a={value}" == cookie_header({"a": value}, HTTP)


def test_1a_an_empty_name():
    with pytest.raises(LocalProtocolError):
        cookie_header({"": "b"}, HTTP)


@pytest.mark.parametrize("pair", [("a", 1), ("a", None), ("a", b"b"), (1, "b"), ("a", True)])
def test_what_is_no_text(pair):
    with pytest.raises(TypeError, match="expected str"):
        cookie_header([pair], HTTP)


@pytest.mark.parametrize("cookies", ["a=b", b"a=b"])
def test_a_text_is_no_cookies(cookies):
    with pytest.raises(TypeError, match="expected a mapping"):
        cookie_header(cookies, HTTP)
    with pytest.raises(TypeError, match="expected a mapping"):
        Cookies(cookies)


def test_cookies_of_one_request():
    assert "a=1; b=2" == cookie_header({"a": "1", "b": "2"}, HTTP)
    assert "a=1; a=2" == cookie_header([("a", "1"), ("a", "2")], HTTP)
    assert "a=1" == cookie_header(iter([("a", "1")]), HTTP)
    assert "" == cookie_header({}, HTTP)


def test_cookies_of_one_request_from_a_jar_are_those_that_may_go_there(jar):
    received(jar, "http://www.example.com/", "a=1")
    received(jar, "http://other.example/", "b=2")

    assert "a=1" == cookie_header(jar, HTTP)


# ---- as a dict


def test_a_dict_of_names_and_values(jar):
    jar["a"] = "1"
    jar.update({"b": "2"}, c="3")
    jar.setdefault("a", "x")
    del jar["b"]

    assert {"a": "1", "c": "3"} == jar == Cookies({"a": "1", "c": "3"})
    assert ["a", "c"] == list(jar)
    assert 2 == len(jar)
    assert "a" in jar
    assert "b" not in jar
    assert [("a", "1"), ("c", "3")] == list(jar.items())
    assert "1" == jar.pop("a")
    assert bool(jar)
    jar.clear()
    assert not jar


@pytest.mark.parametrize("call", [lambda j: j["a"], lambda j: j.delete("a"), lambda j: j.pop("a")])
def test_what_is_not_there(jar, call):
    with pytest.raises(KeyError):
        call(jar)
    assert jar.get("a") is None
    assert "x" == jar.get("a", "x")


def test_of_several_the_newest_is_shown(jar):
    received(jar, "http://h.example/", "a=1", "a=2; Path=/x")
    received(jar, "http://other.example/", "a=3")

    assert "3" == jar["a"]
    assert 1 == len(jar)
    assert 3 == len(jar.all())
    assert "2" == jar.get("a", domain="h.example")
    assert "1" == jar.get("a", domain="H.EXAMPLE", path="/")
    assert jar.get("a", domain="h.example", path="/y") is None


def test_delete_and_clear_take_a_scope(jar):
    received(jar, "http://h.example/", "a=1", "a=2; Path=/x", "b=3")
    received(jar, "http://other.example/", "a=4", "b=5")
    jar["c"] = "6"

    jar.delete("a", domain="h.example", path="/x")
    assert ["1", "3", "4", "5", "6"] == [cookie.value for cookie in jar.all()]
    jar.clear(domain="other.example")
    assert ["1", "3", "6"] == [cookie.value for cookie in jar.all()]
    jar.clear(domain="")
    assert ["1", "3"] == [cookie.value for cookie in jar.all()]


def test_cookies_of_another_jar_keep_their_scope(jar):
    """`client.cookies.update(response.cookies)` must not send them to everybody."""
    other = Cookies()
    received(other, "http://h.example/", "a=1", "b=2; Path=/x")
    jar.update(other)

    assert "b=2; a=1" == sent(jar, "http://h.example/x")
    assert sent(jar, "http://other.example/x") is None
    assert [c.name for c in other.all()] == [c.name for c in Cookies(other).all()]


def pickled(jar):
    return pickle.loads(pickle.dumps(jar))


@pytest.mark.parametrize("make", [Cookies.copy, copy.copy, copy.deepcopy, pickled])
def test_copies_are_equal_and_independent(make):
    jar = Cookies({"z": "0"})
    received(
        jar, "https://h.example/", "a=1; Secure", "b=2; Path=/x; Max-Age=100; Domain=h.example"
    )
    other = make(jar)
    received(other, "https://h.example/", "a=9", "n=9")

    assert "b=2; z=0; a=1" == sent(jar, "https://h.example/x")
    assert "b=2; z=0; a=9; n=9" == sent(other, "https://h.example/x")
    assert "b=2" == sent(other, "https://w.h.example/x", unscoped=False)


@pytest.mark.parametrize("end", [Cookies.clear, lambda jar: jar.delete("sid")])
def test_what_was_deleted_is_nowhere(jar, end):
    received(jar, "http://h.example/", "sid=OLDSECRET")
    assert "sid=OLDSECRET" == sent(jar, "http://h.example/")
    end(jar)

    assert not jar._fields


def test_a_pickle_has_nothing_of_what_has_gone():
    jar = Cookies({"a": "1"})
    received(jar, "http://h.example/", "sid=OLDSECRET")
    assert "a=1; sid=OLDSECRET" == sent(jar, "http://h.example/")
    received(jar, "http://h.example/", "sid=new")

    assert b"OLDSECRET" not in pickle.dumps(jar)
    assert {"a": "1", "sid": "new"} == pickled(jar)


def test_set_for_a_socket_and_for_an_address(jar):
    jar.set("a", "1", domain="%2Frun%2FApp.sock")
    jar.set("b", "2", domain="::1")

    assert "a=1" == sent(jar, "http+unix://%2Frun%2FApp.sock/")
    assert "b=2" == sent(jar, "http://[::1]:8000/")


def test_no_value_is_shown(jar):
    jar["a"] = "secret"

    assert "<Cookies a>" == repr(jar)
    assert "secret" not in repr(jar.all())


def test_what_all_gives_changes_nothing(jar):
    jar["a"] = "1"
    jar.all()[0].value = "2"

    assert "1" == jar["a"]


# ---- anything at all

fields = st.text(st.characters(max_codepoint=255), max_size=40) | st.text(
    alphabet='ab=;" \t,__Host-/\r\n\0\x7f', max_size=40
)
hosts = st.sampled_from(["h.example", "www.h.example", "other.example", "127.0.0.1", "localhost"])
urls = st.builds(
    "{}://{}/{}".format, st.sampled_from(["http", "https"]), hosts, st.sampled_from("xy")
)


@given(st.lists(st.tuples(urls, st.lists(fields, max_size=6)), max_size=6), urls)
def test_one_field_at_most_one_cookie_and_no_control_character(responses, url):
    jar = Cookies(public_suffixes=nothing_is_public)
    for origin, values in responses:
        before = len(jar.all())
        received(jar, origin, *values)
        assert len(jar.all()) - before <= len(values)

    header = sent(jar, url)
    if header is not None:
        assert not any(ord(char) < 32 or ord(char) == 127 for char in header)
        assert len(jar.all()) >= len(header.split("; "))
        Headers([("Cookie", header)])  # it can be sent


def test_infinity_is_the_session(jar):
    jar["a"] = "b"

    assert math.isinf(jar.all()[0].expires)
