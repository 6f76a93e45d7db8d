"""NAME.part and NAME.part.json: what has come of a download so far, and of what.

A note is replaced in one step, and never says more than the file has: whenever a process is
killed, what is there can be gone on with, or is seen to be of no use.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import FileIO
from typing import Any, BinaryIO, Final, NamedTuple

from fastreq.messages import Response

_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)")

_BINARY: Final = getattr(os, "O_BINARY", 0)  # of Windows

SURELY_LATER: Final = timedelta(seconds=1)
"""Between Last-Modified and Date, for the former to be strong (RFC 9110, section 8.8.2.2)."""


@dataclass
class Gap:
    """Bytes that have not come yet, from `first` to before `end`."""

    first: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.first


class Range(NamedTuple):
    """What a 206 has: bytes `first` to `last` of `total`, None where it does not say."""

    first: int
    last: int
    total: int | None

    @property
    def size(self) -> int:
        return self.last - self.first + 1


def content_range(response: Response) -> Range | None:
    """The Content-Range of a 206 (RFC 9110, section 14.4), or None where there is none to use."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None or match[1] is None:
        return None
    first, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    return Range(first, last, total) if first <= last and (total is None or last < total) else None


class Part:
    """The two files, and what the note says.

    Most parts have come from the start to some byte: as many as there are in the file. Those of
    several segments have a file of the full length, and `gaps` in it.
    """

    def __init__(self, path: str) -> None:
        self._whole = path
        self.path = f"{path}.part"
        self._note = f"{path}.part.json"
        self._begun = False  # we have written to it from its start
        self._forget()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Have the part for ourselves as long as the block lasts; at its end, what nobody could go
        on with is removed.

        Raises:
            BlockingIOError: another download has it.
            IsADirectoryError: the file would be a folder.
            OSError: it cannot be written.
        """
        if os.path.isdir(self._whole) or self._whole.endswith(os.sep):
            raise IsADirectoryError(errno.EISDIR, "a folder; say which file", self._whole)
        # Windows renames nothing that is open.
        lock = _locked(self.path) if sys.platform != "win32" else None
        try:
            yield
        finally:
            is_of_use = self.size or self.gaps is not None if self._begun else self.length
            if not is_of_use and (lock is None or _is_at(lock, self.path)):
                with suppress(FileNotFoundError):
                    os.remove(self.path)
            if lock is not None:
                os.close(lock)

    def _forget(self) -> None:
        self.validator = ""  # a strong ETag or Last-Modified: what If-Range asks for
        self.total: int | None = None  # bytes of the whole, where that is known
        self.asked = ""  # the path of the URL: two files may well have the same Last-Modified
        self.gaps: list[Gap] | None = None  # in ascending order; None: one piece from the start

    def load(self) -> None:
        """Read the note of an earlier download; without one, its bytes belong to nothing."""
        try:
            with open(self._note, encoding="utf-8") as file:
                note = json.load(file)
            total, gaps = note["total"], note.get("gaps")
            self.validator, self.asked = str(note["validator"]), str(note["asked"])
            self.total = None if total is None else int(total)
            self.gaps = None if gaps is None else [Gap(int(first), int(end)) for first, end in gaps]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._forget()
            return
        if self.gaps is not None:
            self._check_gaps(self.gaps)
        elif self.total is not None and self.length >= self.total:
            # All of it had come, and was not renamed. To see that it is still the same file, its
            # last byte is asked for again; what lies behind it is nobody's.
            os.truncate(self.path, max(self.total - 1, 0))

    def _check_gaps(self, gaps: list[Gap]) -> None:
        edges = [0, *(edge for gap in gaps for edge in (gap.first, gap.end)), self.total or 0]
        if not self.validator or edges != sorted(edges) or self.length != self.total:
            self._forget()
        elif not any(gap.size for gap in gaps):  # all of it had come: see above
            self.gaps = [Gap(self.length - 1, self.length)]

    @property
    def size(self) -> int:
        """Bytes from the start that have come, and can be gone on from."""
        return self.length if self.validator and self.gaps is None else 0

    @property
    def arrived(self) -> int:
        """Bytes that have come, wherever they are."""
        if self.gaps is None:
            return self.size
        return (self.total or 0) - sum(gap.size for gap in self.gaps)

    @property
    def length(self) -> int:
        """Bytes of the file."""
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
        self._begun = True
        if not is_coded(response):  # else neither its length nor a range is one of the file
            self.validator, self.asked = validator(response), asked(response)
            length = response.headers.get("Content-Length", "")
            self.total = int(length) if length.isdigit() else None
        if self.validator:
            self.save()
        return file

    def begin_with_gaps(self, response: Response) -> bool:
        """Begin anew with a range from the start; False: others could not be joined to it."""
        got = content_range(response)
        strong = validator(response)
        if got is None or got.first or not got.total or not strong or is_coded(response):
            return False
        self.throw_away()
        self.validator, self.asked, self.total = strong, asked(response), got.total
        self.gaps = [Gap(0, got.total)]
        return True

    def open_gaps(self) -> None:
        """Make of one piece from the start one with a gap behind it, if that can be."""
        if self.gaps is None and self.size and self.total is not None:
            self.gaps = [Gap(self.size, self.total)]

    def go_on(self) -> BinaryIO:
        """Go on at the end of what has come."""
        return open(self.path, "ab")

    def go_on_in_gaps(self) -> FileIO:
        """Go on anywhere; unbuffered, so that a note never speaks of what is not in the file."""
        self.save()  # first: a file of full length, and no word of gaps, would be complete
        number = os.open(self.path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666)
        file = open(number, "r+b", buffering=0)  # noqa: SIM115 (the caller closes it)
        file.truncate(self.total)
        return file

    def save(self) -> None:
        """Write the note."""
        note: dict[str, Any] = {
            "validator": self.validator,
            "total": self.total,
            "asked": self.asked,
        }
        if self.gaps is not None:
            gaps = sorted((gap.first, gap.end) for gap in self.gaps)
            note["gaps"] = [gap for gap in gaps if gap[0] < gap[1]]
        temporary = f"{self._note}.tmp"
        with open(temporary, "w", encoding="utf-8") as out:
            json.dump(note, out)
        os.replace(temporary, self._note)

    def finish(self) -> None:
        """Give the file its name."""
        with open(self.path, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self._whole)
        with suppress(FileNotFoundError):
            os.remove(self._note)

    def throw_away(self) -> None:
        """Begin at 0 next time."""
        self._forget()
        for path in (self._note, f"{self._note}.tmp"):
            with suppress(FileNotFoundError):
                os.remove(path)
        with suppress(FileNotFoundError):  # it is still ours: no other may take its place now
            os.truncate(self.path, 0)


def _locked(path: str) -> int:
    """Open a file so that no other does it, here or in another process; made where it is not."""
    import fcntl

    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(number)
            raise BlockingIOError(exc.errno, "another download writes this file", path) from exc
        if _is_at(number, path):
            return number
        os.close(number)  # it was renamed since, by the download that had it


def _is_at(number: int, path: str) -> bool:
    """Whether that is the path of an open file."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except FileNotFoundError:
        return False


def validator(response: Response) -> str:
    """What tells whether the file is still the same (RFC 9110, section 13.1.5), or "".

    No weak ETag, and no Last-Modified of the very second in which it was sent.
    """
    etag = response.headers.get("ETag", "")
    if etag:
        return etag if etag.startswith('"') else ""
    from email.utils import parsedate_to_datetime  # for which all of email comes along

    modified = response.headers.get("Last-Modified", "")
    try:
        since = parsedate_to_datetime(modified)
        sent = parsedate_to_datetime(response.headers.get("Date", ""))
        return modified if sent - since >= SURELY_LATER else ""
    except (ValueError, TypeError):
        return ""


def may_be_of(response: Response, strong: str) -> bool:
    """Whether a 206 bears no other validator than this one, be it weak; some bear none at all."""
    name = "ETag" if strong.startswith('"') else "Last-Modified"
    return response.headers.get(name, strong) == strong


def is_coded(response: Response) -> bool:
    """Whether its bytes are others than those of the file."""
    return response.headers.get("Content-Encoding", "identity").strip().lower() != "identity"


def asked(response: Response) -> str:
    """The path that was asked for. Hosts and queries (signatures) may change, and are left out."""
    first = response.history[0] if response.history else response
    return first.request.url.path
