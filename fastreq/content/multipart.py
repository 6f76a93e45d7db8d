"""Uploads: multipart/form-data as browsers send it (WHATWG HTML, section 4.10.21.8; RFC 7578)."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

from fastreq.content.form import fields, pairs
from fastreq.content.sources import PIECE, Encoded, body_of, read_later, read_now, utf8
from fastreq.errors import LocalProtocolError
from fastreq.headers import field_name, field_value

DEFAULT_FILENAME = "upload"  # a part without any is no file to a server
DEFAULT_TYPE = "application/octet-stream"

# RFC 2046, section 5.1.1; a boundary that is no token stands in quotes.
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]", re.ASCII)
_TOKEN = re.compile(r"[0-9A-Za-z'+_\-.]+", re.ASCII)
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class _Part(NamedTuple):
    """A field or a file."""

    head: bytes  # its field lines, and the empty line after them
    body: Iterable[bytes] | AsyncIterable[bytes]  # a tuple where it is in memory
    length: int | None


def encode_multipart(data: Any, files: Any, boundary: str | None = None) -> Encoded:
    """The fields of `data`, then the files, as one body that is read as it is sent.

    Its length is known where that of every part is. What is in memory is not copied, unless all
    of it is, and is small.

    Args:
        data: a form, as `data=` takes it, or None.
        files: a mapping or a list of pairs, of a name and one of: content, (filename, content),
            (filename, content, type), (filename, content, type, headers). Content is what
            `content=` takes. A filename of None makes it a field like those of `data`.
        boundary: what stands between the parts, and in none of them; random unless given.

    Raises:
        TypeError: something is of the wrong type.
        ValueError: a text has no UTF-8, or a file is closed.
        LocalProtocolError: the boundary, or a name, type or header of a part, cannot be sent.
    """
    boundary = os.urandom(16).hex() if boundary is None else _checked(boundary)
    parts = [_field(name, value) for name, value in fields({} if data is None else data, "data")]
    parts += [_file(name, given) for name, given in pairs({} if files is None else files, "files=")]
    content_type = f"multipart/form-data; boundary={_parameter(boundary)}"
    seams = _seams(parts, boundary.encode())
    length = _length(parts, seams)
    if any(isinstance(part.body, AsyncIterable) for part in parts):
        return Encoded(_async_pieces(parts, seams), content_type, length)
    pieces = _pieces(parts, seams)
    if length is None or not all(isinstance(part.body, tuple) for part in parts):
        return Encoded(pieces, content_type, length)
    return Encoded(b"".join(pieces) if length <= PIECE else tuple(pieces), content_type, length)


def _checked(boundary: str) -> str:
    if not isinstance(boundary, str) or not _BOUNDARY.fullmatch(boundary):
        raise LocalProtocolError(
            f"boundary {boundary!r}: expected 1 to 70 letters, digits and '()+_,-./:=? and no "
            "blank at its end"
        )
    return boundary


def _parameter(boundary: str) -> str:
    return boundary if _TOKEN.fullmatch(boundary) else f'"{boundary}"'


def _seams(parts: list[_Part], boundary: bytes) -> list[bytes]:
    """What stands before each part, with its head, and after the last."""
    heads = [b"\r\n" + part.head for part in parts]
    seams = [b"\r\n--%b%b" % (boundary, after) for after in (*heads, b"--\r\n")]
    return [seams[0].removeprefix(b"\r\n"), *seams[1:]]


def _length(parts: list[_Part], seams: list[bytes]) -> int | None:
    total = sum(map(len, seams))
    for part in parts:
        if part.length is None:
            return None
        total += part.length
    return total


def _pieces(parts: list[_Part], seams: list[bytes]) -> Iterator[bytes]:
    for seam, part in zip(seams, parts, strict=False):
        yield seam
        if isinstance(part.body, Iterable):
            yield from part.body  # which closes a generator, too
    yield seams[-1]


async def _async_pieces(parts: list[_Part], seams: list[bytes]) -> AsyncIterator[bytes]:
    for seam, part in zip(seams, parts, strict=False):
        yield seam
        if isinstance(part.body, AsyncIterable):
            async with read_later(part.body) as later:
                async for piece in later:
                    yield piece
        else:
            with read_now(part.body) as now:
                for piece in now:
                    yield piece
    yield seams[-1]


# ---- a part


def _field(name: bytes, value: bytes) -> _Part:
    return _Part(_head(name, None, [], f"data[{name.decode()!r}]"), (value,), len(value))


def _file(name: Any, given: Any) -> _Part:
    place = f"files[{name!r}]"
    filename, content, content_type, headers = _unpacked(given, place)
    encoded = body_of(content, place)
    body = (encoded.body,) if isinstance(encoded.body, bytes) else encoded.body
    head = _head(
        _text(name, f"{place}: its name"),
        None if filename is None else _text(filename, f"{place}: its filename"),
        _own_fields(filename, content_type, headers, place),
        place,
    )
    return _Part(head, body, encoded.length)


def _unpacked(given: Any, place: str) -> tuple[Any, Any, Any, Any]:
    """Filename, content, type and headers, out of what stands for a file."""
    if isinstance(given, list):
        raise TypeError(f"{place} is a list; for several, write files=[(name, one), (name, two)]")
    if not isinstance(given, tuple):
        return _guessed_filename(given), given, None, None
    if not 2 <= len(given) <= 4:
        raise TypeError(
            f"{place} is a tuple of {len(given)}; expected (filename, content), with a type and "
            "headers after it where needed"
        )
    filename, content, content_type, headers = (*given, None, None)[:4]
    return filename, content, content_type, headers


def _guessed_filename(content: Any) -> str:
    name = getattr(content, "name", None)  # of a file: its path, its descriptor, or "<stdin>"
    if not isinstance(name, (str, bytes)) or os.fsdecode(name).startswith("<"):
        return DEFAULT_FILENAME
    return os.path.basename(os.fsdecode(name)) or DEFAULT_FILENAME


def _guessed_type(filename: str) -> str:
    # Of the suffix alone: a whole name may look like a URL, and "data:..." is taken by its word.
    import mimetypes  # only whoever sends files pays for it

    kind, packed = mimetypes.guess_type("file" + os.path.splitext(filename)[1])
    return DEFAULT_TYPE if kind is None or packed else kind


def _text(given: Any, what: str) -> bytes:
    if not isinstance(given, str):
        raise TypeError(f"{what} is a {type(given).__name__}; expected a str")
    return utf8(given, what)


def _head(
    name: bytes, filename: bytes | None, fields: list[tuple[bytes, bytes]], place: str
) -> bytes:
    """The field lines of a part, and the empty line after them."""
    disposition = b'form-data; name="%b"' % _escaped(name, place)
    if filename is not None:
        disposition += b'; filename="%b"' % _escaped(filename, place)
    lines = [(b"Content-Disposition", disposition), *fields]
    return b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n"


def _escaped(text: bytes, place: str) -> bytes:
    """What may stand in the quotes of a Content-Disposition."""
    if _CONTROL.search(text):
        raise LocalProtocolError(f"{place}: {text.decode()!r} has a control character")
    text = text.replace(b"\r", b"%0D").replace(b"\n", b"%0A").replace(b'"', b"%22")
    # A backslash is a letter like any other (WHATWG), but at the end of a text it is encoded:
    # there, those who know quoted pairs (RFC 9110, section 5.6.4) would miss the closing quote.
    return text[:-1] + b"%5C" if text.endswith(b"\\") else text


def _own_fields(
    filename: str | None, content_type: Any, headers: Any, place: str
) -> list[tuple[bytes, bytes]]:
    """The fields of a part beside its Content-Disposition: its type, and what the caller gave."""
    fields = [_checked_field(*pair, place) for pair in pairs(headers or (), f"{place} headers")]
    names = [name.lower() for name, _ in fields]
    if content_type is None and filename is not None and b"content-type" not in names:
        content_type = _guessed_type(filename)
    if content_type is not None:
        fields.insert(0, _checked_field("Content-Type", content_type, place))
        names.append(b"content-type")
    if b"content-disposition" in names or names.count(b"content-type") > 1:
        raise LocalProtocolError(
            f"{place}: its Content-Disposition is made of its names, and one type is enough"
        )
    return fields


def _checked_field(name: Any, value: Any, place: str) -> tuple[bytes, bytes]:
    raw = utf8(value, f"{place} {name}") if isinstance(value, str) else value
    return field_name(name), field_value(name, raw)
