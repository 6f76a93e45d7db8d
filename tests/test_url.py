"""URLs: what is read, what is refused, and that nobody else reads another host."""

import copy
import pickle
import sys
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tables import each_row

from fastreq import url as url_module
from fastreq.errors import FastreqError, InvalidURL, UnsupportedProtocol
from fastreq.url import MAX_CACHED_LENGTH, MAX_LENGTH, URL, parse_url

CONTROLS = [chr(code) for code in (*range(0x21), 0x7F)]  # the blank too


def refusal(text):
    with pytest.raises(InvalidURL) as caught:
        parse_url(text)
    return str(caught.value)


# ---- reading ------------------------------------------------------------------------------------


def test_every_part():
    """Each part is found, and what the wire needs is there already."""
    url = parse_url("HTTPS://user:p%40ss@Example.COM:8443/a%20b/ç?q=1&r=ü#frag ment")

    assert "https" == url.scheme
    assert "user:p%40ss" == url.userinfo
    assert ("user", "p@ss") == (url.username, url.password)
    assert "example.com" == url.host
    assert (8443, 8443) == (url.port, url.effective_port)
    assert "/a%20b/%C3%A7" == url.path
    assert "q=1&r=%C3%BC" == url.query
    assert "frag%20ment" == url.fragment
    assert "https://example.com:8443" == url.origin
    assert b"/a%20b/%C3%A7?q=1&r=%C3%BC" == url.target
    assert b"example.com:8443" == url.host_field
    assert (False, None, True) == (url.is_ip, url.socket_path, url.is_absolute)
    assert "https://user:p%40ss@example.com:8443/a%20b/%C3%A7?q=1&r=%C3%BC#frag%20ment" == str(url)
    assert "https://example.com:8443/a%20b/%C3%A7?q=1&r=%C3%BC#frag%20ment" == url.redacted
    assert "URL('https://user:[secure]@example.com:8443/" in repr(url)
    assert "HTTPS://user:p%40ss@Example.COM:8443/a%20b/ç?q=1&r=ü#frag ment" == url.given


@each_row(
    ("text", "normalised"),
    [
        ("http://h", "http://h/"),
        ("http://h?q", "http://h/?q"),
        ("http://h#f", "http://h/#f"),
        ("http://h/?", "http://h/?"),
        ("http://h/#", "http://h/#"),
        ("HtTp://H.Example/PaTh", "http://h.example/PaTh"),
        ("http://h:80/", "http://h/"),
        ("https://h:443/", "https://h/"),
        ("http://h:443/", "http://h:443/"),
        ("http://h:/", "http://h/"),
        ("http://h:00081/", "http://h:81/"),
        ("http://@h/", "http://h/"),
        ("http://:@h/", "http://:@h/"),
        ("http://u:a:b@h/", "http://u:a:b@h/"),
        ("http://u:ä|^@h/", "http://u:%C3%A4%7C%5E@h/"),
        ("http://h//a//", "http://h//a//"),
        ("http://h/a/./b/../c", "http://h/a/c"),
        ("http://h/a/%2E/b/.%2e/c/%2e%2E", "http://h/a/"),
        ("http://h/../../a", "http://h/a"),
        ("http://h//..", "http://h/"),
        ("http://h/a/.", "http://h/a/"),
        ("http://h/.a/..b/...", "http://h/.a/..b/..."),
        ("http://h/%2ea/%2f", "http://h/%2ea/%2f"),
        ("http://h/?/../a", "http://h/?/../a"),
        ("http://h/%zz%", "http://h/%zz%"),
        ("http://h/%7e%7E", "http://h/%7e%7E"),
        ("http://h/:@!$&'()*+,;=-._~", "http://h/:@!$&'()*+,;=-._~"),
        ('http://h/"<>[]^`{|}', "http://h/%22%3C%3E%5B%5D%5E%60%7B%7C%7D"),
        ("http://h/?a[]=\\^|'{}?/", "http://h/?a%5B%5D=%5C%5E%7C'%7B%7D?/"),
        ("http://h/#a#b\\", "http://h/#a%23b%5C"),
        ("http://h/a b?c d#e f", "http://h/a%20b?c%20d#e%20f"),
        ("http://h/\u2028\xa0🦊", "http://h/%E2%80%A8%C2%A0%F0%9F%A6%8A"),
        ("http://h/@x", "http://h/@x"),
        ("http://h?u:p@x", "http://h/?u:p@x"),
        ("http://a_b.-c-.example./", "http://a_b.-c-.example./"),
        ("http://1.2.3.4.example/", "http://1.2.3.4.example/"),
        ("http://192.168.0.255:8/", "http://192.168.0.255:8/"),
    ],
)
def test_normalised(text, normalised):
    """The text is repaired where RFC 3986 says how, and nowhere else; then it stays."""
    assert normalised == str(parse_url(text))
    assert parse_url(text) == parse_url(normalised)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("http://h", b"/"),
        ("http://h?", b"/?"),
        ("http://h?q#f", b"/?q"),
        ("http://u:p@h//x", b"//x"),
        ("http://h/é?é", b"/%C3%A9?%C3%A9"),
        ("http://h/%41%zz", b"/%41%zz"),
    ],
)
def test_target(text, target):
    """The request target has neither fragment nor userinfo, and begins with a slash."""
    assert target == parse_url(text).target


