"""Reading a body as it comes: decoded, whole, in pieces of one size, line by line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from time import monotonic
from typing import Protocol, Self

from fastreq.content.decode import Decoder, codings_of
from fastreq.errors import BodyTooLarge, DecodingError, FastreqError, StreamConsumed

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
            raise StreamConsumed(
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
                self._end(exc)
                self._stream.drop()
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

    def undecoded(self) -> Undecoded:
        """The body as it was sent.

        Raises:
            StreamConsumed: some of it was read already.
        """
        if self._touched:
            raise StreamConsumed("the body of this response has been read already")
        self._touched = self._ended = True
        self._error = StreamConsumed("the body of this response is being read as it was sent")
        return Undecoded(self._stream, self._end)

    async def whole(self) -> bytes:
        """All of it.

        Raises:
            StreamConsumed: some of it was read already.
            BodyTooLarge: it is more than `max_body`.
        """
        if self._touched:
            raise StreamConsumed("the body of this response has been read already")
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

    async def aclose(self) -> None:
        """Drop the rest, and wait until that is done."""
        self._touched = True
        self._ready = iter(())
        if not self._is_read:
            dropped = StreamConsumed("the body of this response was dropped before its end")
            self._error = self._error or dropped
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

    async def read(self) -> bytes:
        """The next piece; b"" at the end."""
        try:
            piece = await self._stream.read()
        except FastreqError as exc:
            self._end(exc)
            raise
        if not piece:
            self._end(None)
        return piece


def too_large(limit: int) -> str:
    """The text of a `BodyTooLarge`."""
    return (
        f"the body is larger than max_body={limit} bytes; read it in pieces with "
        "client.stream(), or give the client a larger max_body="
    )


async def once(body: bytes) -> AsyncIterator[bytes]:
    """A body that is whole already, as a stream of it would be."""
    if body:
        yield body


async def resized(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in pieces of `size`, but for the last."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        end = len(held) - len(held) % size
        for start in range(0, end, size):
            yield bytes(held[start : start + size])
        del held[:end]
    if held:
        yield bytes(held)


async def lines(text_pieces: AsyncIterator[str], max_line: int | None = None) -> AsyncIterator[str]:
    """The lines of a text, without their ends (CRLF, LF or CR), wherever it is cut.

    Raises:
        DecodingError: a line has more than `max_line` characters.
    """
    held: list[str] = []  # the parts of a line, joined once
    size = 0  # characters of them
    after_cr = False  # of the last piece; an LF that follows belongs to it
    async for text in text_pieces:
        if not text:
            continue
        if after_cr and text[0] == "\n":
            text = text[1:]
        after_cr = text.endswith("\r")
        first, *rest = _LINE_END.split(text)
        held.append(first)
        size += len(first)
        for line in rest:
            yield "".join(held)
            held, size = [line], len(line)
        if max_line is not None and size > max_line:
            raise DecodingError(f"a line of the body is over {max_line} characters")
    if last := "".join(held):
        yield last
