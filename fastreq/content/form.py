"""Forms and queries: pairs → application/x-www-form-urlencoded (WHATWG URL, section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from numbers import Number
from typing import Any
from urllib.parse import quote_plus

from fastreq.content.sources import utf8
from fastreq.errors import InvalidURL

_NOT_IN_QUERY = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def encode_params(params: Any) -> str:
    """A query out of a mapping, a list of pairs, or a str that is one already; None gives "".

    Raises:
        TypeError: it is none of these, or a value is no str, bytes, number, bool, None or list.
        InvalidURL: a str holds what cannot be in a URL.
    """
    if params is None:
        return ""
    if isinstance(params, str):
        if bad := _NOT_IN_QUERY.search(params):
            raise InvalidURL(f"params= has {bad[0]!r} at position {bad.start()}; give a mapping")
        return params.removeprefix("?")  # as URLSearchParams does
    return form_encoded(fields(params, "params"))


def merge_query(query: str, params: Any) -> str:
    """A query with `params` after what it has: nothing is replaced, and names may be repeated."""
    added = encode_params(params)
    return f"{query}&{added}" if query and added else query or added


def form_encoded(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """The text of a form (section 5.2)."""
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in pairs)


def fields(form: Any, where: str) -> list[tuple[bytes, bytes]]:
    """The names and values of a form, in UTF-8; `where` names it in errors.

    A list or a tuple as a value repeats the name; True and False become "true" and "false", and
    None becomes "".

    Raises:
        TypeError: the form, a name or a value is of another type.
        ValueError: a text has no UTF-8.
    """
    encoded = []
    for name, given in pairs(form, f"{where}="):
        place = f"{where}[{name!r}]"
        key = _name(name, place)
        values = given if isinstance(given, (list, tuple)) else (given,)
        encoded += [(key, _value(value, place)) for value in values]
    return encoded


def pairs(given: Any, where: str) -> Iterable[tuple[Any, Any]]:
    """The names and values of a mapping, or of a list of pairs; `where` names it in errors.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(given, Mapping):
        return _items(given)
    if not isinstance(given, (list, tuple)):
        raise TypeError(
            f"{where} is a {type(given).__name__}; expected a mapping or a list of pairs"
            + ("; a body that is ready goes to content=" if where == "data=" else "")
        )
    for pair in given:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise TypeError(f"{where} holds {type(pair).__name__} where (name, value) is expected")
    return given


def _items(given: Mapping[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """All of a mapping, also of one that holds several values of a name and whose `items()` gives
    one of each: httpx's and Starlette's have `multi_items()`, Werkzeug's has `getlist()`."""
    if hasattr(given, "multi_items"):
        every: Iterable[tuple[Any, Any]] = given.multi_items()
        return every
    if hasattr(given, "getlist"):
        return [(name, given.getlist(name)) for name in given]
    return given.items()


def _name(name: Any, place: str) -> bytes:
    if isinstance(name, str):
        return utf8(name, place)
    if isinstance(name, int) and not isinstance(name, bool):
        return b"%d" % name
    raise TypeError(f"{place} has a {type(name).__name__} as its name; expected a str")


def _value(value: Any, place: str) -> bytes:
    if isinstance(value, str):
        return utf8(value, place)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return b"%d" % value  # of an Enum too, which str() would give by its name
    if isinstance(value, Number):
        return str(value.value if isinstance(value, Enum) else value).encode()
    raise TypeError(
        f"{place} is a {type(value).__name__}; expected a str, bytes, a number, a bool, None, or "
        "a list of them: write it as the str that the server reads"
    )


def _encoded(text: bytes) -> str:
    """Percent-encode as section 1.3 says: urllib keeps "~", and the form rules keep "*" instead."""
    return quote_plus(text, safe="*").replace("~", "%7E")
