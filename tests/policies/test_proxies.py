"""Which proxy a request goes through (TRUST 1d: httpoxy, NO_PROXY, proxy credentials, SOCKS)."""

import base64
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.errors import InvalidURL, ProxyError, UnsupportedProtocol
from fastreq.policies.proxies import Proxies, Proxy, read_exemptions
from fastreq.url import URL

# ---- a proxy


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://proxy.example", "http://proxy.example:80"),
        ("http://proxy.example/", "http://proxy.example:80"),
        ("https://proxy.example", "https://proxy.example:443"),
        ("https://proxy.example:80", "https://proxy.example:80"),
        ("http://proxy.example:443", "http://proxy.example:443"),
        ("socks5://proxy.example", "socks5://proxy.example:1080"),
        ("socks5h://proxy.example", "socks5h://proxy.example:1080"),
        ("socks5://proxy.example:80", "socks5://proxy.example:80"),
        ("socks5h://proxy.example:443", "socks5h://proxy.example:443"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("proxy.example", "http://proxy.example:80"),
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("user:secret@proxy.example:3128", "http://proxy.example:3128"),
        ("HTTP://Proxy.Example:3128", "http://proxy.example:3128"),
        ("SOCKS5://user:secret@Proxy.Example", "socks5://proxy.example:1080"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("socks5h://[2001:DB8::0:1]", "socks5h://[2001:db8::1]:1080"),
    ],
)
def test_a_proxy_and_its_text(text, shown):
    proxy = Proxy.of(text)

    assert shown == str(proxy)
    assert "secret" not in repr(proxy)
    assert proxy == Proxy.of(text)
    assert proxy == pickle.loads(pickle.dumps(proxy))


def test_the_repr_says_that_there_are_credentials():
    assert "<Proxy http://h:1>" == repr(Proxy.of("http://h:1"))
    assert "<Proxy http://[secure]@h:1>" == repr(Proxy.of("http://a:b@h:1"))


def test_a_url_object():
    assert Proxy.of("http://a:b@h:1") == Proxy.of(URL("http://a:b@h:1"))


@each_row(
    ("userinfo", "username", "password"),
    [
        ("", None, b""),
        ("user@", b"user", b""),
        ("user:@", b"user", b""),
        (":password@", b"", b"password"),
        ("user:pass:word@", b"user", b"pass:word"),
        ("us%40er:p%2Fw%23%3F@", b"us@er", b"p/w#?"),
        ("%C3%BC:%FF@", "ü".encode(), b"\xff"),
        ("ü:ß@", "ü".encode(), "ß".encode()),
    ],
)
@each_row("scheme", ["http", "https", "socks5", "socks5h"])
def test_credentials(scheme, userinfo, username, password):
    proxy = Proxy.of(f"{scheme}://{userinfo}proxy.example")

    assert (username, password) == (proxy.username, proxy.password)
    assert ("[secure]@" in repr(proxy)) == (username is not None)


def test_authorization():
    assert Proxy.of("http://h").authorization is None
    assert "Basic dXNlcjpwYXNz" == Proxy.of("http://user:pass@h").authorization
    assert "Basic Og==" == Proxy("http", "h", 1, b"").authorization


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_the_credentials_are_they_are_one_token(username, password):
    value = Proxy("http", "h", 1, username, password).authorization

    assert value.isascii()
    assert value.isprintable()
    assert username + b":" + password == base64.b64decode(value.removeprefix("Basic "))


