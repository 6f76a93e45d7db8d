"""Where the bytes of an outgoing body come from: memory, a file, an iterable."""

from __future__ import annotations

import io
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeAlias

from fastreq.errors import LocalProtocolError, StreamConsumed

PIECE = 64 * 1024
"""Bytes that are read from a file, or compressed, at a time."""

Body: TypeAlias = bytes | Iterable[bytes] | AsyncIterable[bytes]

_WANTED = "bytes, str, a file opened in binary mode, or an iterable of bytes"


class Encoded(NamedTuple):
    """A body as it is sent, and what its head says of it."""

    body: Body
    content_type: str | None = None
    length: int | None = None  # of the body in bytes, where that is known


def replayable(body: Body) -> bool:
    """Whether a body can be sent after all that has become of it so far: always, if it is in
    memory; else as long as nothing has been read of it."""
    return isinstance(body, (bytes, tuple)) or getattr(body, "spent", None) is False


def sent_once(body: Body) -> Body:
    """The same body; an iterator says when it is spent, where it would give nothing and look fine.

    Reading it again raises `StreamConsumed`.
    """
    if isinstance(body, bytes):
        return body
    if isinstance(body, AsyncIterator):
        return _AsyncOnce(body)
    return _Once(body) if isinstance(body, Iterator) else body


def check_unspent(body: Body) -> None:
    """Refuse a body that has been sent, and cannot be again.

    Raises:
        StreamConsumed: it is such a body.
    """
    if getattr(body, "spent", False):
        raise StreamConsumed(f"{body!r} has been sent once; make the request anew, with a new body")


@contextmanager
def read_now(body: Iterable[bytes]) -> Iterator[Iterator[bytes]]:
    """The pieces of a body; a generator that is not asked for the rest is closed at the end, and
    not some day."""
    pieces = iter(body)
    try:
        yield pieces
    finally:
        if isinstance(pieces, Generator):
            pieces.close()


@asynccontextmanager
async def read_later(body: AsyncIterable[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The same of a body whose pieces are awaited."""
    pieces = aiter(body)
    try:
        yield pieces
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


class _Once:
    """An iterator that is read a single time."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.spent = False
        self._pieces = pieces

    def __repr__(self) -> str:
        return f"<body of {self._pieces!r}>"

    def __iter__(self) -> Iterator[bytes]:
        check_unspent(self)
        self.spent = True
        return self._pieces


class _AsyncOnce:
    """An asynchronous iterator that is read a single time."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.spent = False
        self._pieces = pieces

    def __repr__(self) -> str:
        return f"<body of {self._pieces!r}>"

    def __aiter__(self) -> AsyncIterator[bytes]:
        check_unspent(self)
        self.spent = True
        return self._pieces


def body_of(content: Any, where: str) -> Encoded:
    """Take what a caller gives as the bytes of a body; `where` names it in errors.

    Raises:
        TypeError: it is nothing that gives bytes.
        ValueError: it is text that has no UTF-8, or a file that is closed.
    """
    if isinstance(content, (bytes, bytearray, memoryview, str)):
        raw = utf8(content, where) if isinstance(content, str) else bytes(content)
        return Encoded(raw, length=len(raw))
    if isinstance(content, AsyncIterable):
        return Encoded(content)
    if hasattr(content, "read"):
        file = FileBody(content, where)
        return Encoded(file, length=file.length)
    if isinstance(content, (list, tuple)):
        # A tuple, which does not change while it is sent.
        held = tuple(_in_a_row(piece, where) for piece in content)
        return Encoded(held, length=sum(memoryview(piece).nbytes for piece in held))
    if isinstance(content, Iterable) and not isinstance(content, Mapping):
        return Encoded(content)
    hint = "; a dict goes to json= or data=" if isinstance(content, Mapping) else ""
    raise TypeError(f"{where} is a {type(content).__name__}; expected {_WANTED}{hint}")


def utf8(text: str, where: str) -> bytes:
    """Encode a text; `where` names it in errors.

    Raises:
        ValueError: it holds half a character.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        half = text[exc.start]
        raise ValueError(
            f"{where}: {half!r} at position {exc.start} is half a character, and has no UTF-8"
        ) from None


def slices(piece: bytes) -> Iterator[memoryview]:
    """A piece of a body in slices of at most PIECE bytes.

    Raises:
        LocalProtocolError: it is no bytes.
    """
    try:
        view = memoryview(piece)
        view = (view if view.c_contiguous else memoryview(bytes(view))).cast("B")
    except TypeError:
        raise LocalProtocolError(
            f"the body gave {type(piece).__name__}; expected pieces of bytes"
        ) from None
    return (view[start : start + PIECE] for start in range(0, len(view), PIECE))


def _in_a_row(piece: Any, where: str) -> bytes:
    """A piece that can be sent as it is: of a view with gaps, its bytes."""
    if not isinstance(piece, (bytes, bytearray, memoryview)):
        raise TypeError(f"{where} holds a {type(piece).__name__}; expected only bytes in it")
    has_gaps = isinstance(piece, memoryview) and not piece.c_contiguous
    return bytes(piece) if has_gaps else piece  # type: ignore[return-value]


class FileBody:
    """The bytes of a file from where it stands to its end, read as they are sent, and once.

    `length` is what was to be read when this was made, or None where a file cannot tell. The file
    is not closed, and its reads are not awaited: it should be a local one.
    """

    def __init__(self, file: Any, where: str) -> None:
        _check_file(file, where)
        self.length = _length(file)
        self.spent = False  # it has been read, or is being read
        self._file = file

    def __repr__(self) -> str:
        return f"<FileBody {getattr(self._file, 'name', self._file)!r} length={self.length}>"

    def __iter__(self) -> Iterator[bytes]:
        if self.spent:
            raise StreamConsumed(
                f"{self!r} has been sent once, and is not read again; open the file anew"
            )
        self.spent = True
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        while True:
            piece = self._file.read(PIECE)
            if piece is None:  # not the end: a non-blocking file that has nothing just now
                raise BlockingIOError(f"{self!r} is non-blocking; open it as a blocking one")
            if not piece:
                return
            yield piece


def _check_file(file: Any, where: str) -> None:
    if getattr(file, "closed", False) is True:
        raise ValueError(f"{where} is a file that is closed; it has to be open until it is sent")
    try:
        probe = file.read(0)
    except io.UnsupportedOperation:
        raise TypeError(f"{where} is a file that is not open for reading") from None
    if isinstance(probe, Coroutine):
        probe.close()
        raise TypeError(f"{where} is a file with an async read(); give an async iterable of bytes")
    if not isinstance(probe, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"{where} is a file that reads text; open it in binary mode: open(..., 'rb')"
        )


def _length(file: Any) -> int | None:
    """The bytes between here and the end of a file, where that is known without reading them."""
    known = (io.BytesIO, io.BufferedReader, io.BufferedRandom)
    if isinstance(file, io.BufferedIOBase) and not isinstance(file, known):
        return None  # gzip.GzipFile and its like would decode all of it to find their end
    try:
        here: int = file.tell()
        file.seek(0, os.SEEK_END)
        end: int = file.tell()
        file.seek(here)
    except (AttributeError, OSError):
        return None
    return max(0, end - here)