@pytest.mark.parametrize(
    ("text", "host_field", "origin", "port"),
    [
        ("http://u:p@h/", b"h", "http://h", 80),
        ("https://h:443/", b"h", "https://h", 443),
        ("https://h:80/", b"h:80", "https://h:80", 80),
        ("http://h.:81/", b"h.:81", "http://h.:81", 81),
        ("http://[::1]/", b"[::1]", "http://[::1]", 80),
        ("http://[::1]:81/", b"[::1]:81", "http://[::1]:81", 81),
        ("http://[fe80::1%25eth0]:81/", b"[fe80::1]:81", "http://[fe80::1%25eth0]:81", 81),
    ],
)
def test_host_field_and_origin(text, host_field, origin, port):
    """Host and origin name the port unless it is the default, and never userinfo (RFC 9112 3.2)."""
    url = parse_url(text)

    assert host_field == url.host_field
    assert origin == url.origin
    assert port == url.effective_port


# ---- the host -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("[::]", "::"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[2001:DB8::0:1]", "2001:db8::1"),
        ("[2001:db8:0:0:1:0:0:1]", "2001:db8::1:0:0:1"),
        ("[10:0:0:1::]", "10:0:0:1::"),
        ("[10:0:1:0:0:0:1:2]", "10:0:1::1:2"),
        ("[1:2:3:4:5:6:7::]", "1:2:3:4:5:6:7:0"),
        ("[::ffff:1.2.3.4]", "::ffff:102:304"),
        ("[64:ff9b::192.0.2.33]", "64:ff9b::c000:221"),
        ("[fe80::1%25eth0]", "fe80::1%eth0"),
        ("[FE80::1%25Eth0.1_~-]", "fe80::1%Eth0.1_~-"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_addresses(text, host):
    """IPv6 is written in its one short form, on every Python, and a zone id stays."""
    url = parse_url(f"http://{text}/")

    assert host == url.host
    assert url.is_ip
    assert url == parse_url(str(url))


def test_zone_ids_are_two_hosts():
    """The same address in two zones is two hosts, so no connection of one serves the other."""
    one, other = parse_url("http://[fe80::1%25eth0]/"), parse_url("http://[fe80::1%25lo]/")

    assert one != other
    assert one.host != other.host
    assert one.origin != other.origin
    assert one.host_field == other.host_field


@each_row(
    "host",
    [
        "[]",
        "[::1",
        "::1]",
        "::1",
        "[::1]x",
        "x[::1]",
        "[[::1]]",
        "[::1]]",
        "[::1]:80:80",
        "[1.2.3.4]",
        "[example.com]",
        "[v1.x]",  # IPvFuture
        "[:::]",
        "[1::2::3]",
        "[1:2:3:4:5:6:7:8:9]",
        "[12345::]",
        "[::１]",
        "[::1.2.3]",
        "[::1.2.3.04]",
        "[::1.2.3.256]",
        "[::1 ]",
        "[::1%eth0]",
        "[::1%25]",
        "[::1%25a b]",
        "[::1%25a%25b]",
        "[::1%25a/b]",
        "[::1%25" + "z" * 33 + "]",
        "%5B::1%5D",
    ],
)
def test_brackets(host):
    """Brackets hold an IPv6 address, perhaps a zone id after %25, and nothing else."""
    refusal(f"http://{host}/")


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.0x1",
        "127.0.0.0X1",
        "1.2.3.4.5",
        "256.0.0.1",
        "1.2.3.999",
        "0",
        "0x",
        "a.0x",
        "a.0xg.1",
        "example.1",
        "example.0xab.",
        "1..2",
    ],
)
def test_numbers_that_browsers_take_for_addresses(host):
    """A host that ends in a number is an IPv4 address of four plain decimals, or refused."""
    assert "number" in refusal(f"http://{host}/") or ".." in host


