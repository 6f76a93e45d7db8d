"""What cannot be sent is refused before a byte is (issue 3, bad input; TRUST 1a, 18, 45, 53, 54).

In each of these tests a server listens, and nobody comes.
"""

import io
import math

import pytest
from servers.received import received
from servers.scripted import reply, serving

import fastreq
from fastreq import Client, LocalProtocolError

LOCAL = LocalProtocolError


async def refused(error, match, *arguments, **options):
    """No way of sending it works, and no connection is made."""
    async with serving(reply()) as server, Client() as client:
        method, *_ = arguments or ("GET",)
        url = server.url("/")

        with pytest.raises(error, match=match):
            await client.request(method, url, **options)
        with pytest.raises(error, match=match):
            async with client.stream(method, url, **options):
                pass
        with pytest.raises(error, match=match):
            await client.send(client.build_request(method, url, **options))
        with pytest.raises(error, match=match):
            await fastreq.request(method, url, **options)

        assert 0 == server.connections
        assert {} == client.stats() or 0 == client.stats().total.open


# ---- keywords


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("timeouts", "timeout="),
        ("timout", "timeout="),
        ("body", "content="),
        ("urlencoded", "data="),
        ("allow_redirects", "follow_redirects="),
        ("retries", "retry="),
        ("stream", r"the method client\.stream\(\)"),
        ("raise_for_status", r"the method response\.raise_for_status\(\)"),
        ("header", "headers="),
        ("cookie", "cookies="),
        ("file", "files="),
        ("xyzzy", "it takes .*auth, .*content, cookies, "),
    ],
)
async def test_an_unknown_keyword_says_which_was_meant(keyword, meant):
    for value in (1, None):
        await refused(TypeError, rf"has no {keyword}=.*{meant}", **{keyword: value})


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("verify_ssl", "verify="),
        ("ssl", "verify="),
        ("proxies", "proxy="),
        ("event_hooks", "hooks="),
        ("max_connections", r"limits=fastreq\.Limits\(max_connections=\.\.\.\)"),
        ("limit_per_host", r"limits=fastreq\.Limits\(max_per_host=\.\.\.\)"),
        ("max_redirect", "max_redirects="),
        ("json", r"it is an option of a request, as in client\.post\(url, json=\.\.\.\)$"),
        ("body", r"fastreq spells it content=, an option of a request"),
        ("return", "it takes allow, auth, "),
        ("unknown", "it takes allow, auth, "),
        ("xyzzy", "it takes allow, .*transport, trust_env, verify$"),
    ],
)
def test_an_unknown_keyword_of_the_client(keyword, meant):
    with pytest.raises(TypeError, match=rf"Client\(\) has no {keyword}=.*{meant}"):
        Client(**{keyword: 1})


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("verify", r"it is an option of Client\(\)$"),
        ("max_redirects", r"it is an option of Client\(\)$"),
        ("proxies", r"fastreq spells it proxy=, an option of Client\(\)$"),
        ("veryfy", r"fastreq spells it verify=, an option of Client\(\)$"),
    ],
)
async def test_an_option_of_the_client_is_none_of_a_request(keyword, meant):
    """Where it belongs is said; and each name that is proposed is one that is taken there."""
    async with Client() as client:
        for call in (
            lambda **options: client.request("GET", "http://a/", **options),
            lambda **options: client.get("http://a/", **options),
            lambda **options: client.send(client.build_request("GET", "http://a/", **options)),
            lambda **options: client.download("http://a/", "b", **options),
        ):
            with pytest.raises(TypeError, match=rf"request\(\) has no {keyword}=; {meant}"):
                await call(**{keyword: 1})
        with pytest.raises(TypeError, match=rf"map\(\) has no {keyword}=; {meant}"):
            client.map(["http://a/"], **{keyword: 1})


