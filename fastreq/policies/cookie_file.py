"""cookies.txt, as Netscape wrote it and curl, wget and browser extensions do.

A line is one cookie: domain, whether subdomains count, path, whether https only, expiry, name and
value, with tabs between. `#HttpOnly_` may stand before the domain; other lines with # are comments.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable

from fastreq.errors import quoted
from fastreq.policies.set_cookie import SESSION, Cookie, plain_domain

_HEADER = (
    "# Netscape HTTP Cookie File\n# Written by fastreq. Whoever reads this is logged in as you.\n\n"
)
_HTTP_ONLY = "#HttpOnly_"
_BOM = "\xef\xbb\xbf"  # which Windows programs put before a text, as it is in latin-1
_FLAGS = {"TRUE": True, "FALSE": False}
_NAME = re.compile(r"[^\x00-\x1f\x7f;=]*")
_VALUE = re.compile(r"[^\x00-\x1f\x7f;]*")
_EXPIRY = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?")


def read_cookie_file(path: str | os.PathLike[str]) -> list[Cookie]:
    """The cookies of a file, in its order.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is no cookie; the text says which, and nothing of its value.
    """
    with open(path, encoding="latin-1", newline="") as file:  # bytes stay what they are
        lines = file.read().removeprefix(_BOM).split("\n")
    cookies = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        http_only = line.startswith(_HTTP_ONLY)
        if http_only or (line.strip() and not line.startswith("#")):
            try:
                cookie = _read_line(line.removeprefix(_HTTP_ONLY))
            except ValueError as exc:
                raise ValueError(f"{os.fspath(path)}, line {number}: {exc}") from None
            cookie.http_only = http_only
            cookies.append(cookie)
    return cookies


def _read_line(line: str) -> Cookie:
    fields = line.split("\t")
    if len(fields) == 6:  # some writers leave out the tab before an empty value
        fields.append("")
    if len(fields) != 7:
        raise ValueError(f"expected 7 fields with tabs between, got {len(fields)}")
    domain, subdomains, path, secure, expiry, name, value = fields
    if subdomains not in _FLAGS or secure not in _FLAGS:
        raise ValueError("expected TRUE or FALSE in the second field and the fourth")
    if not _EXPIRY.fullmatch(expiry):
        raise ValueError(f"{quoted(expiry)} is no time in seconds")
    domain = plain_domain(domain)
    if not domain or not path.startswith("/") or not _VALUE.fullmatch(domain + path):
        raise ValueError("expected a domain, and a path that begins with '/'")
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError("the name or the value has a character that no cookie has")
    return Cookie(
        name,
        value,
        domain,
        path,
        host_only=not _FLAGS[subdomains],
        secure=_FLAGS[secure],
        expires=float(expiry) or SESSION,
    )


def write_cookie_file(path: str | os.PathLike[str], cookies: Iterable[Cookie]) -> None:
    """Write a file that only its owner can read; whoever opens `path` sees the old one or the new.

    Raises:
        OSError: it cannot be written; what was there before is there still.
    """
    path = os.path.abspath(path)
    import tempfile  # only whoever saves a jar pays for it

    descriptor, unfinished = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".cookies-")  # 0600
    try:
        with open(descriptor, "w", encoding="latin-1", newline="") as file:
            file.write(_HEADER)
            file.writelines(_line(cookie) for cookie in cookies)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


def _line(cookie: Cookie) -> str:
    fields = (
        cookie.domain if cookie.host_only else f".{cookie.domain}",
        "FALSE" if cookie.host_only else "TRUE",
        cookie.path,
        "TRUE" if cookie.secure else "FALSE",
        "0" if cookie.expires == SESSION else str(math.floor(cookie.expires)),
        cookie.name,
        cookie.value,
    )
    return (_HTTP_ONLY if cookie.http_only else "") + "\t".join(fields) + "\n"
