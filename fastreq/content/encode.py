"""Bodies out: what a caller gives as `content=`, `data=`, `json=` or `files=`, as it is sent."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache, partial
from json import JSONEncoder
from typing import Any

from fastreq.content.compress import compressed
from fastreq.content.form import encode_params, fields, form_encoded, merge_query
from fastreq.content.multipart import encode_multipart
from fastreq.content.sources import Encoded, FileBody, body_of, replayable, utf8

__all__ = [
    "Encoded",
    "FileBody",
    "compressed",
    "encode_body",
    "encode_params",
    "merge_query",
    "replayable",
]

_NO_BODY = Encoded(b"", length=0)


def encode_body(
    content: Any = None, data: Any = None, json: Any = None, files: Any = None
) -> Encoded:
    """The body of a request, out of the one of these that is not None.

    Args:
        content: the bytes themselves: bytes, str (sent as UTF-8), a file in binary mode, or an
            iterable of bytes, which may be asynchronous. It has no content type.
        data: a form: a mapping or a list of pairs.
        json: any value that JSON has; of an Enum, its value; of a UUID, its text.
        files: files to upload as multipart/form-data, with the fields of `data` before them; see
            `encode_multipart`.

    Raises:
        TypeError: two bodies are given, or a value is of the wrong type.
        ValueError: a value cannot be sent, such as a nan in JSON.
        LocalProtocolError: a part of `files` would be malformed.
    """
    if content is not None:
        _check_alone("content", json=json, data=data, files=files)
        return body_of(content, "content=")
    if json is not None:
        _check_alone("json", data=data, files=files)
        return _encode_json(json)
    if files:
        return encode_multipart(data, files)
    if data is not None:
        body = form_encoded(fields(data, "data")).encode()
        return Encoded(body, "application/x-www-form-urlencoded", len(body))
    return _NO_BODY


def _check_alone(name: str, **others: Any) -> None:
    for other, value in others.items():
        if value is not None:
            raise TypeError(f"{name}= and {other}= were both given; a request has one body")


def _encode_json(value: Any) -> Encoded:
    body = _encode_fast(value) or _encode_strict(value)
    return Encoded(body, "application/json", len(body))


def _encode_fast(value: Any) -> bytes | None:
    """Encode by orjson; None where it may not say what the standard library says."""
    dumps = _orjson()
    if dumps is None:
        return None
    try:
        body = dumps(value)
    except TypeError:  # as it is for all that orjson refuses
        return None
    return None if b"null" in body else body  # which it makes of a nan, too


def _plain(value: Any) -> Any:
    """What is encoded in place of a value that JSON has not: orjson's choice, here too."""
    from uuid import UUID

    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


# Compact, and made once: json.dumps() makes one per call where it is given options.
_JSON = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def _encode_strict(value: Any) -> bytes:
    try:
        text = _JSON.encode(value)
    except TypeError as exc:
        raise TypeError(f"json= cannot be encoded: {exc}; convert it, or give content=") from exc
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"json= cannot be encoded: {exc}") from exc
    return utf8(text, "json=")


@cache
def _orjson() -> Callable[[Any], bytes] | None:
    """What encodes JSON faster, where the extra `speed` is installed (benchmark: post)."""
    try:
        import orjson
    except ImportError:
        return None
    # What the standard library refuses, or encodes by its own rules, is left to it.
    left = (
        orjson.OPT_PASSTHROUGH_DATACLASS
        | orjson.OPT_PASSTHROUGH_DATETIME
        | orjson.OPT_PASSTHROUGH_SUBCLASS
    )
    return partial(orjson.dumps, option=left)
