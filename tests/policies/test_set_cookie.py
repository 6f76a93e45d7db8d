"""What one Set-Cookie field says (TRUST 57, 85, 86, 87; RFC 6265bis, sections 5.1.1 and 5.6)."""

import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.policies.set_cookie import MAX_LIFETIME, SESSION, Cookie, parse_cookie_date
from fastreq.policies.set_cookie import parse_set_cookie as parse

NOW = 1_800_000_000.0  # 2027-01-15 08:00:00
YEAR = 365 * 24 * 3600


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of Windows is its own")
def test_dates_are_in_utc_wherever_we_are(monkeypatch):
    """A date without a zone would be read in ours."""
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    try:
        assert NOW == parse_cookie_date("Fri, 15 Jan 2027 08:00:00 GMT")
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_not_said():
    """Neither path nor SameSite has a default of its own."""
    said = parse("a=b", NOW)

    assert ("", "", "") == (said.domain, said.path, said.same_site)


def test_attributes_that_cannot_be_read_hide_none():
    """Those before and behind them count."""
    for bad in ("Path=/" + "x" * 2000, "Expires=never", "Max-Age=soon"):
        said = parse(f"a=b; HttpOnly; {bad}; Secure; SameSite=LaX; Path=/X", NOW)

        assert (True, True, "LaX", "/X") == (
            said.http_only,
            said.secure,
            said.same_site,
            said.path,
        )


def test_attributes_that_are_none():
    """A name is what it is, and not what it ends in."""
    assert not parse("a=b; XSecure; SecureX", NOW).secure


def test_the_shortest_life():
    """It lasts for a second."""
    assert NOW + 1 == parse("a=b; Max-Age=1", NOW).expires


# ---- name and value


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        ("a=b", "a", "b"),
        (" \ta \t=\t b ", "a", "b"),
        ("a=b=c==", "a", "b=c=="),
        ("a=", "a", ""),
        ("=b", "", "b"),
        ("b", "", "b"),
        ("=a=b", "", "a=b"),
        ('a="b c"', "a", '"b c"'),  # quotes are part of the value, and hide no semicolon
        ('a="b;c"', "a", '"b'),
        ("a=b,c=d", "a", "b,c=d"),  # one field, one cookie
        ("a=%0D%0Ab; x", "a", "%0D%0Ab"),  # and nothing is decoded
        ("a=\xe4\xf6", "a", "\xe4\xf6"),
        ("Xa=bX", "Xa", "bX"),
        ("a=b;;; ;=;secure", "a", "b"),
    ],
)
def test_name_and_value(field, name, value):
    said = parse(field, NOW)

    assert (name, value) == (said.name, said.value)


@pytest.mark.parametrize("field", ["", "=", " = ", ";secure", "\t", "=; Path=/"])
def test_neither_name_nor_value(field):
    assert parse(field, NOW) is None


@each_row("code", [*range(0x20), 0x7F])
@each_row("field", ["a{}b=c", "a=b{}c", "a=b; Path=/x{}y"])
def test_85_a_control_character_anywhere(field, code):
    """The whole field is ignored; so is a tab, which is legal, and no cookies.txt could hold."""
    assert parse(field.format(chr(code)), NOW) is None


@each_row("code", [c for c in (*range(0x20), 0x7F) if c != 9])
def test_85_a_control_character_in_what_is_not_even_kept(code):
    assert parse(f"a=b; unknown=x{chr(code)}y", NOW) is None


def test_85_a_tab_around_attributes_is_blank():
    assert "/x" == parse("a=b;\tPath\t=\t/x\t", NOW).path


@pytest.mark.parametrize("text", ["a=\u010d", "a=b; Path=/\u2028", "a=\ud800"])
def test_what_no_field_can_hold(text):
    assert parse(text, NOW) is None


def test_85_at_most_4096_bytes_of_name_and_value():
    assert parse("n" * 96 + "=" + "v" * 4000, NOW) is not None
    assert parse("n" * 97 + "=" + "v" * 4000, NOW) is None
    assert parse("v" * 4096, NOW) is not None
    assert parse("v" * 4097, NOW) is None


# ---- attributes