@each_row("char", sorted(set(map(chr, range(0x21, 0x7F))) - set("-._/?#:@")))
def test_characters_in_a_host(char):
    """Letters, digits, hyphen and underscore make labels; the rest is refused, encoded or not."""
    if char.isalnum():
        assert f"a{char}b".lower() == parse_url(f"http://a{char}b/").host
    else:
        refusal(f"http://a{char}b/")
    refusal(f"http://a%{ord(char):02x}b/")


@pytest.mark.parametrize(
    "host", ["", ".", "..", ".a", "a..b", "a..", "a" * 64, "a." * 127 + "bc", "a." * 127 + "b.c"]
)
def test_labels_and_lengths(host):
    """Labels have 1 to 63 characters, hosts at most 253, and there is a host."""
    refusal(f"http://{host}/")
    refusal(f"http://{host}:80")


def test_longest_host():
    """253 characters are a host, and a closing dot is not counted."""
    host = "a." * 126 + "b"

    assert 253 == len(host)
    assert host == parse_url(f"http://{host}").host
    assert f"{host}." == parse_url(f"http://{host}.").host


@pytest.mark.parametrize("port", ["0", "00", "65536", "99999", "000080", "1" * 5000])
@pytest.mark.parametrize("host", ["h", "[::1]", "1.2.3.4"])
def test_numbers_that_are_no_port(host, port):
    """Ports go from 1 to 65535."""
    assert "port" in refusal(f"http://{host}:{port}/")


@pytest.mark.parametrize("port", ["-1", "+1", "1_0", "0x50", "８０", "٨", "a", "80a", "8:0", "%38"])
def test_ports_are_decimal(port):
    """A port is ASCII digits; whatever else int() would take is refused."""
    refusal(f"http://h:{port}/")


@pytest.mark.parametrize("port", [1, 79, 65535])
def test_ports(port):
    """Both ends of the range are ports."""
    assert port == parse_url(f"http://h:{port}").port


# ---- international names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "ascii_host"),
    [
        ("faß.de", "xn--fa-hia.de"),
        ("FAß.DE", "xn--fa-hia.de"),
        ("faß。de", "xn--fa-hia.de"),
        ("bücher.example.", "xn--bcher-kva.example."),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("exa\u00admple.com", "example.com"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
        ("XN--Fa-Hia.de", "xn--fa-hia.de"),
        ("_a.xn--fa-hia.de", "_a.xn--fa-hia.de"),
        ("βόλος.com", "xn--nxasmm1c.com"),
    ],
)
def test_international_hosts(host, ascii_host):
    """Names are mapped by UTS 46 (non-transitional: ß stays ß) and encoded by IDNA 2008."""
    pytest.importorskip("idna", reason="the idna extra is not installed")

    assert ascii_host == parse_url(f"http://{host}/").host


@pytest.mark.parametrize(
    "host",
    [
        "xn--a",
        "xn--",
        "xn--example-",
        "xn--fa-hia0",
        "a.xn--a-ecp.ru",
        "xn--example-.faß.de",
        "xn--800000890089009908zyyzy.com",  # a number that punycode has no room for
        "xn--800000890089009908zyyzy.faß.com",
        "１２７.0.0.1",
        "127。0.0.1",
        "faß.1",
        "a℀b.com",  # NFKC makes a slash of it
        "a／b.com",
        "a＠b.com",
        "a：80",
        "a％2fb",
        "\u00ad",
        "\u200b",
        "a\u2028b",
        "strasẞe.de",
        "ß" * 63 + ".de",
        "٠.com",
        "\ufdd0.com",
    ],
)
def test_international_hosts_that_are_none(host):
    """Fake A-labels, and names that turn into something else when mapped, are refused."""
    pytest.importorskip("idna", reason="the idna extra is not installed")

    refusal(f"http://{host}/")