@pytest.mark.parametrize(
    ("keyword", "meant"), [("veryfy", "verify"), ("timout", "timeout"), ("proxies", "proxy")]
)
async def test_an_unknown_keyword_of_calls_that_take_both(keyword, meant):
    """`fastreq.get()` and its kin have the options of the client, too."""
    for call, name in (
        (fastreq.get, r"request\(\)"),
        (fastreq.post, r"request\(\)"),
        (lambda url, **options: fastreq.gather([url], **options), r"gather\(\)"),
    ):
        with pytest.raises(
            TypeError, match=rf"{name} has no {keyword}=; fastreq spells it {meant}=$"
        ):
            await call("http://a/", **{keyword: 1})
    with pytest.raises(TypeError, match=rf"fan_out\(\) has no {keyword}=; .* it {meant}=$"):
        fastreq.fan_out(["http://a/"], "out", **{keyword: 1})


# ---- bodies


BODIES = {"content": b"a", "json": {"a": 1}, "data": {"a": "1"}, "files": {"a": b"b"}}
PAIRS = [(a, b) for a in BODIES for b in BODIES if a < b and (a, b) != ("data", "files")]


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_a_body_given_twice(one, other):
    given = {one: BODIES[one], other: BODIES[other]}
    await refused(TypeError, r"\w+= and \w+= were both given; a request has one body", **given)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"content": {"a": 1}}, TypeError, r"content= is a dict.*goes to json= or data="),
        ({"content": 5}, TypeError, "content= is a int"),
        ({"content": ["text"]}, TypeError, "content= holds a str"),
        ({"content": "\ud800"}, ValueError, "half a character"),
        ({"json": {1, 2}}, TypeError, "json= cannot be encoded"),
        ({"json": math.nan}, ValueError, "json= cannot be encoded"),
        ({"json": "\ud800"}, ValueError, "half a character"),
        ({"data": "a=b"}, TypeError, "goes to content="),
        ({"data": {"a": {}}}, TypeError, r"data\['a'\] is a dict"),
        ({"files": {"a": 5}}, TypeError, r"files\['a'\] is a int"),
        ({"files": {"a": ("n",)}}, TypeError, "a tuple of 1"),
        ({"files": {"a": [b"x"]}}, TypeError, "is a list"),
    ],
)
async def test_a_body_that_is_none(options, error, match):
    await refused(error, match, "POST", **options)


