"""Several ranges of one file at once, each written in its place.

All of them are of the very same file (RFC 9110, section 15.3.7.3): they are asked for with its
strong validator, and each answer has to bear it, and to be of the bytes that were asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from time import monotonic
from typing import Final, TypeAlias

from fastreq.bulk.part import Gap, Part, asked, content_range, is_coded, validator
from fastreq.errors import (
    HTTPStatusError,
    IncompleteBody,
    NetworkError,
    TimeoutException,
    TotalTimeout,
)
from fastreq.messages import Response

SMALLEST: Final = 2**20
"""Bytes of a segment at least, and of the first request, whose answer tells how many there are."""

SAVE_SECONDS: Final = 0.5  # between two notes of what has come

TRIES: Final = 5
"""Times in a row that nothing comes before a download is given up."""

PLAIN: Final = {"Accept-Encoding": "identity"}
"""A range of what is coded is a range of nothing."""

Open: TypeAlias = Callable[[dict[str, str]], AbstractAsyncContextManager[Response]]
"""Opens the URL as a stream, with these fields."""


class OfAnother(Exception):
    """An answer that is none of the same file: it has changed, or the server cannot do ranges."""


class Segments:
    """Fills the gaps of a part.

    Args:
        open_url: opens the URL with more fields.
        part: what has come, with `gaps`.
        count: how many are filled at once, at most.
        tell: called with the bytes that have come in all.
    """

    def __init__(self, open_url: Open, part: Part, count: int, tell: Callable[[int], None]) -> None:
        self._open = open_url
        self._part = part
        self._tell = tell
        self._gaps = part.gaps = cut(part.gaps or [], count)
        self._waiting = deque(gap for gap in self._gaps if gap.size)
        self._workers = min(count, len(self._waiting))
        self._saved = monotonic()
        self._response: Response | None = None  # the last that was read to its end

    async def fill(self, first: Response | None = None) -> Response:
        """Fill all gaps; `first` is a response that begins the first of them.

        When this is cancelled, or fails, the note says what has come.

        Raises:
            OfAnother: an answer does not belong to what has come; all of it is of no use.
            HTTPStatusError: the server gives no more.
            TransportError: nothing more comes.
            OSError: it cannot be written.
        """
        failure: BaseException | None = None
        with self._part.go_on_in_gaps() as self._file:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._workers):
                        group.create_task(self._work(first))
                        first = None
            except BaseExceptionGroup as failures:
                failure = failures.exceptions[0]
            finally:
                self._part.save()
        if failure is not None:
            raise failure
        assert self._response is not None  # there was a gap
        return self._response

    async def _work(self, response: Response | None) -> None:
        """Fill one gap after the other."""
        while self._waiting:
            gap = self._waiting.popleft()
            try:
                await self._fill(gap, response)
            except HTTPStatusError:
                # A server may not want so many at once: those that it serves do the rest.
                self._waiting.append(gap)
                self._workers -= 1
                if not self._workers:
                    raise
                return
            response = None

    async def _fill(self, gap: Gap, response: Response | None) -> None:
        """Fill a gap, going on after each break as long as more comes."""
        failures = 0
        while gap.size:
            before = gap.first
            try:
                if response is None:
                    await self._ask(gap)
                else:
                    await self._take(response, gap)
                if gap.first == before:
                    raise IncompleteBody(f"{self._part.path}: no byte {before} came").at("body")
            except TotalTimeout:
                raise
            except (NetworkError, IncompleteBody, TimeoutException):
                failures = 0 if gap.first > before else failures + 1
                if failures == TRIES:
                    raise
                await asyncio.sleep(0.1 * 2**failures)
            response = None

    async def _ask(self, gap: Gap) -> None:
        wanted = f"bytes={gap.first}-{gap.end - 1}"
        fields = {"Range": wanted, "If-Range": self._part.validator}
        async with self._open(PLAIN | fields) as response:
            if response.status >= 400 and response.status != 416:
                response.raise_for_status()
            await self._take(response, gap)

    async def _take(self, response: Response, gap: Gap) -> None:
        """Write what a response has of a gap, which may be less than all."""
        end = self._end_of(response, gap)
        async for piece in response.iter_bytes():
            if gap.first + len(piece) > end:
                raise OfAnother(f"more than {response.headers['Content-Range']}")
            self._write(gap.first, piece)
            gap.first += len(piece)
            self._show()
        self._response = response

    def _end_of(self, response: Response, gap: Gap) -> int:
        """Where the range of a response ends, which begins where the gap does.

        Raises:
            OfAnother: it does not, or is none of this file.
        """
        got, part = content_range(response), self._part
        if (
            response.status != 206
            or got is None
            or (got.first, got.total) != (gap.first, part.total)
            or got.last >= gap.end
            or response.headers.get("Content-Length", str(got.size)) != str(got.size)
        ):
            what = response.headers.get("Content-Range", "no Content-Range")
            raise OfAnother(f"{response!r} with {what} for byte {gap.first} of {part.total}")
        if not self._is_same(response):
            raise OfAnother("the file has changed")
        return got.last + 1

    def _is_same(self, response: Response) -> bool:
        """Whether it bears the same validator; Last-Modified may be left out of a 206."""
        strong = self._part.validator
        same = (
            validator(response) == strong
            if strong.startswith('"')
            else response.headers.get("Last-Modified", strong) == strong
        )
        return same and asked(response) == self._part.asked and not is_coded(response)

    def _write(self, place: int, piece: bytes) -> None:
        self._file.seek(place)
        view = memoryview(piece)
        while view:
            view = view[self._file.write(view) :]

    def _show(self) -> None:
        self._tell(self._part.arrived)
        if monotonic() - self._saved >= SAVE_SECONDS:
            self._part.save()
            self._saved = monotonic()


def cut(gaps: list[Gap], count: int) -> list[Gap]:
    """The same bytes in `count` gaps, if none of those that are cut gets too small."""
    if len(gaps) == 1:
        return _even(gaps[0], count)
    gaps = list(gaps)
    while len(gaps) < count:
        largest = max(gaps, key=lambda gap: gap.size, default=Gap(0, 0))
        halves = _even(largest, 2)
        if len(halves) == 1:
            break
        place = gaps.index(largest)
        gaps[place : place + 1] = halves
    return gaps


def _even(gap: Gap, count: int) -> list[Gap]:
    count = max(1, min(count, gap.size // SMALLEST))
    edges = [gap.first + gap.size * number // count for number in range(count + 1)]
    return [Gap(first, end) for first, end in pairwise(edges)]