def test_without_idna(monkeypatch):
    """Without the idna package ASCII works, xn-- too, and the error says what to install."""
    monkeypatch.setitem(sys.modules, "idna", None)

    assert "pip install 'fastreq-http[idna]'" in refusal("http://größe.example/")
    assert "xn--gre-6ka8i.no-idna.example" == parse_url("http://xn--gre-6ka8i.no-idna.example").host
    for label in ("xn--", "xn--a", "xn--0", "xn--example-", f"xn--{'z' * 7}{'9' * 14}"):
        assert "encodes no international name" in refusal(f"http://a.{label}.no-idna.example/")


def test_long_hosts_never_reach_idna(monkeypatch):
    """A host of 10 kB is refused before anything quadratic sees it (CVE-2024-3651)."""
    idna = pytest.importorskip("idna", reason="the idna extra is not installed")
    monkeypatch.setattr(idna, "encode", None)

    assert "253" in refusal("http://" + "ß" * 5000)
    assert "253" in refusal("http://" + "xn--" * 2500)
    assert "253" in refusal("http://" + "٠." * 5000 + "com")


# ---- what is refused ----------------------------------------------------------------------------


@each_row("char", CONTROLS)
@each_row(
    "text",
    ["http://h{}h/", "http://h{}/", "http://{}h/", "http://h:8{}1/", "http://h:{}", "ht{}tp://h/"],
)
def test_controls_before_the_path(text, char):
    """No byte from 0x00 to 0x20, nor 0x7f, gets into scheme, host or port."""
    refusal(text.format(char))


@each_row("char", CONTROLS)
def test_controls_in_userinfo(char):
    """Nor into userinfo: a blank there is a paste gone wrong."""
    refusal(f"http://us{char}er@h/")
    refusal(f"http://user:{char}@h/")


@each_row("char", CONTROLS)
@each_row("text", ["http://h/a{}b", "http://h/?a{}b", "http://h/#a{}b", "/a{}b"])
def test_controls_after_the_host(text, char):
    """In path, query and fragment a blank is encoded; the others are refused, and pointed at."""
    text = text.format(char)
    if char == " ":
        assert "a%20b" in str(URL(text))
        assert b" " not in URL(text).target
    else:
        with pytest.raises(InvalidURL, match=f"at position {text.index(char)}"):
            URL(text)


@each_row("char", CONTROLS)
def test_controls_around(char):
    """Nothing is stripped, where browsers would."""
    refusal(f"{char}http://h/")
    refusal(f"http://h/{char}")
    with pytest.raises(InvalidURL):
        parse_url("http://base/").join(f"{char}//h/")


@pytest.mark.parametrize(
    "text", ["http://h/\ud800", "http://\udfff/", "http://h/?\udcff#", "\ud800"]
)
def test_lone_surrogates(text):
    """Half a character is refused, and so never met by an encoder."""
    assert "half a character" in refusal(text)


@each_row(
    "text",
    [
        "http:h",
        "http:/h",
        "http:///h",
        "http:////h/p",
        "http:",
        "http:?q",
        "http://",
        "http:///",
        "http://?q",
        "http://#f",
        "http://u:p@",
        "http://u:p@/h",
        "http://:80/",
        "http:\\\\h",
        "http:/\\h",
        "http://h\\p",
        "http://h/a\\..\\b",
        "http://h\\@evil/",
        "http://evil\\@h/",
        "http://h:80\\@evil/",
        "http://a@b@h/",
        "http://u:p@ss@h/",
        "http://[::1]@h/",
        "http://a[b@h/",
        "http://u:p%40ss#x@host",  # the authority ends at "#": p%40ss would be the port
        "http://u:p/ss@host",
        "http://u:p?ss@host",
        "http://u:12345678#@host",
        "http://h:80:80/",
        "http://h:80@",
        "http://h%2fevil/",
        "http://h%00evil/",
        "http://h%20evil/",
        "http://%68/",
        "http://h;evil/",
        "http://h,evil/",
        "http://*.h/",
    ],
)
def test_confusing_texts(text):
    """What parsers are known to read in two ways is not read."""
    refusal(text)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("http://h#@evil/", "h"),
        ("http://h/@evil", "h"),
        ("http://h?@evil", "h"),
        ("http://h#\\@evil", "h"),
        ("http://evil:80#@h", "evil"),
        ("http://h.evil%40x@real/", "real"),
        ("http://h:80@real/", "real"),
        ("http://h&@real/", "real"),
        ("http://h//evil/", "h"),
    ],
)
def test_exact_host(text, host):
    """The authority ends at the first of "/?#", and the host stands after its one "@"."""
    assert host == parse_url(text).host


