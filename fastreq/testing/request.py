"""A request as the bundled server reads it: bytes in, no I/O.

It is strict, and shares no code with the client: what fastreq writes is read here by another.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache
from typing import Literal, NamedTuple

MAX_LINE = 4096  # bytes of a chunk's size with its extensions, or of a trailer
MAX_KEPT = 16 * 2**20  # bytes of one body; of a longer one only length and checksum are known

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
REQUEST_LINE = re.compile(rb"(%b) ([!\"$-~]+) HTTP/1\.1" % TOKEN)
FIELDS = re.compile(rb"(?:%b:[^\r\n\0]*\r\n)*\r\n" % TOKEN)
LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?")


class BadRequest(Exception):
    """The request is answered with `status` and this text, and the connection closed."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Body:
    """The body of a request on its way in; `length` is None where it comes in chunks."""

    def __init__(self, length: int | None = 0) -> None:
        self.received = 0  # bytes, without the framing of chunks
        self.crc32 = 0
        self.content = bytearray()  # the first MAX_KEPT bytes
        self._left = length or 0  # bytes of the whole, or of the chunk that is being read
        # what comes after those bytes
        self._next: Literal["end", "size", "end of chunk", "trailer"]
        self._next = "end" if length is not None else "size"

    @property
    def is_complete(self) -> bool:
        """Whether nothing is to come."""
        return self._next == "end" and not self._left

    def receive(self, data: bytearray) -> bool:
        """Take what belongs to the body off the front of `data`, and say whether it is complete.

        Raises:
            BadRequest: that is not how chunks are written.
        """
        while not self.is_complete:
            if self._left:
                if not data:
                    return False
                piece = data[: self._left]
                del data[: len(piece)]
                self._left -= len(piece)
                self._keep(piece)
            else:
                end = data.find(b"\r\n")
                if max(end, len(data) if end < 0 else 0) > MAX_LINE:
                    raise BadRequest(400, f"a line among the chunks is over {MAX_LINE} bytes")
                if end < 0:
                    return False
                line = bytes(data[:end])
                del data[: end + 2]
                self._receive_line(line)
        return True

    def _receive_line(self, line: bytes) -> None:
        if self._next == "trailer":
            self._next = "trailer" if line else "end"
        elif self._next == "end of chunk":
            if line:
                raise BadRequest(400, "a chunk is longer than it said")
            self._next = "size"
        else:
            if (match := CHUNK_SIZE.fullmatch(line)) is None:
                raise BadRequest(400, f"not the size of a chunk: {line[:80]!r}")
            self._left = int(match[1], 16)
            self._next = "end of chunk" if self._left else "trailer"

    def _keep(self, piece: bytearray) -> None:
        self.received += len(piece)
        self.crc32 = zlib.crc32(piece, self.crc32)
        if len(self.content) < MAX_KEPT:
            self.content += piece[: MAX_KEPT - len(self.content)]


class Fields(NamedTuple):
    """The fields of a request, and what they say."""

    all: list[tuple[str, str]]  # in their order and spelling
    length: int | None  # of the body, 0 where there is none; None: it comes in chunks
    close: bool  # the connection is to end with the answer
    expects_continue: bool


class Request(NamedTuple):
    """The head of a request, and its body, still to be received where it is not complete."""

    method: str
    target: str
    fields: Fields
    body: Body


def parse(head: bytes) -> Request:
    """Read the head of a request, from the request line to the empty line.

    Raises:
        BadRequest: it is not HTTP/1.1, or may be understood in two ways.
    """
    first, _, rest = head.partition(b"\r\n")
    line = REQUEST_LINE.fullmatch(first)
    if line is None:
        raise BadRequest(400, f"not the first line of an HTTP/1.1 request: {first[:200]!r}")
    fields = parse_fields(rest)
    return Request(line[1].decode(), line[2].decode(), fields, Body(fields.length))


@lru_cache(maxsize=512)  # a client says mostly the same
def parse_fields(lines: bytes) -> Fields:
    """Read the fields, from behind the request line to the empty line.

    Raises:
        BadRequest: these are none, or may be understood in two ways.
    """
    if FIELDS.fullmatch(lines) is None:
        raise BadRequest(400, f"not the fields of a request: {lines[:200]!r}")
    fields = []
    values: dict[str, list[str]] = {}
    for line in lines.decode("latin-1").split("\r\n")[:-2]:
        name, _, value = line.partition(":")
        value = value.strip(" \t")
        fields.append((name, value))
        values.setdefault(name.lower(), []).append(value)
    if len(values.get("host", ())) != 1:
        raise BadRequest(400, "one Host is needed, and no more")
    connection = ",".join(values.get("connection", ())).lower()
    return Fields(
        all=fields,
        length=_length(values),
        close="close" in [option.strip() for option in connection.split(",")],
        expects_continue=values.get("expect") == ["100-continue"],
    )


def _length(values: dict[str, list[str]]) -> int | None:
    """How long the body is (RFC 9112, section 6.3); None: it comes in chunks."""
    codings, lengths = values.get("transfer-encoding"), values.get("content-length")
    if codings is not None:
        if lengths is not None:
            raise BadRequest(400, "Transfer-Encoding and Content-Length, which contradict")
        if [coding.lower() for coding in codings] != ["chunked"]:
            raise BadRequest(501, f"chunked is the only transfer coding here, not {codings}")
        return None
    if lengths is None:
        return 0
    if len(lengths) != 1 or LENGTH.fullmatch(lengths[0]) is None:
        raise BadRequest(400, f"not a Content-Length: {lengths}")
    return int(lengths[0])
