"""Where rows go: to stdout, or to a file that is only ever added to, so that it can be resumed.

A process that is killed leaves whole lines and at most one torn one, the last, which is cut off
before going on. Which requests have their row is known by index and URL.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final
from zlib import crc32

FLUSH: Final = 64 * 1024  # bytes of rows that are held back at most

_NONE = -1
_BEGIN = b'{"index": '  # of each row


class Done:
    """The requests that have their row, in eight bytes each."""

    def __init__(self) -> None:
        self._urls = array("q")  # by index: the checksum of the URL
        self.rows = 0
        self.ok = 0

    @property
    def lines(self) -> int:
        """How many lines an input has at least that these are of."""
        return len(self._urls)

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
    """The file with the rows, or stdout ("-").

    Attributes:
        done: what an earlier run has written.
        goes_on: whether there was one, and this goes on with it.
        bodies: what it has kept of bodies, as `bodies.KINDS` has it; None: that cannot be told.
        warc_end: bytes of the WARC file that its rows speak of.
    """

    def __init__(self, path: str, resume: bool) -> None:
        """Open it; with `resume`, to go on with it.

        Raises:
            FileExistsError: there is one, and it is not to be gone on with.
            ValueError: what is there are no rows.
            BlockingIOError: another process writes it.
            OSError: it cannot be written.
        """
        self.done = Done()
        self.goes_on = resume and os.path.isfile(path)
        self.bodies: str | None = None
        self.warc_end = 0
        self._path = path
        self._is_new = not os.path.exists(path)
        self._held: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._is_file = False
        self._is_refused = False
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
            if not line.endswith(b"\n") and _BEGIN.startswith(line[: len(_BEGIN)]):
                break  # torn
            try:
                self._note(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as exc:
                raise ValueError(f"byte {end} of the output begins no row of ours") from exc
            end += len(line)
        return end

    def _note(self, row: dict[str, Any]) -> None:
        """Note what a row of an earlier run says."""
        self.done.add(row["index"], row["url"], row["ok"])
        if row["status"] is not None:
            self.bodies = self.bodies or kind_of(row)
        place = row.get("warc") or {"offset": 0, "length": 0}
        if "file" not in place:  # else it is one of a worker's
            self.warc_end = max(self.warc_end, place["offset"] + place["length"])

    def write(self, row: dict[str, Any]) -> None:
        """Add a row; it may be held back until `flush()`."""
        line = json.dumps(row).encode() + b"\n"
        self._held.append(line)
        self._size += len(line)
        if not self._is_file or self._size >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what is held back. Where that fails, the file ends with a whole row all the same,
        and the rest is still held."""
        data = b"".join(self._held)
        number = sys.stdout.fileno() if self._file is None else self._file.fileno()
        before = os.fstat(number).st_size if self._is_file else 0
        try:
            write_all(number, data)
        except BaseException:
            if self._is_file:
                written = os.fstat(number).st_size - before
                whole = data.rfind(b"\n", 0, written) + 1
                os.ftruncate(number, before + whole)
                self._hold(data[whole:])
            else:  # nobody reads, or nobody is to be waited for
                self._hold(b"")
            raise
        self._hold(b"")

    def _hold(self, data: bytes) -> None:
        self._held = [data] if data else []
        self._size = len(data)

    def forget_if_empty(self) -> None:
        """Have `close()` remove a file that was made for this run, and has no row: the job was
        refused."""
        self._is_refused = True

    def close(self) -> None:
        """Write what is held back, and see it on the disk."""
        try:
            self.flush()
            if self._file is not None and self._is_file:
                os.fsync(self._file.fileno())
        finally:
            if self._file is not None:
                self._file.close()
            is_ours = self._is_file and self._is_new and self._is_refused
            if is_ours and not os.path.getsize(self._path):
                os.remove(self._path)


def write_all(number: int, data: bytes) -> None:
    """Write to a file descriptor, be it one that does not block; Ctrl-C ends it.

    Raises:
        OSError: it cannot be written.
        KeyboardInterrupt: Ctrl-C.
    """
    view = memoryview(data)
    with _interruptible():
        while view:
            try:
                view = view[os.write(number, view) :]
            except BlockingIOError:
                select.select([], [number], [])


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have Ctrl-C end what blocks: asyncio's own handler asks the task to end, which it cannot."""
    handler = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or handler in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def kind_of(row: dict[str, Any]) -> str:
    """What a row with a response says of how bodies are kept."""
    kinds = {"body": "inline", "body_base64": "inline", "body_path": "dir", "warc": "warc"}
    return next((kind for name, kind in kinds.items() if name in row), "none")


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
