"""How a body ends: by length, by its last chunk, or with the connection (RFC 9112, section 6).

A reader takes the bytes of one body as they come and hands them to a sink. It is the state of the
body: what it has not read yet is what is missing.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Protocol, TypeAlias

from fastreq.errors import IncompleteBody, RemoteProtocolError, quoted
from fastreq.headers import TOKEN_CHARACTER
from fastreq.messages import ResponseHead

MAX_CHUNK_LINE = 1024  # bytes of one chunk-size line, its extensions included
MAX_EXTENSIONS = 16 * 1024  # bytes of all chunk extensions of a body
MAX_TRAILERS = 16 * 1024  # bytes of the trailer section
MAX_TRAILER_FIELDS = 64

SMALL = 4096
"""Bytes of a chunk that are worth a piece of their own; a million of one byte are not."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
# The usual chunk line, nothing but a size, in one match (benchmark: chunked 1 MiB).
_FIRST_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_NEXT_SIZE = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
_TRAILER = re.compile(rb"%b+:[\t\x20-\x7e\x80-\xff]*" % TOKEN_CHARACTER.encode())


class Sink(Protocol):
    """Where a body goes."""

    def write(self, piece: bytes | memoryview) -> None:
        """Take some bytes of the body; they must be copied, for their buffer is used again."""
        ...


class LengthReader:
    """A body of known length (RFC 9112, section 6.3, rule 6)."""

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.ended = length == 0

    def receive(self, view: memoryview, sink: Sink) -> int:
        """Read from `view`; returns how many bytes of it belong to the body."""
        taken = min(len(view), self.remaining)
        sink.write(view if taken == len(view) else view[:taken])
        self.remaining -= taken
        self.ended = self.remaining == 0
        return taken

    def receive_eof(self, clean: bool) -> None:
        """The connection has ended.

        Raises:
            IncompleteBody: always, for something is missing (section 8).
        """
        raise IncompleteBody(f"the connection ended {self.remaining} bytes before the body did")


class CloseReader:
    """A body that ends with the connection (RFC 9112, section 6.3, rule 8)."""

    def __init__(self) -> None:
        self.ended = False

    def receive(self, view: memoryview, sink: Sink) -> int:
        """Read from `view`: all of it belongs to the body."""
        sink.write(view)
        return len(view)

    def receive_eof(self, clean: bool) -> None:
        """The connection has ended; `clean` where it was closed, rather than cut.

        Raises:
            IncompleteBody: it was reset, or TLS ended without its closure alert (section 9.8).
        """
        if not clean:
            raise IncompleteBody("the connection was cut in a body that only its closing could end")
        self.ended = True


class _Line(Enum):
    """Which line of the chunked coding comes next."""

    SIZE = auto()
    END_OF_DATA = auto()
    TRAILER = auto()


_LINE_LIMITS = {
    _Line.SIZE: MAX_CHUNK_LINE,
    _Line.END_OF_DATA: len(b"\r\n"),
    _Line.TRAILER: MAX_TRAILERS,
}