@each_row("code", [*range(0x20), 0x7F])
@each_row("scheme", ["http", "socks5"])
def test_no_control_character_comes_in(scheme, code):
    """TRUST 1a: the CONNECT target, and what is sent beside it."""
    for place in ("{}h", "h{}", "h:1{}", "{}:secret@h", "u:secret{}@h", "h/{}"):
        with pytest.raises(InvalidURL):
            Proxy.of(f"{scheme}://" + place.format(chr(code)))
    for place in ("{}:secret@h", "u:secret{}@h", "{}h", "h{}"):
        with pytest.raises(InvalidURL) as caught:
            Proxy.of(f"{scheme}://" + place.format(f"%{code:02x}"))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", InvalidURL, "the host is missing"),
        ("http://", InvalidURL, "the host is missing"),
        ("http://h:0", InvalidURL, "port"),
        ("http://h:99999", InvalidURL, "port"),
        ("http://h:x", InvalidURL, "port"),
        ("http://h/path", InvalidURL, "nothing follows"),
        ("http://h?query", InvalidURL, "nothing follows"),
        ("http://h#fragment", InvalidURL, "nothing follows"),
        ("http:// h", InvalidURL, "' '"),
        ("http://user:sec@ret@h", InvalidURL, "percent-encode user name and password"),
        ("http://user:sec/ret@h:1", InvalidURL, "port"),
        ("http://us%3Aer:secret@h", InvalidURL, "a ':' in its user name"),
        ("http://2130706433", InvalidURL, "IPv4"),
        ("ftp://h", UnsupportedProtocol, "'ftp' is no kind of proxy"),
        ("socks4://h", UnsupportedProtocol, "http, https, socks5, socks5h"),
        ("socks://user:secret@h", UnsupportedProtocol, "'socks'"),
        ("http+unix://%2Frun%2Fx", UnsupportedProtocol, "no kind of proxy"),
        ("user:sec://ret@h", InvalidURL, "percent-encoded"),
        ("://user:secret@h", InvalidURL, "percent-encoded"),
        ("http:user:secret@h", InvalidURL, "write http://user:password@host:port"),
        ("SOCKS5:user:secret@h:1", InvalidURL, "write http://user:password@host:port"),
        (None, InvalidURL, "NoneType"),
        ({"http": "http://user:secret@h"}, InvalidURL, "given as dict"),
        (b"http://h", InvalidURL, "given as bytes"),
    ],
)
def test_what_is_no_proxy(text, error, words):
    with pytest.raises(error) as caught:
        Proxy.of(text)
    assert isinstance(caught.value, ValueError)
    assert words in str(caught.value)
    assert "sec" not in str(caught.value).replace("[secure]", "")


@pytest.mark.parametrize("length", [255, 256])
def test_socks_has_one_byte_for_a_length(length):
    for userinfo in ("u" * length + ":p", "u:" + "p" * length):
        if length > 255:
            with pytest.raises(InvalidURL, match="255 bytes"):
                Proxy.of(f"socks5://{userinfo}@h")
        else:
            Proxy.of(f"socks5://{userinfo}@h")
        Proxy.of(f"http://{userinfo}@h")


def test_who_looks_up_names_and_who_is_sent_requests():
    kinds = [Proxy.of(f"{scheme}://h") for scheme in ("http", "https", "socks5", "socks5h")]

    assert [True, True, False, True] == [kind.resolves for kind in kinds]
    assert [True, True, False, False] == [kind.forwards for kind in kinds]


def test_equal_in_all():
    """A proxy is a part of the pool's key."""
    proxy = Proxy.of("http://u:p@h:1")
    others = (
        "https://u:p@h:1 http://u:p@i:1 http://u:p@h:2 http://v:p@h:1 http://u:q@h:1 http://h:1"
    )

    assert hash(proxy) == hash(Proxy.of("http://u:p@h:1"))
    assert 7 == len({proxy, *map(Proxy.of, others.split())})


# ---- the environment


def chosen(url, **environ):
    proxy = Proxies(environ=environ).choose(URL(url))
    return None if proxy is None else str(proxy)


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "p:1"}, "http://p:1", None),
        ({"HTTPS_PROXY": "p:1"}, None, "http://p:1"),
        ({"ALL_PROXY": "p:1"}, "http://p:1", "http://p:1"),
        ({"http_proxy": "p:1"}, "http://p:1", None),
        ({"https_proxy": "p:1"}, None, "http://p:1"),
        ({"all_proxy": "socks5h://p"}, "socks5h://p:1080", "socks5h://p:1080"),
        ({"HTTPS_PROXY": "https://p"}, None, "https://p:443"),
        ({"HTTP_PROXY": "p:1", "HTTPS_PROXY": "q:2"}, "http://p:1", "http://q:2"),
        ({"HTTP_PROXY": "p:1", "ALL_PROXY": "q:2"}, "http://p:1", "http://q:2"),
        # Lower case counts more, even if it is empty.
        ({"HTTP_PROXY": "p:1", "http_proxy": "q:2"}, "http://q:2", None),
        ({"HTTPS_PROXY": "p:1", "https_proxy": ""}, None, None),
        ({"ALL_PROXY": "p:1", "all_proxy": ""}, None, None),
        # What is empty or blank says nothing.
        ({"HTTP_PROXY": "", "ALL_PROXY": "q:2"}, "http://q:2", "http://q:2"),
        ({"HTTPS_PROXY": "  "}, None, None),
        ({"HTTPS_PROXY": " p:1 "}, None, "http://p:1"),
        # httpoxy (CVE-2016-5386): anybody can send `Proxy: evil`, and only that.
        ({"HTTP_PROXY": "evil:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"HTTP_PROXY": "evil:1", "REQUEST_METHOD": ""}, None, None),
        ({"http_proxy": "p:1", "REQUEST_METHOD": "GET"}, "http://p:1", None),
        (
            {"HTTP_PROXY": "evil:1", "HTTPS_PROXY": "p:1", "REQUEST_METHOD": "GET"},
            None,
            "http://p:1",
        ),
        (
            {"HTTP_PROXY": "evil:1", "ALL_PROXY": "p:1", "REQUEST_METHOD": "GET"},
            "http://p:1",
            "http://p:1",
        ),
    ],
)
def test_environment(environ, http, https):
    assert http == chosen("http://example.com/", **environ)
    assert https == chosen("https://example.com/", **environ)


