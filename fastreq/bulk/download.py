"""`Client.download`: a URL into a file, whole or not at all, going on where it was broken off.

What has come is in NAME.part, beside NAME.part.json that says what it is a part of. The name
itself appears only once the file is complete, and has been checked. `segments` has it come in
several ranges at once.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from time import monotonic
from typing import BinaryIO, Final

from fastreq.bulk.part import Part, asked, content_range, is_coded, may_be_of, validator
from fastreq.bulk.progress import Bytes, Progress
from fastreq.bulk.segments import PLAIN, SMALLEST, TRIES, OfAnother, Open, Segments
from fastreq.errors import (
    DecodingError,
    IncompleteBody,
    NetworkError,
    RemoteProtocolError,
    TimeoutException,
    TotalTimeout,
)
from fastreq.messages import Response

READ: Final = 2**20  # bytes of a part that are hashed at a time

_CHECKSUM = re.compile(r"([a-z0-9_]+):([0-9A-Fa-f]+)")


class Checksum:
    """What a file has to hash to, as in "sha256:9f86d0...".

    Raises:
        ValueError: that is none, or one that is not known here.
    """

    def __init__(self, text: str) -> None:
        match = _CHECKSUM.fullmatch(text)
        if match is None or match[1] not in hashlib.algorithms_available:
            raise ValueError(f"checksum={text!r}: expected a name and hex digits, as in 'sha256:…'")
        self.name, self.digits = match[1], match[2].lower()
        digits = 2 * hashlib.new(self.name).digest_size
        if not digits:  # such as shake_128, which is as long as one likes
            raise ValueError(f"checksum={text!r}: {self.name} has no length of its own")
        if len(self.digits) != digits:
            raise ValueError(
                f"checksum={text!r}: {self.name} has {digits} hex digits, not {len(self.digits)}"
            )

    def check(self, path: str) -> None:
        """Read a file, and see.

        Raises:
            DecodingError: it is another.
        """
        found = hashlib.new(self.name)
        with open(path, "rb") as file:
            while data := file.read(READ):
                found.update(data)
        if found.hexdigest() != self.digits:
            raise DecodingError(
                f"{path}: {self.name} is {found.hexdigest()}, expected {self.digits}; "
                "the part was thrown away"
            )


class Download:
    """One download."""

    def __init__(
        self,
        open_url: Open,
        path: str,
        checksum: str | None,
        progress: Callable[[Progress], None] | None,
        segments: int = 1,
    ) -> None:
        self._open = open_url
        self._path = path
        self._part = Part(path)
        self._checksum = Checksum(checksum) if checksum is not None else None
        self._progress = progress
        self._segments = segments
        self._started = monotonic()
        self._before = 0  # bytes that had come before
        self._arrived = 0  # bytes, where a response ended that was not the last

    async def run(self, resume: bool) -> Response:
        """Do it, going on after each break as long as more comes.

        Raises:
            HTTPStatusError: the server does not give it.
            TransportError: it does not come; what came is kept for the next time.
            DecodingError: it is not what the checksum says.
            OSError: it cannot be written, or another download writes it.
        """
        try:
            with self._part.held():
                return await self._complete_in_the_end(resume)
        finally:
            if isinstance(self._progress, Bytes):
                self._progress.end()

    async def _complete_in_the_end(self, resume: bool) -> Response:
        if resume:
            self._part.load()
            if self._segments > 1:
                self._part.open_gaps()
            self._before = self._part.arrived
        failures = 0
        while True:
            before = self._part.size
            try:
                response = await (self._fetch() if self._part.gaps is None else self._fill())
                if response is not None and self._is_whole():
                    break
            except OfAnother:
                # Changed on the way, or a server that is no good at ranges: in one piece, then.
                self._segments = 1
                self._throw_away()
            except TotalTimeout:
                raise
            except (NetworkError, IncompleteBody, TimeoutException):
                failures = 0 if self._part.size > before else failures + 1
                if failures == TRIES or not self._part.size:
                    raise
                await asyncio.sleep(0.1 * 2**failures)
        await self._complete()
        return response

    async def _fetch(self) -> Response | None:
        """One request: for all of it, or for the rest; None: what has come is of no use."""
        size = self._part.size
        fields = dict(PLAIN)
        if size:
            fields |= {"Range": f"bytes={size}-", "If-Range": self._part.validator}
        elif self._segments > 1:
            fields |= {"Range": f"bytes=0-{SMALLEST - 1}"}
        async with self._open(fields) as response:
            if not size and self._segments > 1 and response.status in (206, 416):
                return await self._spread(response)
            if size and not self._goes_on(response, size):
                self._throw_away()
                return None
            response.raise_for_status()
            if response.status != 200 and not (size and response.status == 206):
                raise RemoteProtocolError(f"{response!r} is no file").at("head")
            begin = self._begin if response.status == 200 else self._go_on
            with begin(response) as file:
                await self._write(response, file)
            return response

    async def _spread(self, response: Response) -> Response:
        """Go on in segments from a response that has the first bytes.

        Raises:
            OfAnother: that cannot be; what has come is of no use.
        """
        if response.status != 206 or not self._part.begin_with_gaps(response):
            raise OfAnother(f"{response!r} tells neither how long the file is, nor which")
        return await self._fill(response)

    async def _fill(self, first: Response | None = None) -> Response:
        segments = Segments(self._open, self._part, self._segments, self._tell)
        return await segments.fill(first)

    def _goes_on(self, response: Response, size: int) -> bool:
        """Whether we can go on with this: any answer but a range that is not ours."""
        if response.status == 416:
            return False
        if response.status != 206:
            return True
        got, part = content_range(response), self._part
        length = response.headers.get("Content-Length", "")
        return (  # the very same file, from where we are (RFC 9110, section 15.3.7)
            got is not None
            and got.first == size
            and (got.total is None or part.total in (None, got.total))
            and (not length.isdigit() or int(length) == got.last - got.first + 1)
            and validator(response) in ("", part.validator)
            and may_be_of(response, part.validator)
            and asked(response) == part.asked
            and not is_coded(response)
        )

    def _throw_away(self) -> None:
        self._before = 0
        self._part.throw_away()

    def _begin(self, response: Response) -> BinaryIO:
        self._before = 0
        return self._part.begin(response)

    def _go_on(self, response: Response) -> BinaryIO:
        if self._part.total is None and (got := content_range(response)) is not None:
            self._part.total = got.total
        return self._part.go_on()

    async def _write(self, response: Response, file: BinaryIO) -> None:
        written = file.tell()
        async for piece in response.iter_bytes():
            file.write(piece)
            written += len(piece)
            self._tell(written)

    def _tell(self, written: int) -> None:
        if self._progress is not None:
            elapsed = monotonic() - self._started
            total = self._part.total
            self._progress(Progress(written, 0, total, written, elapsed, self._before))

    def _is_whole(self) -> bool:
        """Whether all of it has come; a server may give less of a range than it was asked for.

        Raises:
            IncompleteBody: it is not as long as it was said to be; the part was thrown away.
        """
        size, total = self._part.length, self._part.total
        if total is None or size == total:
            return True
        if self._part.validator and self._arrived < size < total:
            self._arrived = size
            return False
        self._throw_away()
        raise IncompleteBody(f"{self._path}: {size} bytes came, of {total}").at("body")

    async def _complete(self) -> None:
        """Check what has come, and give it its name."""
        if self._checksum is not None:
            try:
                await asyncio.to_thread(self._checksum.check, self._part.path)
            except DecodingError:
                self._part.throw_away()
                raise
        await asyncio.to_thread(self._part.finish)


def as_callback(progress: bool | Callable[[Progress], None]) -> Callable[[Progress], None] | None:
    """What `progress=` means."""
    return progress if callable(progress) else Bytes() if progress else None
