"""A response as people look at it: a table for a terminal, and one in HTML for a notebook.

Whatever a server says is only text here: nothing that a terminal obeys or a browser runs. Values of
fields that carry secrets are not shown, nor is what URLs carry of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Any, Final, TypeAlias

from fastreq.errors import StreamConsumed, printable

PREVIEW: Final = 500  # characters of the body
LONGEST: Final = 200  # characters of a value

HIDDEN: Final = "[secure]"

_WORDS: Final = (
    "auth|cookie|credential|jwt|key|passw|secret|session|signature|token|webhook|client-id|license"
    "|honeycomb-team"
)
_SECRET = re.compile(_WORDS, re.I)
_USERINFO = re.compile(r"//[^/?#@\s]*+@")
_PARAMETER = re.compile(rf"(?<=[?&#])([^=&#\s]{{0,99}}(?:{_WORDS})[^=&#\s]{{0,99}}=)[^&#\s]+", re.I)
_OPEN: Final = frozenset({"www-authenticate", "proxy-authenticate", "sec-websocket-key"})

Rows: TypeAlias = list[tuple[str, str]]


def times(phases: dict[str, float]) -> str:
    """How long the phases took that took place, in milliseconds."""
    return ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in phases.items() if value)


def as_text(response: Any) -> str:
    """Lines for a terminal."""
    about, fields = list(_about(response)), _fields(response)
    width = max(len(name) for name, _ in [*about, *fields])
    lines = [f"{name:{width}}  {value}".rstrip() for name, value in about]
    lines += [""] if fields else []
    lines += [f"{name:{width}}  {value}".rstrip() for name, value in fields]
    preview = _preview(response)
    return "\n".join([*lines, "", preview] if preview else lines)


def as_html(response: Any) -> str:
    """Tables for a notebook."""
    about, fields = _html_rows(list(_about(response))), _html_rows(_fields(response))
    preview = _preview(response)
    shown = f"<pre>{escape(preview)}</pre>" if preview else ""
    return (
        f"<div><table>{about}</table><details><summary>Headers</summary><table>{fields}</table>"
        f"</details>{shown}</div>"
    )


def _html_rows(rows: Rows) -> str:
    left = 'style="text-align: left"'
    return "".join(
        f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(value)}</td></tr>"
        for name, value in rows
    )


def _about(response: Any) -> Iterator[tuple[str, str]]:
    status = f"{response.status} {response.status_message}".rstrip()
    yield "Status", printable(f"{status} ({response.http_version})")
    for earlier in response.history:
        yield "Redirected", printable(f"{earlier.status} from {_url(earlier.url.redacted)}")
    yield "URL", printable(f"{response.request.method} {_url(response.url.redacted)}")
    if peer := response.remote_address:
        yield "From", printable(peer if isinstance(peer, str) else "{} port {}".format(*peer))
    if response.attempts > 1:
        yield "Attempts", str(response.attempts)
    if shown := times(response.timings._asdict()):
        yield "Times", shown
    body = _body(response)
    yield "Body", "a stream, not read" if body is None else f"{len(body):,} bytes"


def _fields(response: Any) -> Rows:
    return [(printable(name), _value(name, value)) for name, value in response.headers.items()]


def _value(name: str, value: str) -> str:
    if _SECRET.search(name) and name.lower() not in _OPEN:
        return HIDDEN
    value = _url(value[: 10 * LONGEST])
    return printable(value if len(value) <= LONGEST else f"{value[:LONGEST]}…")


def _url(text: str) -> str:
    """A text that may have URLs in it, without user names, passwords and secret parameters."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USERINFO.sub("//", text))


def _body(response: Any) -> bytes | None:
    try:
        body: bytes = response.body
    except StreamConsumed:
        return None
    return body


def _preview(response: Any) -> str:
    """How the body begins, line by line; nothing of what is no text."""
    start = (_body(response) or b"")[: 4 * PREVIEW]
    if b"\0" in start:
        return ""
    try:
        text = start.decode(response.encoding, "replace")
    except (LookupError, ValueError):  # a name that somebody has set
        text = start.decode("utf-8", "replace")
    text = f"{text[:PREVIEW]}…" if len(text) > PREVIEW else text
    return "\n".join(map(printable, text.splitlines()))
