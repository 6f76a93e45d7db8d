"""Where rows go: to stdout, or to a file that is only ever added to, so that it can be resumed.

A process that is killed leaves whole lines and at most one torn one, the last, which is cut off
before going on. Which requests have their row is known by index and URL.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from typing import Any, BinaryIO, Final
from zlib import crc32

FLUSH: Final = 64 * 1024  # bytes of rows that are held back at most

_NONE = -1


class Done:
    """The requests that have their row, in eight bytes each."""

    def __init__(self) -> None:
        self._urls = array("q")  # by index: the checksum of the URL
        self.rows = 0
        self.ok = 0

    def add(self, index: int, url: str, ok: bool) -> None:
        """There is a row."""
        if index >= len(self._urls):
            self._urls.extend([_NONE] * (index + 1 - len(self._urls)))
        self._urls[index] = _sum(url)
        self.rows += 1
        self.ok += ok

    def has(self, index: int, url: str) -> bool:
        """Whether there is a row for this.

        Raises:
            ValueError: there is one for another URL.
        """
        if index >= len(self._urls) or self._urls[index] == _NONE:
            return False
        if self._urls[index] != _sum(url):
            raise ValueError(f"the output has another URL in place of {url!r}; use another -o")
        return True


def _sum(url: str) -> int:
    return crc32(url.encode("utf-8", "surrogatepass"))


class Output:
    """The file with the rows, or stdout ("-")."""

    def __init__(self, path: str, resume: bool) -> None:
        """Open it; with `resume`, what an earlier run has written is `done`.

        Raises:
            FileExistsError: there is one, and it is not to be gone on with.
            ValueError: what is there are no rows.
            BlockingIOError: another process writes it.
            OSError: it cannot be written.
        """
        self.done = Done()
        self.warc_end = 0  # bytes of the WARC file that rows speak of
        self._held: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._is_file = False
        if path == "-":
            return
        if os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a named pipe
            self._file = open(path, "wb")  # noqa: SIM115 (closed by close())
            return
        self._is_file = True
        if not resume and os.path.exists(path) and os.path.getsize(path):
            raise FileExistsError(f"{path} exists; --resume goes on with it, or remove it")
        self._file = open(path, "ab+")  # noqa: SIM115 (closed by close())
        try:
            lock(self._file)
            self._file.truncate(self._read(self._file))
        except BaseException:
            self._file.close()
            raise

    def _read(self, file: BinaryIO) -> int:
        """Read the rows that there are; gives the end of the last whole one."""
        file.seek(0)
        end = 0
        for line in file:
            if not line.endswith(b"\n"):
                break  # torn
            try:
                row = json.loads(line)
                self.done.add(row["index"], row["url"], row["ok"])
                place = row.get("warc") or {"offset": 0, "length": 0}
                if "file" not in place:  # else it is one of a worker's
                    self.warc_end = max(self.warc_end, place["offset"] + place["length"])
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise ValueError(f"byte {end} of the output begins no row of ours") from exc
            end += len(line)
        return end

    def write(self, row: dict[str, Any]) -> None:
        """Add a row; it may be held back until `flush()`."""
        line = json.dumps(row).encode() + b"\n"
        self._held.append(line)
        self._size += len(line)
        if not self._is_file or self._size >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is held back."""
        view = memoryview(b"".join(self._held))
        self._held.clear()
        self._size = 0
        target = sys.stdout.fileno() if self._file is None else self._file.fileno()
        while view:
            view = view[os.write(target, view) :]

    def close(self) -> None:
        """Write what is held back, and see it on the disk."""
        try:
            self.flush()
            if self._file is not None and self._is_file:
                os.fsync(self._file.fileno())
        finally:
            if self._file is not None:
                self._file.close()


def lock(file: BinaryIO) -> None:
    """Have a file for this process alone, until it is closed.

    Raises:
        BlockingIOError: another process has it; both would do everything twice.
    """
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise BlockingIOError(exc.errno, "another process writes this file", file.name) from exc