@pytest.mark.parametrize(
    ("field", "attribute", "expected"),
    [
        ("a=b", "domain", ""),
        ("a=b; Domain=Example.COM", "domain", "example.com"),
        ("a=b; domain=.example.com", "domain", "example.com"),
        ("a=b; Domain=..example.com", "domain", ".example.com"),  # which matches no host
        ("a=b; Domain=a.com; Domain=b.com", "domain", "b.com"),
        ("a=b; Domain=a.com; Domain", "domain", ""),
        ("a=b; Domain=" + "d" * 1024, "domain", "d" * 1024),
        ("a=b; Domain=" + "d" * 1025, "domain", ""),
        ("a=b; Domain=a.com; Domain=" + "d" * 1025, "domain", "a.com"),
        ("a=b; Path=/x", "path", "/x"),
        ("a=b; PATH=/x; path=/y", "path", "/y"),
        ("a=b; Path=/x; path=", "path", ""),
        ("a=b; Path=x", "path", ""),
        ("a=b; Path=/" + "p" * 1023, "path", "/" + "p" * 1023),
        ("a=b; Path=/" + "p" * 1024, "path", ""),
        ("a=b; Path=/%41%2F", "path", "/%41%2F"),
        ('a=b; Path="/x"', "path", ""),
        ("a=b; Secure", "secure", True),
        ("a=b;secure=false", "secure", True),
        ("a=b; Secured", "secure", False),
        ("a=b; HttpOnly", "http_only", True),
        ("a=b; SameSite=Lax", "same_site", "Lax"),
        ("a=b; unknown=1; Path=/x", "path", "/x"),
    ],
)
def test_attributes(field, attribute, expected):
    assert expected == getattr(parse(field, NOW), attribute)


# ---- 86: how long it lasts

LATE = "Expires=Wed, 01 Mar 2028 00:00:00 GMT"  # beyond 400 days
SOON = "Expires=Mon, 01 Feb 2027 00:00:00 GMT"
SOON_SECONDS = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
PAST = "Expires=Thu, 01 Jan 1970 00:00:00 GMT"


@each_row(
    ("attributes", "expires"),
    [
        ("", SESSION),
        ("; Max-Age=60", NOW + 60),
        ("; max-age=060", NOW + 60),
        ("; Max-Age=0", -math.inf),
        ("; Max-Age=-1", -math.inf),
        ("; Max-Age=-0", -math.inf),
        (f"; Max-Age={MAX_LIFETIME}", NOW + MAX_LIFETIME),
        (f"; Max-Age={MAX_LIFETIME + 1}", NOW + MAX_LIFETIME),
        ("; Max-Age=" + "9" * 1024, NOW + MAX_LIFETIME),
        ("; Max-Age=" + "9" * 1025, SESSION),  # too long, so not there
        ("; Max-Age=-" + "9" * 1000, -math.inf),
        ("; Max-Age", SESSION),
        ("; Max-Age=", SESSION),
        ("; Max-Age=+60", SESSION),
        ("; Max-Age=6e1", SESSION),
        ("; Max-Age=60.5", SESSION),
        ("; Max-Age=1 0", SESSION),
        ("; Max-Age=--1", SESSION),
        ("; Max-Age=٦٠".encode().decode("latin-1"), SESSION),
        ("; Max-Age=\xb2", SESSION),  # a digit to str.isdigit()
        ("; Max-Age=60; Max-Age=x", NOW + 60),  # of those that can be read the last
        ("; Max-Age=60; Max-Age=70", NOW + 70),
        (f"; {SOON}", SOON_SECONDS),
        (f"; {LATE}", NOW + MAX_LIFETIME),
        (f"; {PAST}", 0),
        (f"; {SOON}; Expires=never", SOON_SECONDS),
        (f"; {SOON}; {LATE}", NOW + MAX_LIFETIME),
        (f"; {PAST}; Max-Age=60", NOW + 60),  # Max-Age wins, wherever it stands
        (f"; Max-Age=60; {PAST}", NOW + 60),
        (f"; {SOON}; Max-Age=0", -math.inf),
        (f"; {SOON}; Max-Age=x", SOON_SECONDS),
        ("; Expires=0", SESSION),
        ("; Expires", SESSION),
    ],
)
def test_86_lifetime(attributes, expires):
    assert expires == parse(f"a=b{attributes}", NOW).expires


# ---- 57, 86: dates


def seconds(*fields):
    return datetime(*fields, tzinfo=UTC).timestamp()


