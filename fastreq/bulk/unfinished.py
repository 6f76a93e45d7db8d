"""The file of a part of a `fan_out` while it is written.

It has another name until it is whole. What it has so far is noted beside it: for those who wait,
and for whoever does the part again because the first was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from secrets import token_hex
from time import monotonic
from typing import Any, Final

from fastreq.bulk.jobs import PartReport
from fastreq.bulk.progress import HostTimes

NOTE_SECONDS: Final = 1.0
"""Between two notes at the least."""


class Unfinished:
    """A part that is being done.

    Args:
        path: where its file is to be once it is whole.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # A scheduler may take a worker for dead that is only slow, and have another do its part.
        self._name = f"{path}.{token_hex(4)}"
        self._temporary = f"{self._name}.tmp"
        self._file = open(self._temporary, "w", encoding="ascii", newline="\n")  # noqa: SIM115
        self._rows = self._ok = self._bytes = 0
        self._times = HostTimes()
        self._noted = monotonic()

    def take_over(self, indexes: Iterable[int]) -> set[int]:
        """Take the rows that the one before has left; gives those of `indexes` that have none."""
        wanted = set(indexes)
        for line in _left_behind(self._path):
            try:
                row = json.loads(line)
                index, ok, size = row["index"], row["ok"], row["bytes"]
            except (ValueError, KeyError, TypeError):
                break
            if index in wanted:
                wanted.remove(index)
                self._add(line, ok, size)
        self._note()
        return wanted

    def write(self, row: dict[str, Any], host: str) -> None:
        """Add a row, and count the time that its host has taken."""
        self._add(json.dumps(row) + "\n", row["ok"], row["bytes"])
        if host:
            timings = row["timings"]
            took = timings["total"] - timings["queue"] if timings is not None else row["elapsed"]
            self._times.add(host, took)
        if monotonic() - self._noted >= NOTE_SECONDS:
            self._note()

    def finish(self) -> PartReport:
        """See it on the disk, and give it its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self._path)
        with suppress(OSError):
            os.remove(_note_of(self._path))
        return self._report()

    def close(self) -> None:
        """Leave it to the next."""
        self._file.close()

    def _add(self, line: str, ok: bool, size: int) -> None:
        self._file.write(line)
        self._rows += 1
        self._ok += ok
        self._bytes += size

    def _report(self) -> PartReport:
        return PartReport(self._rows, self._ok, self._bytes, False, self._times.slowest())

    def _note(self) -> None:
        self._file.flush()  # first, for the note speaks of it
        self._noted = monotonic()
        temporary = f"{self._name}.note.tmp"
        note = {"file": os.path.basename(self._temporary), "report": self._report()}
        with suppress(OSError):  # somebody reads it, on Windows; the part needs no note
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(note, file)
            os.replace(temporary, _note_of(self._path))


def so_far(path: str) -> PartReport | None:
    """What a part has come to whose file is going to be at `path`; None: nobody has said yet."""
    note = _read_note(path)
    return None if note is None else note[1]


def _left_behind(path: str) -> Iterator[str]:
    """The rows that there are of a part; the last may be torn off, and is left out."""
    note = _read_note(path)
    if note is None:
        return
    with (
        suppress(OSError, UnicodeDecodeError),
        open(os.path.join(os.path.dirname(path), note[0]), "rb") as lines,
    ):
        yield from (line.decode("ascii") for line in lines if line.endswith(b"\n"))


def _read_note(path: str) -> tuple[str, PartReport] | None:
    """The name of the file that there is of a part, and what is in it."""
    try:
        with open(_note_of(path), encoding="utf-8") as file:
            note = json.load(file)
        rows, ok, size, skipped, slowest = note["report"]
        report = PartReport(rows, ok, size, skipped, slowest and tuple(slowest))
        return note["file"], report
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note_of(path: str) -> str:
    return f"{path}.note.tmp"