@pytest.mark.parametrize(
    "text",
    [
        *("ftp://h/", "file:///etc/passwd", "javascript:alert(1)", "localhost:80/", "mailto:a@b"),
        *("ws://h/", "httpx://h/", "http+tcp://h/", "h2://h/", "unix:/run/x"),
    ],
)
def test_other_schemes(text):
    """Only http and https are spoken, over TCP or a Unix socket; also after a join."""
    with pytest.raises(UnsupportedProtocol, match="none of http, https"):
        parse_url(text)
    with pytest.raises(UnsupportedProtocol):
        parse_url("http://h/").join(text)


@pytest.mark.parametrize("text", ["", "h", "h/p", "/p", "//h/p", "?q", "#f", "1http://h", "://h"])
def test_no_scheme(text):
    """A relative URL is a value, but cannot be requested."""
    assert "has no scheme; write 'https://...'" in refusal(text)
    assert not URL(text).is_absolute
    with pytest.raises(InvalidURL, match="has no scheme"):
        parse_url(URL(text))


@pytest.mark.parametrize("value", [None, b"http://h/", bytearray(b"http://h/"), 1, True, 1.5])
def test_not_a_text(value):
    """What has no sane str() is refused by name, not looked up as a host."""
    assert repr(value)[:5] in refusal(value)


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hunter2@h:99999/",
        "http://me:hunter2@@h/",
        "http://me:hunter2#@h:80/",
        "http://me:hunter2@h\n/",
        "http:me:hunter2@h",
        "ftp://me:hunter2@h/",
        "//me:hunter2@h/",
        "http://me:hunter2@xn--ab.1/",
        "http://me:hunter2@größe.exa mple/",
    ],
)
def test_errors_keep_passwords(text):
    """No error shows a password, wherever a stray character has put it."""
    with pytest.raises(FastreqError) as caught:
        parse_url(text)

    assert "hunter2" not in str(caught.value)
    assert "[secure]@" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@h/", "URL('http://user:[secure]@h/')"),
        ("http://:secret@h/", "URL('http://:[secure]@h/')"),
        ("http://user@h/", "URL('http://user@h/')"),
        ("http://h/@x:y", "URL('http://h/@x:y')"),
        ("http://s:s@s:1/s:s@", "URL('http://s:[secure]@s:1/s:s@')"),
    ],
)
def test_repr(text, shown):
    """A password is not shown; `redacted` has no userinfo at all."""
    url = parse_url(text)

    assert shown == repr(url)
    assert str(url) == url.redacted.replace("://", f"://{url.userinfo}@" if url.userinfo else "://")


# ---- Unix sockets -------------------------------------------------------------------------------


def test_unix_socket():
    """The authority of http+unix is the socket's path, percent-encoded."""
    url = parse_url("HTTP+UNIX://%2Frun%2fdocker.sock/v1/info?a=b")

    assert "http+unix" == url.scheme
    assert "/run/docker.sock" == url.socket_path
    assert "http+unix://%2Frun%2Fdocker.sock" == url.origin
    assert ("localhost", b"localhost", None) == (url.host, url.host_field, url.port)
    assert b"/v1/info?a=b" == url.target
    assert "http+unix://%2Frun%2Fdocker.sock/v1/info?a=b" == str(url)
    assert url == parse_url(str(url))
    assert "http+unix://%2Frun%2Fdocker.sock/v2" == str(url.join("/v2"))
    assert 443 == parse_url("https+unix://%2Fa%20b%C3%A9/").effective_port


