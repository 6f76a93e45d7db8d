"""Reading a body as it comes: decoded, whole, in pieces of one size, line by line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from time import monotonic
from typing import Generic, Protocol, Self, TypeVar

from fastreq.content.charset import TextDecoder
from fastreq.content.decode import Decoder, codings_of
from fastreq.errors import BodyTooLarge, DecodingError, FastreqError, StreamConsumed

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_LINE_END = re.compile(r"\r\n|\r|\n")


class Stream(Protocol):
    """A body that is still on its way, as it was sent."""

    async def read(self) -> bytes:
        """The next piece; b"" at the end."""
        ...

    @property
    def breath_due(self) -> float:
        """When others are to have their turn, as `time.monotonic()` has it."""
        ...

    async def breathe(self) -> None:
        """Let them have it."""
        ...

    def drop(self) -> None:
        """Want no more of it, from whichever thread: what is not here yet never comes."""
        ...

    async def aclose(self) -> None:
        """Want no more of it, and wait until its connection is closed, if that has to be."""
        ...


class DecodedStream:
    """The pieces of a body, decoded, as an asynchronous iterator.

    Dropping it drops the body: the connection is closed at once if some of it is still to come.
    """

    def __init__(
        self,
        stream: Stream,
        encodings: Sequence[str],
        max_body: int | None,
        blame: Callable[[FastreqError], None],
    ) -> None:
        self._stream = stream
        self._blame = blame  # completes an error: whose body this is
        self._encodings = encodings  # the Content-Encoding fields
        self._decoder: Decoder | None = None  # made for the first piece, for there may be none
        self._ready: Iterator[bytes] = iter(())  # decoded, of the piece read last
        self._max_body = max_body
        self._touched = False  # somebody has begun to read
        self._held_back = False  # ... who may hold what nobody else can give any more
        self._ended = False
        self._is_read = False  # to the last piece
        self._error: FastreqError | None = None  # that it ended with, and whoever asks again gets
        self.when_ended: Callable[[FastreqError | None], None] | None = None

    def __aiter__(self) -> Self:
        return self

    def begin(self, holds_back: bool) -> Self:
        """Read from here on; a reader `holds_back` if he gives other pieces than he takes, so that
        whoever comes after him would miss something.

        Raises:
            StreamConsumed: somebody did so, or all of it has been read.
        """
        if self._is_read or self._held_back:
            raise self._consumed(
                "the body of this response has been read already, or by a loop that was left; "
                "keep one iterator to go on with: lines = response.iter_lines()"
            )
        self._held_back = holds_back
        return self

    async def __anext__(self) -> bytes:
        self._touched = True
        if self._error is not None:
            raise self._error.with_traceback(None)  # which would grow with each that asks
        while True:
            try:
                if monotonic() >= self._stream.breath_due:
                    await self._stream.breathe()
                for piece in self._ready:
                    return piece
                if self._ended:
                    self._is_read = True
                    raise StopAsyncIteration
                piece = await self._stream.read()
                self._ready = self._decode(piece)
                if not piece:
                    self._end(None)
            except FastreqError as exc:  # what has failed, or cannot be decoded, has no rest
                self.fail(exc)
                raise

    def _end(self, error: FastreqError | None) -> None:
        self._ended = True
        self._error = self._error or error
        if error is not None:
            self._blame(error)
        call, self.when_ended = self.when_ended, None
        if call is not None:
            call(error)

    def _decode(self, piece: bytes) -> Iterator[bytes]:
        if not self._encodings:
            return iter((piece,) if piece else ())
        if piece:
            self._decoder = self._decoder or Decoder(codings_of(self._encodings))
            return self._decoder.decode(piece)
        return self._decoder.finish() if self._decoder is not None else iter(())

    def read_through(self, wrap: Callable[[Stream], Stream]) -> None:
        """Read what there is to read from what `wrap` makes of it; nothing has been read yet."""
        self._stream = wrap(self._stream)

    def undecoded(self) -> Undecoded:
        """The body as it was sent.

        Raises:
            StreamConsumed: some of it was read already.
        """
        self._check_untouched()
        self._touched = self._ended = True
        self._error = self._consumed("the body of this response is being read as it was sent")
        return Undecoded(self._stream, self._end)

    async def whole(self) -> bytes:
        """All of it.

        Raises:
            StreamConsumed: some of it was read already.
            BodyTooLarge: it is more than `max_body`.
        """
        self._check_untouched()
        pieces, size = [], 0
        async for piece in self:
            pieces.append(piece)
            size += len(piece)
            if self._max_body is not None and size > self._max_body:
                error = BodyTooLarge(too_large(self._max_body))
                self._end(error)
                await self.aclose()
                raise error
        return b"".join(pieces)

    def fail(self, error: FastreqError) -> None:
        """Whoever reads it cannot use it; nobody will want the rest."""
        self._end(error)
        self._stream.drop()

    def _check_untouched(self) -> None:
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self._touched:
            raise self._consumed("the body of this response has been read already")

    def _consumed(self, text: str) -> StreamConsumed:
        error = StreamConsumed(text)
        self._blame(error)
        return error

    async def aclose(self) -> None:
        """Drop the rest, and wait until that is done."""
        self._touched = True
        self._ready = iter(())
        if not self._is_read and self._error is None:
            self._error = self._consumed("the body of this response was dropped before its end")
        try:
            self._end(None)
        finally:  # whatever a hook says to that
            await self._stream.aclose()

    def __del__(self) -> None:
        self._stream.drop()


class Undecoded:
    """The pieces as they were sent; its end is told as that of the decoded ones is."""

    def __init__(self, stream: Stream, end: Callable[[FastreqError | None], None]) -> None:
        self._stream = stream
        self._end = end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._stream.read()
        except FastreqError as exc:
            self._end(exc)
            raise
        if not piece:
            self._end(None)
            raise StopAsyncIteration
        return piece


class Whole:
    """A body that is whole already, as a stream of it would be."""

    def __init__(self, body: bytes) -> None:
        self._rest = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece, self._rest = self._rest, b""
        if not piece:
            raise StopAsyncIteration
        return piece


def too_large(limit: int) -> str:
    """The text of a `BodyTooLarge`."""
    return (
        f"the body is larger than max_body={limit} bytes; read it in pieces with "
        "client.stream(), or give the client a larger max_body="
    )


# ---- what users iterate over: no generators, which a cancelled read would end for good


class Deferred(Generic[T]):
    """An iterator that is made when somebody asks for its first item.

    A read that is cancelled loses nothing, and the next goes on.
    """

    def __init__(self, make: Callable[[], AsyncIterator[T]]) -> None:
        self._make = make
        self._items: AsyncIterator[T] | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._closed:
            raise StopAsyncIteration
        if self._items is None:
            self._items = self._make()
        return await anext(self._items)

    async def aclose(self) -> None:
        """End it, as a generator is ended; the body is the response's to drop."""
        self._closed = True


