"""How long a server asks to wait (RFC 9110, sections 10.2.3 and 5.6.7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fastreq.messages import Response

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_LONG_DAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        # IMF-fixdate, then the obsolete ones: RFC 850's and asctime's.
        rf"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        rf"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        rf"{_DAY} {_MONTH} (?P<day>[0-9 ][0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def retry_after(response: Response, now: float) -> float | None:
    """Seconds from now that the server asks to wait; the longest, if it says so twice."""
    waits = (parse_retry_after(value, now) for value in response.headers.get_list("Retry-After"))
    return max((wait for wait in waits if wait is not None), default=None)


def parse_retry_after(value: str, now: float) -> float | None:
    """Seconds from `now` (which is in seconds since 1970); None for what is neither form."""
    if value.isascii() and value.isdigit():
        return float(value)  # of too many digits too, which is inf
    date = http_date(value, now)
    return None if date is None else max(0.0, date - now)


def http_date(text: str, now: float) -> float | None:
    """An HTTP-date of any of the three formats, in seconds since 1970; None for what is none.

    `now` is needed for RFC 850's years of two digits: one that is more than 50 years ahead is
    taken for the last year that ended in the same digits.
    """
    found = next((match for form in _DATES if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    year = int(found["year"])
    if len(found["year"]) == 2:
        this_year = datetime.fromtimestamp(now, UTC).year
        year += this_year - this_year % 100
        if year > this_year + 50:
            year -= 100
    month, day = _MONTHS.index(found["month"]) + 1, int(found["day"])
    hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
    try:
        leap = second == 60  # which the grammar has, and datetime has not
        date = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC)
    except ValueError:
        return None
    return date.timestamp() + leap