@pytest.mark.parametrize(
    "authority",
    [
        *("", "run", "%2Frun:80", "%2Frun%00", "%2Frun%0A", "%2Frun%ff", "%2Frun%2", "/run/x.sock"),
        *("%2F" + "a" * 107, "%2F" + "%C3%A9" * 54, "%2Fa\\b", "[::1]", "%2Fé"),
    ],
)
def test_unix_sockets_that_are_none(authority):
    """The path is absolute, encoded, of at most 107 bytes, and has no controls."""
    assert "http+unix" in refusal(f"http+unix://{authority}/x")


# ---- join ---------------------------------------------------------------------------------------

RFC_BASE = "http://a/b/c/d;p?q"


@each_row(
    ("reference", "resolved"),
    [  # RFC 3986, sections 5.4.1 and 5.4.2, but "g:h" and "http:g"
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g/"),  # "http://g" in the RFC; an empty path is sent as "/"
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q#s"),
        ("g#s", "http://a/b/c/g#s"),
        ("g?y#s", "http://a/b/c/g?y#s"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("g;x?y#s", "http://a/b/c/g;x?y#s"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("g#s/./x", "http://a/b/c/g#s/./x"),
        ("g#s/../x", "http://a/b/c/g#s/../x"),
    ],
)
def test_rfc_examples(reference, resolved):
    """References are resolved as RFC 3986 shows, given as text or as URL."""
    base = parse_url(RFC_BASE)

    assert resolved == str(base.join(reference))
    assert resolved == str(base.join(URL(reference)))


@pytest.mark.parametrize(
    ("base", "reference", "resolved"),
    [
        ("http://a", "g", "http://a/g"),
        ("http://a?q", "", "http://a/?q"),
        ("http://a/?", "#f", "http://a/?#f"),
        ("http://a/b?q", "?", "http://a/b?"),
        ("http://a/b#f", "", "http://a/b"),
        ("http://a/b#f", "c", "http://a/c"),
        ("http://u:p@a:81/b", "c", "http://u:p@a:81/c"),
        ("http://u:p@a:81/b", "//c", "http://c/"),
        ("https://a/b", "//c:443", "https://c/"),
        ("http://a/b", "//u@c:443/", "http://u@c:443/"),
        ("http://a/b", "https://u:p@c/d#e", "https://u:p@c/d#e"),
        ("http://[fe80::1%25lo]/b", "c", "http://[fe80::1%25lo]/c"),
        ("http://a/b/c", "/.//d", "http://a//d"),
        ("http://a/b/c", "..//d", "http://a//d"),
        ("http://a/b/c", "/%2e%2e/d", "http://a/d"),
        ("http://a/b", "é ü", "http://a/%C3%A9%20%C3%BC"),
        ("http://a/b", "1:2", "http://a/1:2"),
        ("http://a/b", "./x:y", "http://a/x:y"),
        ("http://a/b", "@c/d", "http://a/@c/d"),
    ],
)
def test_join(base, reference, resolved):
    """Authority, userinfo and port are the base's, unless the reference has an authority."""
    assert resolved == str(parse_url(base).join(reference))


@pytest.mark.parametrize(
    "reference",
    [
        *(
            "///evil",
            "////evil",
            "\\\\evil",
            "/\\evil",
            "\\/evil",
            "/\t/evil",
            "\n//evil",
            " //evil",
        ),
        *("//evil\\@a", "//a@b@c", "http:evil", "http:/evil", "https:evil", "//", "//:80", "//h:0"),
    ],
)
def test_references_to_nowhere(reference):
    """What browsers take for another host is refused in a Location too."""
    with pytest.raises(InvalidURL):
        parse_url("http://a/b").join(reference)


def test_join_needs_a_base():
    """A relative URL takes only absolute ones."""
    assert "http://h/" == str(URL("").join("http://h/"))
    with pytest.raises(InvalidURL, match="'/a' has no scheme"):
        URL("/a").join("b")


@pytest.mark.parametrize(
    ("text", "query", "result"),
    [
        ("http://h", "a=b", "http://h/?a=b"),
        ("http://h/p?x#f", "a=b c", "http://h/p?a=b%20c#f"),
        ("http://u@h/p?x", "", "http://u@h/p"),
        ("http://h/", "a=#b?/é%20", "http://h/?a=%23b?/%C3%A9%20"),
        ("http://h/", " a ", "http://h/?%20a%20"),
        ("/p?x#f", "y", "/p?y#f"),
    ],
)
def test_with_query(text, query, result):
    """A query stays a query, whatever is in it."""
    assert result == str(URL(text).with_query(query))


@pytest.mark.parametrize("query", ["a\r\nb", "\x00", "\x7f", "\ud800"])
def test_with_a_bad_query(query):
    """No control gets in by way of a query."""
    with pytest.raises(InvalidURL):
        URL("http://h/").with_query(query)


# ---- values -------------------------------------------------------------------------------------


def test_equal_by_normalised_text():
    """Two spellings are one URL, and one key."""
    one, other = URL("HTTP://H:80"), URL("http://h/")

    assert one == other
    assert {one: "found"}[other] == "found"
    assert one != URL("http://h/?")
    assert one != "http://h/"


def test_immutable():
    """No attribute can be set, added or deleted."""
    url = URL("http://h/")

    for change in (
        lambda: setattr(url, "host", "evil"),
        lambda: setattr(url, "new", 1),
        lambda: delattr(url, "host"),
    ):
        with pytest.raises(AttributeError, match="make another"):
            change()
    assert "h" == url.host


@pytest.mark.parametrize(
    "text", ["HTTP://u:p@H:80/a?b#c", "http://[fe80::1%25lo]/", "/a", "http+unix://%2fx/"]
)
def test_pickled_and_copied(text):
    """A URL goes to other processes as it is."""
    url = URL(text)

    for other in (
        *(pickle.loads(pickle.dumps(url, protocol)) for protocol in range(6)),
        copy.copy(url),
        copy.deepcopy(url),
    ):
        assert url == other
        assert text == other.given
        assert all(getattr(url, name) == getattr(other, name) for name in URL.__slots__)


def test_from_objects():
    """A URL is taken as it is, other libraries' by their str()."""

    class Foreign:
        def __str__(self):
            return "http://h/é"

    url = parse_url("http://h/é")

    assert url is parse_url(url)
    assert url == URL(url) == parse_url(Foreign()) == URL(Foreign())
    assert "http://h/é" == URL(url).given


def test_cached():
    """A short str is read once; long ones and subclasses, which may lie, are not kept."""

    class Liar(str):
        __slots__ = ()

        def __eq__(self, other):
            return True

        def __hash__(self):
            return hash("http://cached/")

    short = "http://cached/"
    long = "http://cached/" + "a" * MAX_CACHED_LENGTH

    assert parse_url(short) is parse_url("http://" + "cached/")
    assert parse_url(long) is not parse_url(long)
    assert parse_url(long) == parse_url(long)
    assert "other" == parse_url(Liar("http://other/")).host
    assert "cached" == parse_url(short).host
    assert url_module._parse_short.cache_info().maxsize


@each_row(
    ("url", "is_remembered"),
    [
        ("http://cached/a?page=12&size=345678", True),
        ("http://cached/a?n=123456789012", False),
        ("http://cached/a?page=1&token=0123456789ab#b", False),
        ("http://user:secret@cached/", False),
    ],
)
def test_no_url_with_a_secret_is_remembered(url, is_remembered):
    """Neither a password, nor a value in the query that is as long as a token."""
    assert is_remembered is (parse_url(url) is parse_url(url))
    assert url == str(parse_url(url))


# ---- sizes --------------------------------------------------------------------------------------


@each_row("flood", ["@", "%", "../", "/", "\\", "[", ":", "a.", "é", "?", "#", "\n"])
@each_row("before", ["", "http://", "http://h", "http://h/", "http+unix://"])
def test_floods(before, flood):
    """1 MB is refused by its length, and the error does not repeat it."""
    text = before + flood * (1_000_000 // len(flood))

    assert len(refusal(text)) < 400
    with pytest.raises(InvalidURL, match="at most 65,536"):
        URL("http://h/").join(text)


def test_longest_url():
    """64 KiB are read, one character more is not; what counts is the encoded text as well."""
    longest = "http://h/".ljust(MAX_LENGTH, "a")

    assert longest == str(parse_url(longest))
    assert "at most" in refusal(longest + "a")
    assert "percent-encoded" in refusal("http://h/".ljust(MAX_LENGTH // 2, "é"))
    with pytest.raises(InvalidURL):
        parse_url("http://h/" + "a/" * 20_000).join("b" * 40_000)


def calls(text):
    """Count the calls that reading takes, of C functions too."""
    count = 0

    def profile(frame, event, arg):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        URL(text)
    except InvalidURL:
        pass
    finally:
        sys.setprofile(before)
    return count


@each_row("unit", ["../", "./", "a/../", "%2e%2E/", "@", "%", "é", "?", "#", "a.", ":"])
@each_row("before", ["http://", "http://h/", "http://u:"])
def test_linear(before, unit):
    """Twice the text takes at most twice the steps, wherever it stands."""
    URL("http://h/é")  # codecs are looked up once

    once, twice = (calls(before + unit * size) for size in (4_000, 8_000))

    assert twice <= 2 * once + 20


# ---- any text at all ----------------------------------------------------------------------------

WORDS = """
    http:// https:// HTTP: http+unix:// // / \\ ? # @ : % .. . %2e %2F %00 %41 a _ - & = + ; | < {
    [ ] [::1] :: %25eth0 127.0.0.1 0x7f 1 256 :80 :443 :0 :65536 user:pw@ example.com EXAMPLE "
    localhost xn-- xn--fa-hia ß ẞ é 。 １ ℀ K
"""
BLANKS_AND_WORSE = " \t\n\r\x00\x7f\xad\u0301\u200b\u2028\ud800"
PIECES = [*WORDS.split(), *BLANKS_AND_WORSE]
texts = st.one_of(
    st.text(),
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["http://", "https://", "http://u:p@", "https://[", "http+unix://%2F"]),
        st.lists(st.sampled_from(PIECES), max_size=3).map("".join),
        st.lists(st.one_of(st.sampled_from(PIECES), st.characters()), max_size=8).map("".join),
    ),
)
BASE = "http://user:pw@base.example:81/a/b/c?q=1#f"


def read(text):
    """The URL and the one that BASE makes of it, each None where it is refused."""
    found = []
    for reader in (parse_url, parse_url(BASE).join):
        try:
            found.append(reader(text))
        except (InvalidURL, UnsupportedProtocol):
            found.append(None)
    return found


@given(texts)
def test_what_always_holds(text):
    """Whatever is read is clean on the wire, stays the same when read again, and pickles."""
    for url in filter(None, read(text)):
        assert url == parse_url(str(url)) == pickle.loads(pickle.dumps(url))
        assert str(url) == str(parse_url(str(url)))
        assert all(0x21 <= byte <= 0x7E for byte in url.target + url.host_field)
        assert url.target.startswith(b"/")
        assert b"#" not in url.target
        assert not set(url.host) & set(" /?#@\\[]<>^|\"'`{}\t\r\n\x00")
        assert url.host == url.host.lower() or "%" in url.host
        assert url.host
        assert str(url).isascii()
        assert url.redacted == str(parse_url(url.redacted))
        assert "" == parse_url(url.redacted).userinfo
        if not url.target.startswith(b"//"):  # which would be a host in a reference
            assert url.target == parse_url(url.origin).join(url.target.decode()).target


@given(texts)
@example("http://a\u011b\u032d\u01d2.com")
@example("http://foo\\@bar/")
@example("http://foo@bar@baz")
@example("http://127.1")
def test_same_host_as_a_browser(text):
    """Where an independent WHATWG parser and ours read a text, they read the same."""
    can_ada = pytest.importorskip("can_ada", reason="no WHATWG parser is installed")
    for ours, reader in zip(read(text), (can_ada.parse, can_ada.parse(BASE).__add__), strict=True):
        if ours is None or ours.socket_path:
            continue
        try:
            theirs = reader(text)
        except ValueError:
            continue
        assert theirs.hostname.strip("[]") == ours.host
        assert theirs.protocol == f"{ours.scheme}:"
        assert theirs.port == ("" if ours.port is None else str(ours.port))
        assert unquoted(theirs.username, theirs.password) == unquoted(ours.username, ours.password)
        assert unquoted(theirs.search[1:]) == unquoted(ours.query)
        # Not the path: Ada 3 leaves the last dot of "//.0/.", where the standard does not.


def unquoted(*parts):
    return [unquote_to_bytes(part) for part in parts]