# ---- framing


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ([("Content-Length", "3")], "Content-Length 3 for a body of 4 bytes"),
        ([("Content-Length", "5")], "Content-Length 5 for a body of 4 bytes"),
        ([("Content-Length", "4"), ("content-length", "4")], "is not one number"),
        ([("Content-Length", "4, 4")], "is not one number"),
        ([("Content-Length", "+4")], "is not one number"),
        ([("Content-Length", "4_0")], "is not one number"),
        ([("Content-Length", "0x4")], "is not one number"),
        ([("Content-Length", "")], "is not one number"),
        ([("Content-Length", "9" * 30)], "is not one number"),
        ([("Content-Length", "4"), ("Transfer-Encoding", "chunked")], "not beside"),
        ([("Transfer-Encoding", "gzip")], "only chunked"),
        ([("Transfer-Encoding", "gzip, chunked")], "only chunked"),
        ([("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], "only chunked"),
        ([("Transfer-Encoding", "xchunked")], "only chunked"),
        ([("TE", "chunked")], "TE: chunked"),
    ],
)
async def test_18_a_length_that_lies(fields, match):
    """TRUST 1a, 18, 30."""
    await refused(LOCAL, match, "POST", content=b"body", headers=fields)


async def test_a_length_without_a_body():
    await refused(LOCAL, "Content-Length 5 for a body of 0 bytes", headers={"Content-Length": "5"})


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_65_methods_without_a_body(method):
    """TRUST 65."""
    await refused(LOCAL, f"a {method} request has no body", method, content=b"a")


async def test_66_nothing_to_expect():
    await refused(LOCAL, "Expect", headers={"Expect": "100-continue"})
    empty = io.BytesIO()
    await refused(LOCAL, "Expect", "PUT", content=empty, headers={"Expect": "100-continue"})


@pytest.mark.parametrize(
    "fields",
    [
        [("Host", "a.test"), ("host", "b.test")],
        [("Host", "a.test"), ("Host", "a.test")],
        [("Host", "a.test, b.test")],
        [("Host", "a.test/path")],
        [("Host", "user@a.test")],
        [("Host", "a test")],
        [("Host", "é")],
    ],
)
async def test_6_two_hosts(fields):
    """TRUST 6: one, and only what a host can be."""
    await refused(LOCAL, "Host", headers=fields)


# ---- fields

TOKEN = set(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


async def test_54_every_byte_in_a_field():
    """TRUST 45, 54: 256 of them in a name and in a value; what is refused is not sent in part."""
    async with serving(reply()) as server, Client() as client:
        for byte in range(256):
            character = chr(byte)
            if byte not in TOKEN:
                for name in (f"X{character}Y", character):
                    with pytest.raises(LOCAL, match="not a token"):
                        await client.get(server.url("/"), headers={name: "value"})
            if (byte < 0x20 and character != "\t") or byte == 0x7F:
                with pytest.raises(LOCAL, match="control character"):
                    await client.get(server.url("/"), headers={"X": f"a{character}b"})
        assert 0 == server.connections


@pytest.mark.parametrize("value", ["\u010d\u010a", "\u560d\u560a", "\ud800", "５", "\u2028"])
async def test_1a_what_would_be_truncated(value):
    """TRUST 1a: never cut down to ISO-8859-1, where it might become CR and LF."""
    await refused(LOCAL, "cannot be sent", headers={"X": f"a{value}b"})
    await refused(LOCAL, "not a token", headers={f"a{value}b": "x"})


@pytest.mark.parametrize("name", ["", "a b", "a:", ":a", "a\r\nb", "é"])
async def test_names_that_are_none(name):
    await refused(LOCAL, "not a token", headers=[(name, "x")])


@pytest.mark.parametrize("value", [5, None, 1.5, ["a"], object()])
async def test_values_that_are_no_text(value):
    await refused(TypeError, "expected str", headers={"X": value})


@pytest.mark.parametrize("given", ["X: y", b"X: y", 5])
@pytest.mark.parametrize("option", ["headers", "cookies"])
async def test_fields_that_are_no_pairs(option, given):
    await refused(TypeError, f"{option}= is a .*expected a mapping", **{option: given})


@pytest.mark.parametrize("given", [["X: y"], ["ab"], [("a", "b", "c")], [5]])
@pytest.mark.parametrize("option", ["headers", "cookies"])
async def test_pairs_that_are_none(option, given):
    match = rf"{option}= holds a .*expected \(name, value\) in it"
    await refused(TypeError, match, **{option: given})


async def test_fields_are_checked_whenever_they_are_set():
    async with Client() as client:
        request = client.build_request("GET", "http://127.0.0.1:1/")
        for fields in (request.headers, client.headers):
            with pytest.raises(LOCAL):
                fields["X"] = "a\nb"
            with pytest.raises(LOCAL):
                fields.add("a\nb", "x")
            with pytest.raises(LOCAL):
                fields.update({"X": "a\rb"})
    with pytest.raises(LOCAL):
        Client(headers={"X": "a\nb"})


# ---- methods


async def test_1a_every_byte_in_a_method():
    """TRUST 1a: each that is no token, alone and in the middle."""
    async with serving(reply()) as server, Client() as client:
        for byte in set(range(256)) - TOKEN:
            for method in (f"GE{chr(byte)}T", chr(byte)):
                with pytest.raises(LOCAL, match="not a token"):
                    await client.request(method, server.url("/"))
        for method in ("", "GET / HTTP/1.1\r\nX: y", "GÉT", None, b"GET", 5):
            with pytest.raises(LOCAL, match="not a token"):
                await client.request(method, server.url("/"))
        assert 0 == server.connections


KNOWN = ["get", "HEAD", "Options", "delete", "post", "put", "Patch", "query", "trace"]


@pytest.mark.parametrize("method", [*KNOWN, "PROPfind", "purge"])
async def test_known_methods_come_in_capitals(method):
    """To servers "get" is another; what nobody knows is sent as it was written."""
    sent = method.upper() if method in KNOWN else method
    async with serving(reply(b"")) as server, Client() as client:
        response = await client.request(method, server.url("/"))

        assert sent == received(server).method == response.request.method
    assert "CONNECT" == client.build_request("connect", "http://h:1").method


# ---- cookies


@pytest.mark.parametrize("value", ["a;b", "a; Path=/", "a\r\nX: y", "a,b", "a b", "é"])
async def test_a_cookie_with_a_semicolon(value):
    await refused(LOCAL, "cannot stand in its value", cookies={"a": value})
    await refused(LOCAL, "not a token", cookies={value: "a"})


# ---- options


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"timeout": 0}, "Timeout"),
        ({"timeout": -1}, "Timeout"),
        ({"timeout": math.nan}, "Timeout"),
        ({"timeout": "5"}, "timeout="),
        ({"timeout": True}, "timeout="),
        ({"retry": -1}, "retry="),
        ({"retry": "3"}, "retry="),
        ({"compress": "br", "content": b"x"}, "compress="),
        ({"follow_redirects": "no"}, "follow_redirects='no': expected True or False"),
    ],
)
async def test_options_that_cannot_be(options, match):
    await refused((ValueError, TypeError), match, **options)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"max_redirects": -1}, ValueError, "max_redirects=-1"),
        ({"max_body": 0}, ValueError, "max_body=0"),
        ({"max_in_flight": "1"}, ValueError, "max_in_flight='1'"),
        ({"sensitive_headers": "X-Key"}, TypeError, "sensitive_headers="),
        ({"sensitive_headers": [5]}, TypeError, "sensitive_headers="),
        ({"cookies": {"a": "b;c"}}, LOCAL, "cookie"),
        ({"auth": "user:password"}, TypeError, "auth="),
        ({"allow": "private"}, TypeError, "allow="),
        ({"retry": 1.5}, ValueError, "retry="),
        ({"timeout": -1}, ValueError, "Timeout"),
        ({"params": 5}, TypeError, "params="),
        ({"base_url": "no url"}, ValueError, "base_url="),
        ({"proxy": "ftp://h"}, ValueError, "proxy|ftp"),
        ({"verify": "/no/such/file"}, (OSError, ValueError), "/no/such/file"),
        ({"max_redirects": None}, ValueError, "max_redirects=None: .* from 0$"),
        ({"limits": 10}, TypeError, "limits= is a int; expected a fastreq.Limits"),
        ({"limits": None}, TypeError, "limits= is a NoneType; expected a fastreq.Limits"),
        ({"limits": {"max_per_host": 3}}, TypeError, "limits= is a dict; expected"),
        ({"hooks": 3}, TypeError, r"hooks=3: expected fastreq.Hooks"),
        ({"transport": 3}, TypeError, r"transport=3 has no method send\(\)"),
        ({"follow_redirects": "no"}, TypeError, "follow_redirects='no': expected True or False"),
        ({"trust_env": "no"}, TypeError, "trust_env='no': expected True or False"),
    ],
)
def test_options_of_a_client_that_cannot_be(options, error, match):
    """When it is made, and not at the first request."""
    with pytest.raises(error, match=match):
        Client(**options)


@pytest.mark.parametrize("given", ["http://a/", None, fastreq.URL("http://a/")])
async def test_what_is_sent_is_a_request(given):
    async with Client() as client:
        with pytest.raises(TypeError, match=r"request= is a .*; expected a fastreq\.Request"):
            await client.send(given)


async def test_a_refused_request_costs_nothing():
    """What comes after it goes on the connection that was there."""
    async with serving(reply()) as server, Client() as client:
        await client.get(server.url("/"))
        for _ in range(5):
            with pytest.raises(LOCAL):
                await client.post(server.url("/"), content=b"a", headers={"Content-Length": "2"})
        await client.get(server.url("/"))

        assert (1, 2) == (server.connections, len(server.requests))
        assert (0, 1) == (client.stats().total.leased, client.stats().total.idle)
