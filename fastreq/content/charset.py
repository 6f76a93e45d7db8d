"""Which charset a text is in (RFC 9110, section 8.3.2), and what its byte order mark says."""

from __future__ import annotations

import codecs
import re
from typing import Final

BOMS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))

_PARAMETER = re.compile(r""";\s*([\w-]+)\s*=\s*("[^"]*"|'[^']*'|[^;\s"']*)""", re.ASCII)
_NAME = re.compile(r"[\w.:-]{1,40}", re.ASCII)
# Codecs of Python that are no charsets: some are slow, some can fail whatever they are told, and
# UTF-7 is forbidden on the Web (WHATWG Encoding, section 4.2).
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"}
)
# Without a mark, Python's incremental decoders of these raise an error whatever they are told.
_ORDERED = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}


def charset_of(content_type: str) -> str:
    """The codec that a Content-Type asks for; UTF-8 where it asks for none, or for one that is no
    charset."""
    for name, value in _PARAMETER.findall(content_type):
        if name.lower() == "charset":
            return _codec(value.strip("\"'"))
    return "utf-8"


def marked(start: bytes) -> str | None:
    """The codec that a byte order mark at the start of a text asks for."""
    return next((codec for mark, codec in BOMS if start.startswith(mark)), None)


class TextDecoder:
    """Decodes a text piece by piece, wherever it is cut; what does not fit becomes U+FFFD."""

    def __init__(self, charset: str, *, marks: bool = True) -> None:
        """`charset` is a codec; `marks`: whether a byte order mark counts before that."""
        self._charset = charset
        self._marks = marks
        self._start = b""  # until it is known what it begins with
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, piece: bytes, last: bool = False) -> str:
        """What the next piece adds to the text; the last one may be empty."""
        if self._decoder is None:
            self._start += piece
            if self._marks and not last and _may_be_a_mark(self._start):
                return ""
            self._decoder = _decoder(self._start, self._charset, self._marks)
            piece, self._start = self._start, b""
        return self._decoder.decode(piece, last)


def _may_be_a_mark(start: bytes) -> bool:
    return any(len(start) < len(mark) and mark.startswith(start) for mark, _ in BOMS)


def _decoder(start: bytes, charset: str, marks: bool) -> codecs.IncrementalDecoder:
    codec = marked(start)
    if codec is None or not marks:
        name = codecs.lookup(charset).name
        codec = name if codec == name else _ORDERED.get(name, name)
    return codecs.getincrementaldecoder(codec)("replace")


def _codec(name: str) -> str:
    try:
        codec = codecs.lookup(name if _NAME.fullmatch(name) else "").name
        b"x".decode(codec, "replace")
    except (LookupError, ValueError):
        return "utf-8"
    return "utf-8" if codec.replace("_", "-") in _NO_CHARSETS else codec
