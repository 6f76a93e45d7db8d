"""`Client.download`: a URL into a file, whole or not at all, going on where it was broken off.

What has come is in NAME.part, beside NAME.part.json that says what it is a part of. The name
itself appears only once the file is complete, and has been checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from time import monotonic
from typing import BinaryIO, Final, NamedTuple, TypeAlias

from fastreq.bulk.progress import Progress, show_bytes
from fastreq.errors import (
    DecodingError,
    IncompleteBody,
    NetworkError,
    RemoteProtocolError,
    TimeoutException,
)
from fastreq.messages import Response

TRIES: Final = 5
"""Times in a row that nothing comes before a download is given up."""

READ: Final = 2**20  # bytes of a part that are hashed at a time

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")
_CHECKSUM = re.compile(r"([a-z0-9_]+):([0-9A-Fa-f]+)")

Open: TypeAlias = Callable[[dict[str, str]], AbstractAsyncContextManager[Response]]
"""Opens the URL as a stream, with these fields."""


class Range(NamedTuple):
    """What a 206 has: bytes `first` to `last` of `total`, None where it does not say."""

    first: int
    last: int
    total: int | None


def content_range(response: Response) -> Range | None:
    """The Content-Range of a 206 (RFC 9110, section 14.4), or None where there is none to use."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None or match[1] is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    return Range(first, last, total) if first <= last and (total is None or last < total) else None


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


class Part:
    """NAME.part and NAME.part.json: what has come so far, and of what."""

    def __init__(self, path: str) -> None:
        self.path = f"{path}.part"
        self._note = f"{path}.part.json"
        self._forget()

    def _forget(self) -> None:
        self.validator = ""  # a strong ETag or a Last-Modified: what If-Range asks for
        self.total: int | None = None  # bytes of the whole, where that is known
        self.asked = ""  # the path of the URL: two files may well have the same Last-Modified

    def load(self) -> None:
        """Read the note of an earlier download; without one, its bytes belong to nothing."""
        try:
            with open(self._note, encoding="utf-8") as file:
                note = json.load(file)
            total = note["total"]
            self.validator, self.asked = str(note["validator"]), str(note["asked"])
            self.total = None if total is None else int(total)
        except (OSError, ValueError, KeyError, TypeError):
            self._forget()
            return
        if self.total is not None and self.length >= self.total:
            # All of it had come, and was not renamed. To see that it is still the same file, its
            # last byte is asked for again; what lies behind it is nobody's.
            os.truncate(self.path, max(self.total - 1, 0))

    @property
    def size(self) -> int:
        """Bytes that have come, and can be gone on from."""
        return self.length if self.validator else 0

    @property
    def length(self) -> int:
        """Bytes that have come."""
        try:
            return os.path.getsize(self.path)
        except FileNotFoundError:
            return 0

    def begin(self, response: Response) -> BinaryIO:
        """Begin anew with a response that has all of it."""
        self._forget()
        with suppress(FileNotFoundError):
            os.remove(self._note)
        file = open(self.path, "wb")  # noqa: SIM115 (the caller closes it)
        if not _is_coded(response):  # else neither its length nor a range is one of the file
            self.validator, self.asked = _validator(response), _asked(response)
            length = response.headers.get("Content-Length", "")
            self.total = int(length) if length.isdigit() else None
        if self.validator:
            note = {"validator": self.validator, "total": self.total, "asked": self.asked}
            with open(self._note, "w", encoding="utf-8") as out:
                json.dump(note, out)
        return file

    def go_on(self) -> BinaryIO:
        """Go on at the end of what has come."""
        return open(self.path, "ab")

    def finish(self, path: str) -> None:
        """Give the file its name."""
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, path)
        with suppress(FileNotFoundError):
            os.remove(self._note)

    def throw_away(self) -> None:
        """Begin at 0 next time."""
        self._forget()
        for path in (self.path, self._note):
            with suppress(FileNotFoundError):
                os.remove(path)


def _validator(response: Response) -> str:
    """What tells whether the file is still the same (RFC 9110, section 13.1.5): no weak ETag."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return "" if etag else response.headers.get("Last-Modified", "")


def _is_coded(response: Response) -> bool:
    return response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"


def _asked(response: Response) -> str:
    """The path that was asked for. Hosts and queries (signatures) may change, and are left out."""
    first = response.history[0] if response.history else response
    return first.request.url.path


class Download:
    """One download."""

    def __init__(
        self,
        open_url: Open,
        path: str,
        checksum: str | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._open = open_url
        self._path = path
        self._part = Part(path)
        self._checksum = Checksum(checksum) if checksum is not None else None
        self._progress = progress
        self._started = monotonic()
        self._arrived = 0  # bytes, where a response ended that was not the last

    async def run(self, resume: bool) -> Response:
        """Do it, going on after each break as long as more comes.

        Raises:
            HTTPStatusError: the server does not give it.
            TransportError: it does not come; what came is kept for the next time.
            DecodingError: it is not what the checksum says.
        """
        if resume:
            self._part.load()
        failures = 0
        while True:
            before = self._part.size
            try:
                response = await self._fetch()
                if response is not None and self._is_whole():
                    break
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
        fields = {"Accept-Encoding": "identity"}  # a range of what is coded is a range of nothing
        if size:
            fields |= {"Range": f"bytes={size}-", "If-Range": self._part.validator}
        async with self._open(fields) as response:
            if size and not self._goes_on(response, size):
                self._part.throw_away()
                return None
            response.raise_for_status()
            if response.status != 200 and not (size and response.status == 206):
                raise RemoteProtocolError(f"{response!r} is no file").at("head")
            begin = self._part.begin if response.status == 200 else self._go_on
            with begin(response) as file:
                await self._write(response, file)
            return response

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
            and _validator(response) in ("", part.validator)
            and _asked(response) == part.asked
            and not _is_coded(response)
        )

    def _go_on(self, response: Response) -> BinaryIO:
        if self._part.total is None and (got := content_range(response)) is not None:
            self._part.total = got.total
        return self._part.go_on()

    async def _write(self, response: Response, file: BinaryIO) -> None:
        written = file.tell()
        async for piece in response.iter_bytes():
            file.write(piece)
            written += len(piece)
            if self._progress is not None:
                elapsed = monotonic() - self._started
                self._progress(Progress(written, 0, self._part.total, written, elapsed))

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
        self._part.throw_away()
        raise IncompleteBody(f"{self._path}: {size} bytes came, of {total}").at("body")

    async def _complete(self) -> None:
        """Check what has come, and give it its name."""
        if self._checksum is not None:
            try:
                await asyncio.to_thread(self._checksum.check, self._part.path)
            except DecodingError:
                self._part.throw_away()
                raise
        await asyncio.to_thread(self._part.finish, self._path)


def as_callback(progress: bool | Callable[[Progress], None]) -> Callable[[Progress], None] | None:
    """What `progress=` means."""
    return progress if callable(progress) else show_bytes if progress else None
