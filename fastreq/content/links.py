"""Link fields: what a response is related to, and how (RFC 8288, section 3).

Strict: a field that is not by the grammar says nothing, but for values that ought to be in quotes,
as in `type=text/css`: servers send them, and nothing else can be meant (appendix B.3). Linear: no
character is looked at more than a few times, whatever a server sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fastreq.errors import InvalidURL, UnsupportedProtocol
from fastreq.headers import TOKEN_CHARACTER
from fastreq.url import URL

_TOKEN = f"{TOKEN_CHARACTER}++"
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'

_BARE = r"[!#-+\--:=?-~]++"  # all that can be seen, but for `"`, `,`, `;`, `<` and `>`

_SEPARATORS = re.compile(r"[ \t,]*+")  # empty elements are no mistake (RFC 9110, section 5.6.1.2)
_TARGET = re.compile(r"<([!#-;=?-~]*+)>")
_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+(?:({_TOKEN})[ \t]*+(?:=[ \t]*+({_BARE}|{_QUOTED}))?)?+")
_END = re.compile(r"[ \t]*+(?:,|\Z)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def links(fields: Iterable[str], base: URL) -> dict[str, dict[str, str]]:
    """The links of a response by their relation, each with its "url", "rel" and other parameters.

    Relations are in lower case; of several links of one relation the first counts. A URL is
    resolved against `base`; one that is not ours to request (mailto:, urn:) is left as it is. Links
    without a relation, or between other resources than this one (anchor), are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for field in fields:
        for target, parameters in _read(field):
            named = dict.fromkeys(parameters.get("rel", "").lower().split())
            relations = [relation for relation in named if relation not in found]
            if relations and "anchor" not in parameters:
                link = {**parameters, "url": _resolved(target, base)}
                found |= {relation: {**link, "rel": relation} for relation in relations}
    return found


def _read(field: str) -> list[tuple[str, dict[str, str]]]:
    """Targets and parameters, whose names are in lower case; nothing of a malformed field."""
    found, at = [], _skip(field, 0)
    while at < len(field):
        target = _TARGET.match(field, at)
        if target is None:
            return []
        parameters: dict[str, str] = {}
        at = target.end()
        while parameter := _PARAMETER.match(field, at):
            name, value = parameter[1], parameter[2] or ""
            if name is not None:  # of the same name, the first counts
                parameters.setdefault(name.lower(), _unquoted(value))
            at = parameter.end()
        if _END.match(field, at) is None:
            return []
        found.append((target[1], parameters))
        at = _skip(field, at)
    return found


def _skip(field: str, at: int) -> int:
    match = _SEPARATORS.match(field, at)
    return match.end() if match else at


def _unquoted(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


def _resolved(target: str, base: URL) -> str:
    try:
        return str(base.join(target))
    except (InvalidURL, UnsupportedProtocol):
        return target