@each_row(
    ("text", "expected"),
    [
        # The three formats of HTTP.
        ("Sun, 06 Nov 1994 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        ("Sun Nov  6 08:49:37 1994", (1994, 11, 6, 8, 49, 37)),
        # What servers make of them.
        ("Sun, 06-Nov-1994 08:49:37 GMT", (1994, 11, 6, 8, 49, 37)),
        ("06 nov 1994 8:9:7", (1994, 11, 6, 8, 9, 7)),
        ("NOVEMBER 6 1994 08:49:37", (1994, 11, 6, 8, 49, 37)),
        ("1994 08:49:37 06 Nov", (1994, 11, 6, 8, 49, 37)),
        ("08:49:37 06 1994 Novembre", (1994, 11, 6, 8, 49, 37)),
        ("Sun, 06 Nov 1994 08:49:37 +0500", (1994, 11, 6, 8, 49, 37)),  # no zone is looked at
        ("6th Nov 1994ad 08:49:37pm", (1994, 11, 6, 8, 49, 37)),
        (";;6/Nov@1994[08:49:37]", (1994, 11, 6, 8, 49, 37)),
        ("6\tNov\t1994\t08:49:37", (1994, 11, 6, 8, 49, 37)),
        ("\xff 6 Nov 1994 08:49:37", (1994, 11, 6, 8, 49, 37)),
        ("6 Nov 94 08:49:37 95", (1994, 11, 6, 8, 49, 37)),  # the first of each
        ("6 7 Nov 94 08:49:37", (1994, 11, 6, 8, 49, 37)),  # one digit is no year
        ("6 07 Nov 94 08:49:37", (2007, 11, 6, 8, 49, 37)),
        ("6 Nov 94 08:49:37 09:50:38", (1994, 11, 6, 8, 49, 37)),
        ("6 Nov Dec 94 08:49:37", (1994, 11, 6, 8, 49, 37)),
        # Two digits of a year.
        ("1 Jan 70 00:00:00", (1970, 1, 1)),
        ("1 Jan 69 00:00:00", (2069, 1, 1)),
        ("1 Jan 99 00:00:00", (1999, 1, 1)),
        ("1 Jan 00 00:00:00", (2000, 1, 1)),
        ("1 Jan 099 00:00:00", (1999, 1, 1)),
        ("1 Jan 1601 00:00:00", (1601, 1, 1)),
        ("31 Dec 9999 23:59:59", (9999, 12, 31, 23, 59, 59)),
        ("29 Feb 2024 00:00:00", (2024, 2, 29)),
        # No dates.
        ("1 Jan 1600 00:00:00", None),
        ("1 Jan 100 00:00:00", None),
        ("1 Jan 12345 00:00:00", None),
        ("29 Feb 2023 00:00:00", None),
        ("31 Apr 2023 00:00:00", None),
        ("0 Jan 2023 00:00:00", None),
        ("32 Jan 2023 00:00:00", None),
        ("001 Jan 2023 00:00:00", None),
        ("1 Jan 2023 24:00:00", None),
        ("1 Jan 2023 00:60:00", None),
        ("1 Jan 2023 00:00:60", None),
        ("1 Jan 2023 00:00", None),
        ("1 Jan 2023 000:00:00", None),
        ("1 Jan 2023 00:00:000", None),
        ("1 Ja 2023 00:00:00", None),
        ("1 Jan 2023", None),
        ("Jan 2023 00:00:00", None),
        ("1 2023 00:00:00", None),
        ("1 Jan 00:00:00", None),
        ("١ Jan 2023 00:00:00", None),
        ("2023-01-01T00:00:00Z", None),
        ("1700000000", None),
        ("", None),
        ("Session", None),
    ],
)
def test_57_86_cookie_date(text, expected):
    assert (expected and seconds(*expected)) == parse_cookie_date(text)


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2069, 12, 31)))
def test_every_http_date_is_read(moment):
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    texts = [
        format_datetime(moment, usegmt=True),
        moment.strftime("%A, %d-%b-%y %H:%M:%S GMT"),
        moment.ctime(),
    ]

    assert [moment.timestamp()] * 3 == [parse_cookie_date(text) for text in texts]


@given(st.text(alphabet="0123456789: -JanFebMYZ\t,;", max_size=60))
def test_a_date_is_a_date_or_none(text):
    date = parse_cookie_date(text)

    assert date is None or datetime(1601, 1, 1, tzinfo=UTC) + timedelta(
        0
    ) <= datetime.fromtimestamp(date, UTC)


# ---- anything at all

latin = st.text(st.characters(max_codepoint=255), max_size=200)


@given(latin | st.text(alphabet='ab=;," \tDomainPathExpiresMax-Age/.\r\n\0', max_size=200))
def test_any_field_gives_a_clean_cookie_or_none(field):
    said = parse(field, NOW)

    if said is not None:
        assert 0 < len(said.name) + len(said.value) <= 4096
        assert not any(ord(c) < 32 or ord(c) == 127 or c == ";" for c in said.name + said.value)
        assert "=" not in said.name
        assert said.path == "" or said.path[0] == "/"
        assert said.expires == SESSION or said.expires <= NOW + MAX_LIFETIME


@pytest.mark.parametrize(
    "hostile",
    [
        "a=b" + ";" * 65_000,
        "a=b" + "; Expires=" * 6_500,
        "a=b; Expires=" + "1:" * 32_000,
        "a=b; Expires=" + "0" * 64_000,
        ("a=b; Expires=" + "1:" * 500) * 60,
        "a=b; Max-Age=" + "9" * 64_000,
        "a=" + '"' * 64_000,
        "a=" + "\\" * 64_000,
        " " * 64_000,
        "=" * 64_000,
        "a=b; Path=/" + "/" * 64_000,
        "a=b; Domain=" + "." * 64_000,
    ],
    ids=lambda text: text[:16],
)
def test_64_kilobytes_are_read_in_linear_time(hostile):
    """Linear is some milliseconds; quadratic would be many seconds."""
    started = time.process_time()

    parse(hostile, NOW)

    assert time.process_time() - started < 0.5


def test_the_value_of_a_cookie_is_not_shown():
    assert "<Cookie a for .h.example/>" == repr(Cookie("a", "secret", "h.example", host_only=False))
    assert "<Cookie a for any host/>" == repr(Cookie("a", "secret"))
