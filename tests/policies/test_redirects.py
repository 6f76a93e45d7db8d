"""Where redirects lead, and what goes along (TRUST 1d, and 50, 67, 68, 73, 74, 75)."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.errors import (
    InvalidURL,
    RemoteProtocolError,
    StreamConsumed,
    TooManyRedirects,
    UnsupportedProtocol,
)
from fastreq.headers import Headers
from fastreq.messages import Request, Response
from fastreq.policies.redirects import (
    DEFAULT_SENSITIVE,
    Hops,
    field_names,
    next_request,
    same_origin,
)
from fastreq.url import parse_url


def ask(url="http://a.example/", method="GET", fields=(), body=b"", length=None):
    return Request(method, parse_url(url), Headers(list(fields)), body, length)


def redirect(request, location, status=302):
    values = [location] if isinstance(location, str) else location
    headers = Headers([("Location", value) for value in values])
    return Response(status, headers=headers, request=request)


def follow(request, location, status=302, **options):
    return next_request(request, redirect(request, location, status), **options)


def target(base, location):
    return str(follow(ask(base), location).url)


def refusal(base, location, status=302):
    request = ask(base)
    with pytest.raises(RemoteProtocolError) as caught:
        follow(request, location, status)
    assert caught.value.request is request
    return caught.value


def test_names_of_fields():
    """A list of them, and no text, whose letters would be taken for names."""
    assert {"X-Api-Key", "b"} == field_names(["X-Api-Key", "b"])
    for wrong in ("X-Api-Key", b"X-Api-Key", [b"X-Api-Key"], [1]):
        with pytest.raises(TypeError, match=r"sensitive_headers=.*expected names"):
            field_names(wrong)


# ---- what is a redirect


@each_row("status", [s for s in range(100, 600) if s not in (301, 302, 303, 307, 308)])
def test_other_statuses_lead_nowhere(status):
    assert follow(ask(), "/x", status) is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("locations", [[], [""]])
def test_without_a_location_the_response_is_the_answer(status, locations):
    assert follow(ask(), locations, status) is None


# ---- 75: method and body (RFC 9110, sections 15.4.2 to 15.4.9)

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "PROPFIND", "post"]
KEPT = [(status, method) for status in (301, 302, 307, 308) for method in METHODS]
KEPT = [(s, m) for s, m in KEPT if m != "POST" or s > 302] + [(303, "HEAD")]
CHANGED = [(301, "POST"), (302, "POST")] + [(303, m) for m in METHODS if m not in ("GET", "HEAD")]


@each_row(("status", "method"), KEPT)
def test_75_method_is_kept(status, method):
    following = follow(ask(method=method), "/x", status)

    assert (method, "http://a.example/x") == (following.method, str(following.url))


@pytest.mark.parametrize(("status", "method"), CHANGED)
def test_75_method_becomes_get(status, method):
    assert "GET" == follow(ask(method=method), "/x", status).method


@each_row(("status", "method"), [case for case in KEPT if case[0] != 303])
@each_row("body", [b"body", (b"bo", b"dy")])
def test_75_body_is_kept_with_the_method(status, method, body):
    fields = [("Content-Type", "text/plain"), ("Expect", "100-continue"), ("Digest", "x")]
    request = ask(method=method, fields=fields, body=body, length=4)
    following = follow(request, "/x", status)

    assert (body, 4) == (following.body, following.length)
    assert request.fields == following.fields


BODY_FIELDS = [
    "Content-Type", "content-length", "Content-Encoding", "Content-Language", "Content-Location",
    "CONTENT-MD5", "Content-Digest", "Content-Range", "Content-Disposition", "Repr-Digest",
    "Digest", "Transfer-Encoding", "Trailer", "Expect", "Last-Modified",
]  # fmt: skip


@each_row(("status", "method"), [*CHANGED, (303, "GET"), (303, "HEAD")])
@each_row("body", [b"body", iter([b"bo", b"dy"])])
def test_73_with_the_body_go_its_fields(status, method, body):
    """Also of a stream: it is not needed again."""
    fields = [(name, "1") for name in BODY_FIELDS] * 2 + [("Accept", "*/*"), ("X-Content", "x")]
    following = follow(ask(method=method, fields=fields, body=body, length=4), "/x", status)

    assert (b"", None) == (following.body, following.length)
    assert [("Accept", "*/*"), ("X-Content", "x")] == list(following.fields.items())


class AsyncPieces:
    def __aiter__(self):
        pytest.fail("touched")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    "body",
    [iter([b"x"]), (b"x" for _ in "x"), AsyncPieces()],
    ids=["iterator", "generator", "async"],
)
def test_75_a_stream_is_not_sent_again(status, body):
    request = ask("https://user:secret@a.example/", method="PUT", body=body)
    with pytest.raises(StreamConsumed, match="as bytes") as caught:
        follow(request, "/x", status)

    assert request is caught.value.request
    assert "secret" not in str(caught.value)


def test_75_an_open_file_is_not_sent_again():
    with Path(__file__).open("rb") as file, pytest.raises(StreamConsumed):
        follow(ask(method="POST", body=file), "/x", 307)


def test_the_request_itself_stays_as_it_was():
    fields = [("Authorization", "a"), ("Content-Type", "b")]
    request = ask(method="POST", fields=fields, body=b"body")
    request.options = object()
    following = follow(request, "http://b.example/x", 303)

    assert ("POST", "http://a.example/", b"body") == (
        request.method,
        str(request.url),
        request.body,
    )
    assert fields == list(request.fields.items())
    assert request.options is following.options
    following.headers["X"] = "y"
    assert "X" not in request.fields


def test_fields_of_a_request_that_owns_them_stay_as_they_were():
    request = ask()
    request.headers["A"] = "b"  # it has its own from here on
    follow(request, "/x").headers["A"] = "c"

    assert "b" == request.headers["A"]


# ---- 1d, 73: credentials stay with their origin

HERE = [
    ("https://a.example/x", "/y"),
    ("https://a.example/x", "https://a.example/"),
    ("https://a.example/x", "https://A.EXAMPLE:443/"),
    ("http://a.example:80/x", "//a.example/"),
    ("http://[::1]/", "http://[0:0::1]:80/"),
    ("http+unix://%2Fa.sock/x", "/y"),
]
AWAY = [
    ("http://a.example/", "https://a.example/"),  # scheme, even if it is the better one
    ("http://a.example:443/", "https://a.example/"),
    ("https://a.example/", "https://a.example:8443/"),  # port
    ("http://a.example:8000/", "http://a.example/"),
    ("https://a.example/", "https://b.example/"),  # host
    ("https://a.example/", "//b.example/"),
    ("https://a.example/", "https://www.a.example/"),
    ("https://www.a.example/", "https://a.example/"),
    ("https://a.example/", "https://a.example./"),
    ("https://a.example/", "https://a.example.evil.example/"),
    ("http+unix://%2Fa.sock/", "http://localhost/"),
]
NAMES = ["Authorization", "cookie", "PROXY-Authorization", "X-Api-Key", "x-vault-token", "X-Mine"]
CASES = [(base, location, False) for base, location in HERE]
CASES += [(base, location, True) for base, location in AWAY]
SENSITIVE = DEFAULT_SENSITIVE | {"X-MINE"}


def test_there_are_17_cases_and_6_headers():
    assert (17, 6) == (len(CASES), len(NAMES))


@each_row(("base", "location", "leaves"), CASES)
@each_row("name", NAMES)
@each_row("copies", [1, 3])
def test_1d_a_credential_stays_with_its_origin(base, location, leaves, name, copies):
    """All of its copies, however they are written."""
    spellings = [name, name.lower(), name.upper()][:copies]
    fields = [("Accept", "*/*"), *((spelling, f"secret-{spelling}") for spelling in spellings)]
    request = ask(base, fields=fields)
    following = follow(request, location, sensitive=SENSITIVE)

    assert leaves == (not same_origin(request.url, following.url))
    assert "*/*" == following.fields["Accept"]
    assert (0 if leaves else copies) == len(following.fields.get_list(name))
    assert leaves == (b"secret" not in following.fields.block)


@each_row("name", sorted(DEFAULT_SENSITIVE))
def test_1d_each_of_the_usual_names(name):
    request = ask(fields=[(name, "1"), (name.title(), "2")])

    assert not follow(request, "http://b.example/").fields
    assert [b"1", b"2"] == [value for _, value in follow(request, "/x").fields.raw]


def test_1d_a_list_of_ones_own_adds_to_what_always_stays():
    fields = [
        (name, "1") for name in ("Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key")
    ]
    following = follow(ask(fields=fields), "http://b.example/", sensitive=frozenset())

    assert ["X-Api-Key"] == list(following.fields)


@pytest.mark.parametrize("last", ["http://a.example/", "https://a.example/", "http://b2.example/"])
def test_1d_what_was_dropped_never_comes_back(last):
    """A → B → A, and on from there."""
    request = ask(fields=[(name, "secret") for name in NAMES])
    for location in ("http://b.example/", last, "/x", "http://a.example/y"):
        if request.url.scheme == "https" and location.startswith("http:"):
            break
        request = follow(request, location, sensitive=SENSITIVE)
        assert not request.fields


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_1d_whatever_the_status(status, method):
    request = ask(method=method, fields=[(name, "secret") for name in NAMES], body=b"x")

    assert not follow(request, "//b.example/", status, sensitive=SENSITIVE).fields


@pytest.mark.parametrize("name", ["Host", "Origin"])
def test_73_what_names_the_origin_stays_with_it(name):
    request = ask(fields=[(name, "virtual.example")])

    assert not follow(request, "http://b.example/").fields
    assert [name] == list(follow(request, "/x").fields)


@pytest.mark.parametrize("referer", ["http://user:pw@x.example/", "//user@x.example", "u:p@x"])
def test_67_a_referer_with_a_password_stays(referer):
    request = ask(fields=[("Referer", referer)])

    assert not follow(request, "http://b.example/").fields


def test_67_another_referer_goes_along():
    request = ask(fields=[("Referer", "http://x.example/?q")])

    assert ["Referer"] == list(follow(request, "http://b.example/").fields)


# ---- where it leads


@pytest.mark.parametrize(
    ("base", "location", "expected"),
    [
        ("http://h/a/b?q#f", "c", "http://h/a/c#f"),
        ("http://h/a/b?q", "../../c", "http://h/c"),
        ("http://h/a/b?q", "?r", "http://h/a/b?r"),
        ("http://h/a/b?q", "//i", "http://i/"),
        ("http://h/", "/x y", "http://h/x%20y"),
        ("http://h/", "/%7e%2F", "http://h/%7e%2F"),
        # Section 10.2.2: ours is inherited, unless there is one.
        ("http://h/#f", "/x", "http://h/x#f"),
        ("http://h/#f", "http://i/x?y", "http://i/x?y#f"),
        ("http://h/#f", "/x#g", "http://h/x#g"),
        ("http://h/#f", "/x#", "http://h/x#"),
        ("http://h/", "/x", "http://h/x"),
        # Bytes beyond ASCII: UTF-8 as it is meant, anything else as it is.
        ("http://h/", "/\u00e7\u20ac", "http://h/%C3%A7%E2%82%AC"),
        ("http://h/", b"/\xe7?\xff#\xfe".decode("latin-1"), "http://h/%E7?%FF#%FE"),
    ],
)
def test_68_target(base, location, expected):
    if not location.isascii() and "\u20ac" in location:
        location = location.encode().decode("latin-1")  # as it comes out of the field

    assert expected == target(base, location)


def test_the_url_keeps_its_userinfo_where_it_is_only_a_path():
    """Auth makes a field of it, for this origin; it is on no line that is sent."""
    assert "http://u:p@h/x" == target("http://u:p@h/", "/x")
    assert "http://h/x" == target("http://u:p@h/", "http://h/x")
    assert "http://i/x" == target("http://u:p@h/", "//i/x")


@pytest.mark.parametrize(
    "location",
    ["http://user:secret@h/", "http://user@h/", "//user:secret@h/x", "https://:secret@h/"],
)
def test_50_a_location_with_userinfo(location):
    error = refusal("http://h/", location)

    assert "user name or a password" in str(error)
    assert "secret" not in str(error)


@each_row(
    "location",
    [
        "ftp://h/", "file:///etc/passwd", "javascript:alert(1)", "data:,x", "mailto:a@h", "ws://h/",
        "gopher://h/", "dict://h:11211/stat", "about:blank", "h:80", "tel:1", "HTTPX://h/",
        "http+unix://", "unix:/run/docker.sock",
        "http:h", "http:/h", "http:///h", "http://", "//", "///h", "http://:80/",
        "\\\\evil", "/\\evil", "\\/evil", "http:\\\\evil", "http://h\\@evil/",
        "http://a b/", "http://h:99999/", "http://h:x/", "http://[::1", "http://[fe80::1%25]/",
        "http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://a@b@c/", "http://%68/",
        "http://h\t/", "/x\ty", "//h/" + "x" * 70_000,
    ],
)  # fmt: skip
def test_1d_a_location_that_leads_nowhere(location):
    error = refusal("http://h/", location)

    assert isinstance(error.__cause__, (InvalidURL, UnsupportedProtocol))
    assert len(str(error)) < 600


def test_1d_what_a_field_cannot_hold_does_not_come_this_far():
    """CR, LF and NUL end or break the head; a received one is read here without its lines."""
    request = ask("http://h/")
    response = redirect(request, "/")
    response._headers = Headers()
    response._headers._fields.append(("location", b"Location", b"/x\r\nSet-Cookie: a=b"))

    with pytest.raises(RemoteProtocolError):
        next_request(request, response)


def test_several_locations():
    assert "http://h/x" == target("http://h/", ["/x", "/x"])
    assert "2 Location fields" in str(refusal("http://h/", ["/x", "/y", "/x"]))
    assert "2 Location fields" in str(refusal("http://h/", ["/x", ""]))


@pytest.mark.parametrize("base", ["http://h/", "https://h/", "http+unix://%2Fb.sock/"])
@pytest.mark.parametrize("location", ["http+unix://%2Fa.sock/x", "https+unix://%2Fa.sock/x"])
def test_1d_no_redirect_leads_to_a_socket(base, location):
    assert "socket" in str(refusal(base, location))


def test_a_socket_may_redirect_within_itself():
    assert "http+unix://%2Fa.sock/y" == target("http+unix://%2Fa.sock/x", "/y")
    assert "http+unix://%2Fa.sock/y" == target("http+unix://%2Fa.sock/x", "http+unix://%2Fa.sock/y")


@pytest.mark.parametrize("base", ["https://h/", "https://h:8443/", "https+unix://%2Fa.sock/"])
@pytest.mark.parametrize("location", ["http://h/", "http://other/", "http://h:443/"])
@pytest.mark.parametrize("status", [301, 307])
def test_1d_https_to_http_is_refused(base, location, status):
    assert "from https to http" in str(refusal(base, location, status))


def test_an_error_tells_whence_and_why_and_no_password():
    error = refusal("https://user:secret@h/x", "ftp://user:secret@i/")

    assert "302 from https://h/x: the Location" in str(error)
    assert "secret" not in str(error)
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_any_location_is_followed_over_http_or_refused(text):
    request = ask("https://h/", fields=[("Authorization", "secret")])
    response = redirect(request, "/")
    response._headers = Headers()
    response._headers._fields.append(("location", b"Location", text.encode("latin-1").strip()))
    try:
        following = next_request(request, response)
    except RemoteProtocolError:
        return
    if following is not None:
        assert "https" == following.url.scheme
        assert (following.url.origin == "https://h") == ("authorization" in following.fields.names)
        assert following.url.target.isascii()
        assert following.url.target.split() == [following.url.target]


# ---- 74: loops, and the limit


def chain(hops, *urls, fields=()):
    for url in urls:
        hops.add(ask(url, fields=fields))


@pytest.mark.parametrize("limit", [0, 1, 10])
def test_1d_the_limit_is_kept(limit):
    hops = Hops(limit)
    chain(hops, *(f"http://h/{n}" for n in range(limit)))

    with pytest.raises(TooManyRedirects, match=f"more than {limit} redirects, .*/last") as caught:
        chain(hops, "http://user:secret@h/last")
    assert "secret" not in str(caught.value)
    assert "http://user:secret@h/last" == str(caught.value.request.url)


def test_74_a_loop_is_named():
    hops = Hops(10)
    chain(hops, "http://h/start", "http://user:secret@h/a", "http://h/b")

    with pytest.raises(TooManyRedirects) as caught:
        chain(hops, "http://user:secret@h/a")
    loop = "GET 'http://h/a' -> GET 'http://h/b' -> GET 'http://h/a'"
    assert f"redirects lead in a circle: {loop}" == str(caught.value)
    assert "http://h/a" == caught.value.request.url.redacted


def test_74_a_loop_of_one():
    hops = Hops(10)
    chain(hops, "http://h/")

    with pytest.raises(TooManyRedirects, match="circle: GET 'http://h/' -> GET 'http://h/'"):
        chain(hops, "http://h/#other")


def test_74_a_loop_is_told_from_the_limit():
    hops = Hops(1)
    chain(hops, "http://h/")

    with pytest.raises(TooManyRedirects, match="circle"):
        chain(hops, "http://h/")


def test_74_the_same_url_is_no_loop_if_the_request_differs():
    """After a login the cookies are others; after a POST one is sent to where one was."""
    hops = Hops(10)
    chain(hops, "http://h/")
    chain(hops, "http://h/", fields=[("Cookie", "session=1")])
    chain(hops, "http://h/", fields=[("Cookie", "session=2")])
    hops.add(ask("http://h/", method="POST"))

    with pytest.raises(TooManyRedirects):
        chain(hops, "http://h/", fields=[("Cookie", "session=1")])


def test_the_text_of_a_long_loop_is_short():
    hops = Hops(20)
    urls = [f"http://h/{n}/" + "x" * 8000 for n in range(10)]
    chain(hops, *urls)

    with pytest.raises(TooManyRedirects) as caught:
        chain(hops, urls[0])
    assert len(str(caught.value)) < 2000


def test_1d_a_request_that_was_signed_is_not_signed_for_where_it_leads():
    """As it is where the `request` of a response is sent once more."""
    signed = ask(fields=[("Authorization", "Digest ...")])
    signed.sign_again = lambda request: request.with_field("Authorization", "secret")
    for location in ("/there", "http://b.example/"):
        assert next_request(signed, redirect(signed, location)).sign_again is None
    assert signed.sign_again is not None
