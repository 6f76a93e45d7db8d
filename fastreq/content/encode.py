"""Bodies out: what a caller gives as `content=`, `data=`, `json=` or `files=`, as it is sent."""

from __future__ import annotations

from collections.abc import Callable
from json import JSONEncoder
from typing import Any, TypeAlias

from fastreq.content.compress import compressed
from fastreq.content.form import encode_params, fields, form_encoded, merge_query
from fastreq.content.sources import Encoded, FileBody, body_of, replayable, utf8

__all__ = [
    "Encoded",
    "FileBody",
    "JSONDumps",
    "compressed",
    "encode_body",
    "encode_params",
    "merge_query",
    "replayable",
    "to_json",
]

JSONDumps: TypeAlias = Callable[[Any], bytes | str]
"""An encoder of JSON, such as `orjson.dumps`."""

# Compact, and made once: json.dumps() makes one per call where it is given options.
to_json: JSONDumps = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_NO_BODY = Encoded(b"", length=0)


def encode_body(
    content: Any = None,
    data: Any = None,
    json: Any = None,
    files: Any = None,
    dumps: JSONDumps = to_json,
) -> Encoded:
    """The body of a request, out of the one of these that is not None.

    Args:
        content: the bytes themselves: bytes, str (sent as UTF-8), a file in binary mode, or an
            iterable of bytes, which may be asynchronous. It has no content type.
        data: a form: a mapping or a list of pairs.
        json: any value that JSON has.
        files: files to upload as multipart/form-data, with the fields of `data` before them; see
            `encode_multipart`.
        dumps: what encodes `json`.

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
        return _encode_json(json, dumps)
    if files:
        from fastreq.content.multipart import encode_multipart  # benchmark: import

        return encode_multipart(data, files)
    if data is not None:
        body = form_encoded(fields(data, "data")).encode()
        return Encoded(body, "application/x-www-form-urlencoded", len(body))
    return _NO_BODY


def _check_alone(name: str, **others: Any) -> None:
    for other, value in others.items():
        if value is not None:
            raise TypeError(f"{name}= and {other}= were both given; a request has one body")


def _encode_json(value: Any, dumps: JSONDumps) -> Encoded:
    try:
        text = dumps(value)
    except TypeError as exc:
        raise TypeError(f"json= cannot be encoded: {exc}; convert it, or give content=") from exc
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"json= cannot be encoded: {exc}") from exc
    body = utf8(text, "json=") if isinstance(text, str) else text
    if type(body) is not bytes:
        raise TypeError(f"json_dumps= gave {type(body).__name__}; expected bytes or str")
    return Encoded(body, "application/json", len(body))