def test_environment_in_windows(monkeypatch):
    """Names of variables have no case there, so anybody can set http_proxy too."""
    monkeypatch.setattr("os.name", "nt")

    assert chosen("http://h/", http_proxy="p:1") == "http://p:1"
    assert chosen("http://h/", http_proxy="evil:1", REQUEST_METHOD="GET") is None


def test_what_is_given_counts_for_all():
    environ = {"HTTP_PROXY": "q:2", "NO_PROXY": "*"}
    proxies = Proxies("p:1", environ)

    for url in ("http://h/", "https://h/", "https://[::1]/"):
        assert "http://p:1" == str(proxies.choose(URL(url)))


def test_a_socket_is_of_this_machine():
    for proxies in (Proxies("p:1"), Proxies(environ={"ALL_PROXY": "p:1"})):
        assert proxies.choose(URL("http+unix://%2Frun%2Fx/")) is None


def test_a_wrong_proxy_that_is_given_is_refused_at_once():
    with pytest.raises(InvalidURL):
        Proxies("http://user:secret@h/path")
    with pytest.raises(UnsupportedProtocol):
        Proxies("ftp://h")


@pytest.mark.parametrize("value", ["socks4://h", "http://user:secret@h/path", "http://h:x"])
def test_a_wrong_proxy_in_the_environment_is_an_error_when_it_is_used(value):
    proxies = Proxies(environ={"https_proxy": value, "NO_PROXY": "internal"})

    assert proxies.choose(URL("http://example.com/")) is None
    assert proxies.choose(URL("https://internal/")) is None
    with pytest.raises(ProxyError, match=r"^https_proxy in the environment: .*trust_env") as caught:
        proxies.choose(URL("https://example.com/"))
    assert "secret" not in str(caught.value)
    assert "proxy" == caught.value.phase


def test_representation():
    assert "<Proxies http://h:80>" == repr(Proxies("http://user:secret@h"))
    assert "<Proxies ALL_PROXY HTTP_PROXY>" == repr(
        Proxies(environ={"ALL_PROXY": "http://user:secret@h", "HTTP_PROXY": "h"})
    )


# ---- NO_PROXY

EXEMPT = (
    "bypass.example, .below.example,*.star.example  10.1.2.3, 10.1.2.4:8080, 10.1.2.5:80,"
    "10.2.0.0/30,10.3.3.3/16, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, "
    "2002:db8:a::45/64 [2001:db8::52:0:4], ported.example:8080, ::ffff:10.5.0.0/112, "
    "::ffff:10.4.4.4, fe80::/10, upper.EXAMPLE, dotted.example., 169.254.0.0/255.255.0.0, "
    "notanumber.example:http, 2130706433, 10.9, 0x0a080808, 012.8.8.8, [10.7.7.7]:80, "
    "http://url.example, http://url-with-port.example:81/path, "
    "slash.example/, colon.example:, [fec0::]/10, under_score.example, 99999.example:99999, "
    "*.10.6.6.6, .7.7.8, x"
)