class Maker(Protocol[T_co]):
    """Makes items of the pieces of a body, wherever that is cut."""

    def feed(self, piece: bytes) -> Iterable[T_co]:
        """What the next piece completes; to be taken to its end before the next is fed."""
        ...

    def end(self) -> Iterable[T_co]:
        """What is left at the end."""
        ...


class Made(Generic[T]):
    """What a maker makes of the pieces of a body.

    A read that is cancelled loses nothing, and the next goes on.
    """

    def __init__(
        self,
        begin: Callable[[], AsyncIterator[bytes]],
        maker: Maker[T],
        fail: Callable[[FastreqError], None],
    ) -> None:
        self._begin = begin  # gives the pieces, when somebody asks for the first item
        self._pieces: AsyncIterator[bytes] | None = None
        self._maker = maker
        self._fail = fail  # is told of an error of the maker's, and completes it
        self._ready: Iterator[T] = iter(())
        self._error: FastreqError | None = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._error is not None:
            raise self._error.with_traceback(None)
        while True:
            try:
                for item in self._ready:
                    return item
            except FastreqError as exc:
                self._error = exc
                self._fail(exc)
                raise
            if self._ended:
                raise StopAsyncIteration
            if self._pieces is None:
                self._pieces = self._begin()
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                self._ended = True
                self._ready = iter(self._maker.end())
            else:
                self._ready = iter(self._maker.feed(piece))

    async def aclose(self) -> None:
        """End it, as a generator is ended; the body is the response's to drop."""
        self._ended, self._ready = True, iter(())


# ---- makers


class Resizer:
    """The same bytes in pieces of one size, but for the last."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The pieces that are full."""
        held, size = self._held, self._size
        held += piece
        end = len(held) - len(held) % size
        for start in range(0, end, size):
            yield bytes(held[start : start + size])
        del held[:end]

    def end(self) -> Iterable[bytes]:
        """The last one, if something is left for it."""
        return (bytes(self._held),) if self._held else ()


class LineSplitter:
    """The lines of a text, without their ends (CRLF, LF or CR), wherever it is cut."""

    def __init__(self, max_line: int | None = None) -> None:
        self._max_line = max_line  # characters
        self._held: list[str] = []  # the parts of a line, joined once
        self._size = 0  # characters of them
        self._after_cr = False  # of the last piece; an LF that follows belongs to it

    def feed(self, text: str) -> Iterator[str]:
        """The lines that are complete.

        Raises:
            DecodingError: a line has more than `max_line` characters.
        """
        if self._after_cr and text[:1] == "\n":
            text = text[1:]
            self._after_cr = False
        if not text:
            return
        self._after_cr = text.endswith("\r")
        first, *rest = _LINE_END.split(text)
        self._held.append(first)
        self._size += len(first)
        for line in rest:
            whole = "".join(self._held)
            self._held, self._size = [line], len(line)
            yield whole
        if self._max_line is not None and self._size > self._max_line:
            raise DecodingError(f"a line of the body is over {self._max_line} characters")

    def end(self) -> Iterable[str]:
        """The last line, if it has no end of its own."""
        last = "".join(self._held)
        return (last,) if last else ()


class TextLines:
    """The lines of a body that is text."""

    def __init__(self, text: TextDecoder, max_line: int | None = None) -> None:
        self._text = text
        self._lines = LineSplitter(max_line)

    def feed(self, piece: bytes) -> Iterator[str]:
        """The lines that are complete."""
        return self._lines.feed(self._text.feed(piece))

    def end(self) -> Iterator[str]:
        """What is left."""
        yield from self._lines.feed(self._text.feed(b"", last=True))
        yield from self._lines.end()
