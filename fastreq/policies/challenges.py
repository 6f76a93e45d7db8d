"""What WWW-Authenticate and Authentication-Info say (RFC 9110, section 11).

Strict: a field that is not by the grammar says nothing. Linear: no character is looked at more than
a few times, whatever a server sends.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fastreq.headers import TOKEN_CHARACTER
from fastreq.messages import Response

_TOKEN = f"{TOKEN_CHARACTER}++"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_END = r"[ \t]*+(?=,|\Z)"

_SEPARATORS = re.compile(r"[ \t,]*+")  # empty elements are no mistake (section 5.6.1.2)
_PARAMETER = re.compile(rf"({_TOKEN})[ \t]*+=[ \t]*+({_TOKEN}|{_QUOTED}){_END}")
_SCHEME = re.compile(
    rf"({_TOKEN})(?:{_END}| ++(?:([A-Za-z0-9._~+/-]++=*+){_END}|(?={_TOKEN}[ \t]*+=)))"
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r'(["\\])')


class Challenge(NamedTuple):
    """One way that the server offers to prove who we are."""

    scheme: str  # in lower case
    parameters: dict[str, str]  # names in lower case; values without quotes and escapes
    token: str | None = None  # what some schemes have in place of parameters


def challenges(response: Response) -> list[Challenge]:
    """The challenges of all WWW-Authenticate fields, in their order."""
    fields = response.headers.get_list("WWW-Authenticate")
    return [challenge for field in fields for challenge in read_challenges(field)]


def authentication_info(response: Response) -> dict[str, str]:
    """The parameters of Authentication-Info (RFC 7615)."""
    info = Challenge("", {})
    read = _read(response.headers.get("Authentication-Info", ""), [info])
    return info.parameters if len(read) == 1 else {}


def read_challenges(field: str) -> list[Challenge]:
    """The challenges of one field, of which there may be several; none if it is malformed."""
    return _read(field, [])


def _read(field: str, found: list[Challenge]) -> list[Challenge]:
    at = _skip(field, 0)
    while at < len(field):
        if found and (parameter := _PARAMETER.match(field, at)):
            name, parameters = parameter[1].lower(), found[-1].parameters
            if name in parameters or found[-1].token is not None:
                return []  # section 11.2: each at most once, and not beside a token
            parameters[name] = unquoted(parameter[2])
            at = parameter.end()
        elif scheme := _SCHEME.match(field, at):
            found.append(Challenge(scheme[1].lower(), {}, scheme[2]))
            at = scheme.end()
        else:
            return []
        at = _skip(field, at)
    return found


def _skip(field: str, at: int) -> int:
    match = _SEPARATORS.match(field, at)
    return match.end() if match else at


def quoted_string(text: str) -> str:
    """Text as a quoted-string (section 5.6.4); control characters are for the caller to refuse."""
    return '"' + _SPECIAL.sub(r"\\\1", text) + '"'


def unquoted(text: str) -> str:
    """The value of a token or a quoted-string."""
    return _ESCAPED.sub(r"\1", text[1:-1]) if text.startswith('"') else text