@each_row(
    ("authority", "proxied"),
    [
        # Names.
        ("bypass.example", False),
        ("www.bypass.example", False),
        ("a.b.bypass.example", False),
        ("BYPASS.Example", False),
        ("bypass.example.", False),
        ("www.bypass.example.", False),
        ("bypass.example:8080", False),
        ("nobypass.example", True),
        ("www.nobypass.example", True),
        ("bypass.example.org", True),
        ("example", True),
        ("ypass.example", True),
        ("below.example", True),
        ("www.below.example", False),
        ("a.b.below.example", False),
        ("nobelow.example", True),
        ("star.example", True),
        ("a.star.example", False),
        ("a.b.star.example", False),
        ("nostar.example", True),
        ("upper.example", False),
        ("dotted.example", False),
        ("www.dotted.example", False),
        ("under_score.example", False),
        ("x", False),
        ("xx", True),
        ("localhost", True),  # as with curl, and not with Go: there is no exception
        # Names with ports.
        ("ported.example:8080", False),
        ("www.ported.example:8080", False),
        ("ported.example", True),
        ("ported.example:8081", True),
        ("notanumber.example", True),
        ("url.example", False),
        ("www.url.example", False),
        ("url-with-port.example", True),
        ("url-with-port.example:81", False),
        ("slash.example", False),
        ("colon.example", False),
        ("colon.example:81", False),
        # Addresses.
        ("10.1.2.3", False),
        ("10.1.2.3:8080", False),
        ("10.1.2.4", True),
        ("10.1.2.4:8080", False),
        ("10.1.2.5", False),
        ("10.1.2.5:81", True),
        ("10.1.2.6", True),
        ("10.1.2.30", True),
        ("127.0.0.1", True),
        ("10.7.7.7", False),
        ("10.7.7.7:81", True),
        ("[2001:db8::52:0:1]", False),
        ("[2001:db8:0:0:0:52:0:1]", False),
        ("[2001:DB8::52:0:1]:8080", False),
        ("[2001:db8::52:0:2]", True),
        ("[2001:db8::52:0:2]:443", False),
        ("[2001:db8::52:0:3]", False),
        ("[2001:db8::52:0:3]:81", True),
        ("[2001:db8::52:0:4]:81", False),
        ("[::1]", True),
        # Blocks.
        ("10.2.0.0", False),
        ("10.2.0.3", False),
        ("10.2.0.4", True),
        ("10.3.255.255", False),
        ("10.4.0.0", True),
        ("169.254.169.254", False),
        ("[2002:db8:a::123]", False),
        ("[2002:db8:a:1::123]", True),
        ("[fe80::424b:c8be:1643:a1b6]", False),
        ("[fec0::1]", False),
        ("[ff00::1]", True),
        # IPv4 in the clothes of IPv6 is what is inside, on both sides.
        ("[::ffff:10.1.2.3]", False),
        ("[::ffff:0a01:0203]", False),
        ("[::ffff:10.2.0.3]", False),
        ("[::ffff:10.2.0.4]", True),
        ("10.4.4.4", False),
        ("[::ffff:10.4.4.4]", False),
        ("10.5.0.9", False),
        ("10.5.1.0", False),
        ("10.6.0.0", True),
        ("[::10.1.2.3]", True),  # which is another thing (RFC 4291, section 2.5.5.1)
        # A zone is no name, and no part of the address (Go's CVE-2025-22870).
        ("[fe80::1%25eth0]", False),
        ("[2001:db8::52:0:1%25eth0]", False),
        ("[::1%25.below.example]", True),
        ("[::1%25bypass.example]", True),
        # An address is not below a name.
        ("10.6.6.6", True),
        ("1.7.7.8", True),
        # Numbers that only some read as addresses are nobody's: 127.0.0.1, 10.0.0.9, 10.8.8.8.
        ("127.0.0.1:80", True),
        ("10.0.0.9", True),
        ("10.8.8.8", True),
        ("12.8.8.8", True),
    ],
)
def test_no_proxy(authority, proxied):
    environ = {"HTTP_PROXY": "p:1", "NO_PROXY": EXEMPT}

    assert proxied == (chosen(f"http://{authority}/", **environ) is not None)


def test_what_is_given_is_for_all():
    """Whatever the environment says."""
    assert Proxies("p:1", {"NO_PROXY": "*"}).choose(URL("http://h/")) == Proxy.of("p:1")


