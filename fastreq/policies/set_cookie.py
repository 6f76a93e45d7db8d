"""One Set-Cookie field → a cookie (RFC 6265bis, sections 5.1.1 and 5.6).

Nothing is ever decoded, joined or repaired, and every step is linear in the field.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

MAX_PAIR: Final = 4096  # bytes of name and value
MAX_ATTRIBUTE: Final = 1024
MAX_LIFETIME: Final = 400 * 24 * 3600  # section 5.5
SESSION: Final = math.inf  # when a cookie expires that has no date

_NOT_IN_FIELD = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_AGE = re.compile(r"-?[0-9]+")
_DELIMITERS = re.compile(r"[\t\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?![0-9])")
_DAY = re.compile(r"([0-9]{1,2})(?![0-9])")
_YEAR = re.compile(r"([0-9]{2,4})(?![0-9])")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(slots=True)
class Cookie:
    """One cookie of a jar.

    Attributes:
        name: may be empty, and is then left out where the cookie is sent.
        value: as the server wrote it, quotes and percent signs and all; bytes read as ISO-8859-1.
        domain: the host it belongs to, without a leading dot; "" where it was set by hand for all.
        path: begins with "/".
        host_only: it is not sent to the subdomains of `domain`.
        secure: it is sent over https alone.
        http_only, same_site: what the server said of scripts and sites; it means nothing here.
        expires: seconds since the epoch; infinite where it ends with the session.
    """

    name: str
    value: str
    domain: str = ""
    path: str = "/"
    host_only: bool = True
    secure: bool = False
    http_only: bool = False
    same_site: str = ""
    expires: float = SESSION
    # The jar counts what it does, and notes here when this was made and when it was last needed.
    created: int = 0
    used: int = 0

    def __repr__(self) -> str:
        domain = self.domain if self.host_only else f".{self.domain}"
        return f"<Cookie {self.name} for {domain or 'any host'}{self.path}>"  # the value is secret


def plain_domain(given: str) -> str:
    """A domain as it is kept: without a leading dot, and in lower case but for what stands behind a
    "%", which is the path of a socket, or the name of an interface."""
    name, percent, rest = given.removeprefix(".").partition("%")
    return name.lower() + percent + rest


class SetCookie(NamedTuple):
    """What a Set-Cookie field says, where it says it."""

    name: str
    value: str
    domain: str = ""  # in lower case, without a leading dot
    path: str = ""
    secure: bool = False
    http_only: bool = False
    same_site: str = ""
    expires: float = SESSION


def parse_set_cookie(text: str, now: float) -> SetCookie | None:
    """Read the value of one Set-Cookie field; None if it is to be ignored."""
    if _NOT_IN_FIELD.search(text):
        return None
    pair, *attributes = text.split(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", pair
    name, value = name.strip(" \t"), value.strip(" \t")
    if not (name or value) or len(name) + len(value) > MAX_PAIR:
        return None
    said = _attributes(attributes)
    path = said.get("path", "")
    # A tab inside is legal, but nothing honest has one, and it would end a field of cookies.txt.
    if "\t" in name or "\t" in value or "\t" in path:
        return None
    return SetCookie(
        name,
        value,
        domain=said.get("domain", "").removeprefix(".").lower(),
        path=path if path.startswith("/") else "",
        secure="secure" in said,
        http_only="httponly" in said,
        same_site=said.get("samesite", ""),
        expires=_expiry(said, now),
    )


def _attributes(attributes: list[str]) -> dict[str, str]:
    """The attributes by name in lower case: of each the last one that can be read."""
    said: dict[str, str] = {}
    for attribute in attributes:
        name, _, value = attribute.partition("=")
        name, value = name.strip(" \t").lower(), value.strip(" \t")
        if len(value) > MAX_ATTRIBUTE:
            continue
        if name == "expires" and parse_cookie_date(value) is None:
            continue
        if name == "max-age" and not _AGE.fullmatch(value):
            continue
        said[name] = value
    return said


def _expiry(said: dict[str, str], now: float) -> float:
    """When the cookie ends: Max-Age beats Expires, and nothing lasts beyond 400 days."""
    if "max-age" in said:
        seconds = float(said["max-age"])
        return now + min(seconds, MAX_LIFETIME) if seconds > 0 else -math.inf
    date = parse_cookie_date(said.get("expires", ""))
    return SESSION if date is None else min(date, now + MAX_LIFETIME)


def parse_cookie_date(text: str) -> float | None:
    """Seconds since the epoch, out of whatever looks like a date (section 5.1.1); None if none.

    The three formats of RFC 9110, section 5.6.7, are among what it reads.
    """
    time = day = month = year = None
    for token in _DELIMITERS.split(text):
        if time is None and (match := _TIME.match(token)):
            time = int(match[1]), int(match[2]), int(match[3])
        elif day is None and (match := _DAY.match(token)):
            day = int(match[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (match := _YEAR.match(token)):
            year = int(match[1])
    if time is None or day is None or month is None or year is None:
        return None
    if year < 100:
        year += 1900 if year >= 70 else 2000
    if year < 1601:
        return None
    try:
        return datetime(year, month, day, *time, 0, UTC).timestamp()
    except ValueError:  # no such hour, or no such day in this month
        return None