class ChunkedReader:
    """A body in chunks (RFC 9112, section 7.1)."""

    def __init__(self) -> None:
        self.ended = False
        self.trailers = b""  # field lines, each with its CRLF; apart from the headers
        self._remaining = 0  # bytes of the chunk's data that are missing
        self._next = _Line.SIZE
        self._line = bytearray()  # the part of a line that has come
        self._extensions = 0  # bytes
        self._trailer_fields = 0

    def receive(self, view: memoryview, sink: Sink) -> int:
        """Read from `view`; returns how many bytes of it belong to the body.

        Raises:
            RemoteProtocolError: these are no chunks, or larger than the limits.
        """
        position, size = 0, len(view)
        small: list[memoryview] = []  # pieces that are given on together
        try:
            while position < size and not self.ended:
                if self._remaining:
                    end = min(position + self._remaining, size)
                    small.append(view[position:end])
                    if end - position >= SMALL:
                        given, small = small, []
                        sink.write(b"".join(given) if len(given) > 1 else given[0])
                    self._remaining -= end - position
                    position = end
                elif match := self._match_plain_size(view, position):
                    self._begin_chunk(int(match[1], 16))
                    position = match.end()
                else:
                    position += self._receive_line(view[position : position + MAX_CHUNK_LINE])
        finally:
            if small:
                sink.write(b"".join(small))
        return position

    def receive_eof(self, clean: bool) -> None:
        """The connection has ended.

        Raises:
            IncompleteBody: always, for the last chunk is missing (section 8).
        """
        raise IncompleteBody("the connection ended before the last chunk")

    def _match_plain_size(self, view: memoryview, position: int) -> re.Match[bytes] | None:
        """The usual line in one match: nothing but a size (benchmark: chunked 1 MiB)."""
        if self._line or self._next is _Line.TRAILER:
            return None
        pattern = _FIRST_SIZE if self._next is _Line.SIZE else _NEXT_SIZE
        return pattern.match(view, position)

    def _receive_line(self, view: memoryview) -> int:
        """Read up to the end of a line, in as many calls as it takes."""
        limit = _LINE_LIMITS[self._next]
        held = len(self._line)
        self._line += view
        end = self._line.find(b"\n", held) + 1
        line = bytes(self._line[: end or None])
        if len(line) > limit or (end and not line.endswith(b"\r\n")):
            raise RemoteProtocolError(
                f"a line of the chunked coding is over {limit} bytes, or does not end in CRLF: "
                f"{quoted(line)}"
            )
        if not end:
            return len(view)
        self._line.clear()
        self._take_line(line[:-2])
        return end - held

    def _take_line(self, line: bytes) -> None:
        if self._next is _Line.SIZE:
            self._take_size(line)
        elif self._next is _Line.TRAILER:
            self._take_trailer(line)
        elif line:
            raise RemoteProtocolError(f"a chunk is longer than its size says: {quoted(line)}")
        else:
            self._next = _Line.SIZE

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise RemoteProtocolError(f"not a chunk size: {quoted(line)}")
        self._extensions += len(match[2])
        if self._extensions > MAX_EXTENSIONS:
            raise RemoteProtocolError(f"more than {MAX_EXTENSIONS} bytes of chunk extensions")
        self._begin_chunk(int(match[1], 16))

    def _begin_chunk(self, size: int) -> None:
        self._remaining = size
        self._next = _Line.END_OF_DATA if size else _Line.TRAILER

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self.ended = True
            return
        self._trailer_fields += 1
        size = len(self.trailers) + len(line) + 2
        if self._trailer_fields > MAX_TRAILER_FIELDS or size > MAX_TRAILERS:
            raise RemoteProtocolError(
                f"trailers of more than {MAX_TRAILER_FIELDS} fields or {MAX_TRAILERS} bytes"
            )
        if not _TRAILER.fullmatch(line):
            raise RemoteProtocolError(f"not a trailer field: {quoted(line)}")
        self.trailers += line + b"\r\n"


BodyReader: TypeAlias = LengthReader | ChunkedReader | CloseReader


def is_switch(method: str, head: ResponseHead) -> bool:
    """Whether the head is the last of HTTP on its connection: 101, or a tunnel's 2xx."""
    return head.status == 101 or (method == "CONNECT" and 200 <= head.status < 300)


def body_reader(method: str, head: ResponseHead) -> BodyReader:
    """Choose how the body ends (RFC 9112, section 6.3).

    Raises:
        RemoteProtocolError: the head says it in two ways, or in one that is not clear.
    """
    # Rule 1: no body, whatever the headers say.
    if method == "HEAD" or head.status in (204, 304):
        return LengthReader(0)
    # Rule 2: a tunnel begins, and both fields are ignored.
    if (head.status == 101 or method == "CONNECT") and is_switch(method, head):
        return LengthReader(0)
    if head.transfer_encoding is not None:
        # Rule 3 lets Transfer-Encoding win; two answers to one question are how responses are
        # smuggled, so we take neither.
        if head.content_length is not None:
            raise RemoteProtocolError("the head has both Transfer-Encoding and Content-Length")
        # Rule 4.
        return _transfer_reader(head)
    # Rules 5 and 6.
    if head.content_length is not None:
        return LengthReader(head.content_length)
    # Rule 8: nothing was said, so the body ends with the connection.
    return CloseReader()


def _transfer_reader(head: ResponseHead) -> BodyReader:
    if head.transfer_encoding == b"chunked" and head.minor_version > 0:
        return ChunkedReader()
    # Section 6.1: HTTP/1.0 knows no Transfer-Encoding, so its framing is faulty. And a coding
    # other than chunked is one that we never asked for.
    raise RemoteProtocolError(
        f"Transfer-Encoding {quoted(head.transfer_encoding or b'')} in an HTTP/1."
        f"{head.minor_version} response: only chunked, in HTTP/1.1, is understood"
    )