def test_blocks_of_ipv4_in_the_clothes_of_ipv6():
    """All of IPv4, and no less; a larger block is one of IPv6."""
    for exempt, url, proxied in (
        ("::ffff:0:0/96", "http://10.6.6.6/", False),
        ("::ffff:0:0/96", "http://[2001:db8::1]/", True),
        ("::ffff:0:0/90", "http://[2001:db8::1]/", True),
    ):
        assert proxied == (chosen(url, HTTP_PROXY="p:1", NO_PROXY=exempt) is not None)


@each_row(
    ("exempt", "host", "proxied"),
    [
        ("fe80::2%eth0", "[fe80::2%25eth0]", False),
        ("fe80::2%ETH0", "[fe80::2%25Eth0]", False),
        ("[fe80::2%eth0]", "[fe80::2%25eth0]", False),
        ("fe80::2%eth0", "[fe80::2%25eth1]", True),
        ("fe80::2%eth0", "[fe80::2]", True),
        ("fe80::2%eth0", "[fe80::3%25eth0]", True),
        ("fe80::%eth0/64", "[fe80::3%25eth0]", False),
        ("fe80::%eth0/64", "[fe80::3%25eth1]", True),
        ("fe80::2", "[fe80::2%25eth0]", False),
        ("fe80::/10", "[fe80::2%25eth0]", False),
    ],
)
def test_a_zone_is_an_interface(exempt, host, proxied):
    """Two of them are two networks; where none is named, any is meant."""
    assert proxied == (chosen(f"http://{host}/", HTTP_PROXY="p:1", NO_PROXY=exempt) is not None)


@pytest.mark.parametrize("exempt", ["münchen.de", "MÜNCHEN.de", ".münchen.de", "xn--mnchen-3ya.de"])
def test_names_that_are_not_ascii(exempt):
    """They are compared as they are sent."""
    pytest.importorskip("idna")
    expected = exempt.startswith(".")

    assert expected == (chosen("http://münchen.de/", HTTP_PROXY="p:1", NO_PROXY=exempt) is not None)
    assert chosen("http://www.münchen.de/", HTTP_PROXY="p:1", NO_PROXY=exempt) is None
    assert chosen("http://munchen.de/", HTTP_PROXY="p:1", NO_PROXY=exempt)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1", "10.1.515"])
def test_decimal_addresses_fool_nobody(host):
    """They are no hosts of a URL, so that no two readings of them can differ."""
    with pytest.raises(InvalidURL):
        URL(f"http://{host}/")


@pytest.mark.parametrize("exempt", ["*", " * ", "a,*", "*,a", "*:80"])
@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "[::1]"])
def test_everything(exempt, host):
    assert chosen(f"http://{host}/", HTTP_PROXY="p:1", NO_PROXY=exempt) is None
    other = chosen(f"http://{host}:81/", HTTP_PROXY="p:1", NO_PROXY=exempt)
    assert ("*:80" == exempt) == (other is not None)


@pytest.mark.parametrize(
    "exempt",
    [
        "",
        " ",
        ",",
        ", ,",
        ".",
        "..",
        "*.",
        ":",
        ":80",
        "[]",
        "/",
        "%",
        "ä..",
        "http://",
        "http:///",
    ],
)
def test_nothing(exempt):
    for host in ("example.com", "a.b.", "10.0.0.1", "[::1]"):
        assert chosen(f"http://{host}/", HTTP_PROXY="p:1", NO_PROXY=exempt)


def test_no_proxy_in_lower_case_counts_more():
    environ = {"HTTP_PROXY": "p:1", "NO_PROXY": "*", "no_proxy": "a"}

    assert chosen("http://a/", **environ) is None
    assert chosen("http://b/", **environ)


def test_the_port_is_the_schemes_where_none_is_given():
    environ = {"ALL_PROXY": "p:1", "NO_PROXY": "a:80,b:443"}

    assert chosen("http://a/", **environ) is None
    assert chosen("https://a/", **environ)
    assert chosen("http://b/", **environ)
    assert chosen("https://b/", **environ) is None


@given(st.text(max_size=40))
def test_any_text_can_be_read(text):
    for exemption in read_exemptions(text):
        for url in (URL("http://example.com/"), URL("http://[::1]/"), URL("http://10.0.0.1/")):
            assert exemption.holds(url) in (True, False)
