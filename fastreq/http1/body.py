"""Where the body of a response goes: into one `bytes`, or to a reader piece by piece."""

from __future__ import annotations

import contextlib
import io
from collections import deque
from typing import cast

from fastreq.content.reading import too_large
from fastreq.errors import BodyTooLarge

SEGMENT = 16 * 2**20
"""Bytes set aside for an announced length at the most: for more, the server must deliver first."""

DIRECT = 128 * 1024
"""Bytes at the end of a body that are never received in place: so few that a read which brings them
all has room for what follows, and it is seen."""

SMALLEST = 64 * 1024
"""Bytes of a window that are worth a read of their own."""

GATHERED = 4096
"""Bytes below which pieces are put together, for one of a byte would take forty."""


class _Place(io.BytesIO):
    """Where a body is received. The traceback of an error may hold a view on it, which is no
    reason to complain when the garbage collector takes both."""

    def close(self) -> None:
        with contextlib.suppress(BufferError):
            super().close()


class _Segment:
    """A part of a body that is received straight into the `bytes` that are handed out: a BytesIO
    gives its buffer as `bytes` without a copy (benchmark: 10 MiB)."""

    __slots__ = ("_place", "filled", "view")

    def __init__(self, size: int) -> None:
        self._place = _Place(bytes(size))
        self.view = self._place.getbuffer()
        self.filled = 0

    def value(self) -> bytes:
        """What was received, once it is full."""
        self.view = memoryview(b"")  # or the BytesIO would have to copy
        return self._place.getvalue()


class WholeBody:
    """A body that is wanted whole, as one `bytes`; a long one of known length is received in
    place."""

    __slots__ = ("_announced", "_first", "_largest", "_limit", "_rest", "_segment", "size")

    def __init__(self, limit: int | None, largest: int = SEGMENT) -> None:
        self._limit = limit
        self._largest = largest  # bytes that are set aside at once
        self.size = 0  # bytes that have come
        self._announced = 0  # bytes that will have come in the end, where that is known
        self._first = b""
        self._rest: list[bytes | bytearray] | None = None  # of the pieces; most bodies have one
        self._segment: _Segment | None = None  # what follows the pieces

    def expect(self, length: int) -> None:
        """The head announces so many bytes.

        Raises:
            BodyTooLarge: they are more than the limit.
        """
        if self._limit is not None and length > self._limit:
            raise BodyTooLarge(too_large(self._limit))
        self._announced = length
        if length > DIRECT:
            self._open_segment()

    def write(self, piece: bytes | memoryview) -> None:
        """Take a piece.

        Raises:
            BodyTooLarge: the body has grown over the limit.
        """
        if self._segment is None:
            self.size += len(piece)
            if self._limit is not None and self.size > self._limit:
                raise BodyTooLarge(too_large(self._limit))
            if self._first:
                self._add(piece)
            else:  # most bodies are one piece (benchmark: small, plain)
                self._first = bytes(piece)
            return
        while piece:
            segment = self._segment
            part = piece[: len(segment.view) - segment.filled]
            segment.view[segment.filled : segment.filled + len(part)] = part
            piece = piece[len(part) :]
            self.filled(len(part))

    def window(self) -> memoryview | None:
        """Where the next bytes of the body may be received; then `filled()` says how many."""
        segment, in_place = self._segment, self._announced - self.size - DIRECT
        if segment is None or in_place < SMALLEST:
            return None
        return segment.view[segment.filled : segment.filled + in_place]

    def filled(self, count: int) -> None:
        """So many bytes have been put where they belong."""
        self.size += count
        segment = cast(_Segment, self._segment)
        segment.filled += count
        if segment.filled == len(segment.view):
            self._add(segment.value())
            self._segment = None
            if self.size < self._announced:
                self._open_segment()

    def _add(self, piece: bytes | memoryview) -> None:
        if not self._first:
            self._first = bytes(piece)
            return
        if self._rest is None:
            self._rest = []
        if len(piece) >= GATHERED:
            self._rest.append(bytes(piece))
        elif self._rest and type(last := self._rest[-1]) is bytearray and len(last) < SMALLEST:
            last += piece
        else:
            self._rest.append(bytearray(piece))

    def _open_segment(self) -> None:
        self._segment = _Segment(min(self._announced - self.size, self._largest))

    def give_up(self) -> None:
        """The rest will not come: let go of the place that was set aside, or a BytesIO that the
        garbage collector finds complains of the view on it."""
        if self._segment is not None:
            self._segment.view.release()
            self._segment = None
        self._first, self._rest = b"", None

    def value(self) -> bytes:
        """Hand out the body, once it has ended, and keep nothing of it."""
        whole = self._first if self._rest is None else b"".join((self._first, *self._rest))
        self._first, self._rest = b"", None
        return whole


class StreamedBody:
    """A body that is read as it comes: the pieces that nobody has read yet."""

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.size = 0  # bytes of the pieces

    def expect(self, length: int) -> None:
        """A stream is as long as it is."""

    def write(self, piece: bytes | memoryview) -> None:
        """Take a piece."""
        if self.pieces and len(self.pieces[-1]) + len(piece) <= GATHERED:
            self.pieces[-1] += bytes(piece)
        else:
            self.pieces.append(bytes(piece))
        self.size += len(piece)

    def window(self) -> None:
        """A stream has no final place."""
        return

    def give_up(self) -> None:
        """The rest will not come; what has come may still be read."""

    def take(self) -> bytes:
        """Give the oldest piece."""
        piece = self.pieces.popleft()
        self.size -= len(piece)
        return piece

    def drop(self) -> None:
        """Forget what has not been read."""
        self.pieces.clear()
        self.size = 0
