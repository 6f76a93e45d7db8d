"""Retry-After: seconds, or a date in any of three formats (row 57)."""

import math
import time
from calendar import timegm
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.messages import Response
from fastreq.policies.retry_after import http_date, parse_retry_after, retry_after

NOW = timegm((2026, 11, 23, 12, 0, 0))
EXAMPLE = 784111777  # of RFC 9110, section 5.6.7


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_formats(text):
    assert EXAMPLE == http_date(text, NOW)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of Windows is its own")
def test_dates_are_in_utc_wherever_we_are(monkeypatch):
    """A date without a zone would be read in ours; so would the year that it is now."""
    new_years_eve = timegm((2026, 12, 31, 20, 0, 0))
    monkeypatch.setenv("TZ", "XYZ-9")
    time.tzset()
    try:
        assert EXAMPLE == http_date("Sun, 06 Nov 1994 08:49:37 GMT", NOW)
        then = http_date("Sunday, 06-Nov-77 08:49:37 GMT", new_years_eve)
        assert timegm((1977, 11, 6, 8, 49, 37)) == then
    finally:
        monkeypatch.undo()
        time.tzset()


MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))


@given(MOMENTS.map(lambda moment: moment.replace(microsecond=0)))
def test_every_moment(moment):
    expected = moment.timestamp()

    assert expected == http_date(format_datetime(moment, usegmt=True), NOW)
    assert expected == http_date(moment.ctime(), NOW)


@given(st.integers(-49, 50), st.integers(1980, 2140))
def test_years_of_two_digits(ahead, this_year):
    """More than 50 years ahead is the last year that ended so."""
    now = timegm((this_year, 7, 1, 0, 0, 0))
    year = this_year - this_year % 100 + (this_year + ahead) % 100
    year -= 100 if year > this_year + 50 else 0

    expected = timegm((year, 1, 1, 0, 0, 0))
    assert expected == http_date(f"Monday, 01-Jan-{year % 100:02} 00:00:00 GMT", now)


@pytest.mark.parametrize(
    ("digits", "year"), [("26", 2026), ("27", 2027), ("76", 2076), ("77", 1977), ("25", 2025)]
)
def test_years_seen_from_2026(digits, year):
    assert timegm((year, 1, 1, 0, 0, 0)) == http_date(f"Monday, 01-Jan-{digits} 00:00:00 GMT", NOW)


def test_a_leap_second():
    assert timegm((2017, 1, 1, 0, 0, 0)) == http_date("Sat, 31 Dec 2016 23:59:60 GMT", NOW)


@each_row(
    "text",
    [
        "",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        " Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Xyz, 06 Nov 1994 08:49:37 GMT",
        "06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun Nov 06 08:49:37 94",
        "Sun Nov 6 08:49:37 1994",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 1994 08:49:3７ GMT",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37 GMT" * 10_000,
    ],
)
def test_what_is_no_date(text):
    assert http_date(text, NOW) is None
    assert parse_retry_after(text, NOW) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("007", 7.0),
        ("9" * 15, float("9" * 15)),
        ("9" * 5000, math.inf),  # int() refuses so many digits
        ("Mon, 23 Nov 2026 12:00:30 GMT", 30.0),
        ("Monday, 23-Nov-26 12:00:30 GMT", 30.0),
        ("Mon Nov 23 12:00:30 2026", 30.0),
        ("Mon, 23 Nov 2026 11:59:00 GMT", 0.0),  # in the past
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1_0", None),
        ("１", None),
        ("²", None),
        ("1 ", None),
        ("soon", None),
    ],
)
def test_values(value, seconds):
    assert seconds == parse_retry_after(value, NOW)


def test_of_two_the_longer_holds():
    """A date has a comma, so the fields are read one by one."""
    fields = [("Retry-After", value) for value in ("1", "Mon, 23 Nov 2026 12:00:30 GMT", "x")]

    assert 30.0 == retry_after(Response(503, headers=fields), NOW)
    assert retry_after(Response(503), NOW) is None


@pytest.mark.parametrize("text", ["1" * 10**6, "Sun, " * 10**5, "Sun" + " " * 10**6, "９" * 10**5])
def test_linear(text):
    started = time.process_time()
    parse_retry_after(text, NOW)
    assert 0.5 > time.process_time() - started
