"""Where bodies go: nowhere, into their row, into a file each, or into a WARC file."""

from __future__ import annotations

import base64
import os
import re
from contextlib import suppress
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from fastreq.messages import Response

KINDS: Final = ("none", "inline", "dir", "warc")


class Bodies:
    """Adds to each row what is to be kept of a body. This kind keeps nothing."""

    def keep(self, row: dict[str, Any], response: Response) -> None:
        """Keep a body, and say in the row where it is."""

    def flush(self) -> None:
        """Write what is held back; to be called before the rows that speak of it are written."""

    def close(self) -> None:
        """Write what is held back, and close."""

    def drop(self) -> None:
        """Close in place of `close()`, where the rows are not going to be there."""


class InRows(Bodies):
    """`body` where it is UTF-8, else `body_base64`."""

    def keep(self, row: dict[str, Any], response: Response) -> None:
        try:
            row["body"] = response.body.decode()
        except UnicodeDecodeError:
            row["body_base64"] = base64.b64encode(response.body).decode("ascii")


class InFiles(Bodies):
    """A file for each, named by its index; `body_path` says where."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self._folder = folder

    def keep(self, row: dict[str, Any], response: Response) -> None:
        folder = os.path.join(self._folder, f"{row['index'] // 1000:06d}")
        os.makedirs(folder, exist_ok=True)
        path = row["body_path"] = os.path.join(folder, f"{row['index']:09d}")
        # Two workers may do the same part: neither sees, or leaves, half of a body.
        temporary = f"{path}.{os.getpid()}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(response.body)
            os.replace(temporary, path)
        except OSError:  # a disk that is full is not to be filled with halves
            with suppress(OSError):
                os.remove(temporary)
            raise


class InWarc(Bodies):
    """A record for each in one file, compressed one by one; `warc` has offset and length.

    Args:
        path: of the file.
        end: where the records end that rows speak of; what is behind is cut off.

    Raises:
        ImportError: warcio is missing.
        ValueError: the file has fewer bytes than rows speak of.
    """

    def __init__(self, path: str, end: int) -> None:
        check_kind("warc")
        self._head = import_module("warcio.statusandheaders").StatusAndHeaders
        writer = import_module("warcio.warcwriter").WARCWriter
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if size < end:
            raise ValueError(f"{path} has {size} bytes, and rows speak of {end}; bring it back")
        self._file = open(path, "ab")  # noqa: SIM115 (closed by close())
        self._file.truncate(end)
        self._file.seek(end)  # else it would go on counting from the old end
        self._writer = writer(self._file, gzip=True)

    def keep(self, row: dict[str, Any], response: Response) -> None:
        coding = ("content-encoding", "transfer-encoding", "content-length")  # it is decoded
        fields = [pair for pair in response.headers.items() if pair[0].lower() not in coding]
        fields.append(("Content-Length", str(len(response.body))))
        line = f"{response.status} {response.status_message}"
        head = self._head(line, fields, protocol=response.http_version)
        # As it was sent. By itself warcio rewrites what is not ASCII, or fails.
        head.to_ascii_bytes = partial(head.to_bytes, encoding="latin-1")
        record = self._writer.create_warc_record(
            response.url.redacted,
            "response",
            payload=BytesIO(response.body),
            length=len(response.body),  # else warcio copies it all, to find out
            http_headers=head,
        )
        offset = self._file.tell()
        self._writer.write_record(record)
        row["warc"] = {"offset": offset, "length": self._file.tell() - offset}

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class InWarcOfPart(InWarc):
    """The same for a part of a job, in a file of its own, which `warc` names.

    Until `close()` the file has another name: it is whole, or it is not there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary = f"{path}.{token_hex(4)}.tmp"
        super().__init__(self._temporary, 0)

    def keep(self, row: dict[str, Any], response: Response) -> None:
        super().keep(row, response)
        row["warc"] = {"file": self._path, **row["warc"]}

    def close(self) -> None:
        super().close()
        os.replace(self._temporary, self._path)

    def drop(self) -> None:
        super().close()
        with suppress(FileNotFoundError):
            os.remove(self._temporary)


# Under which names, and where, the two kinds write what is not whole yet.
_UNFINISHED = {
    "dir": ("*/*.tmp", re.compile(r"[0-9]{9}\.[0-9]+\.tmp")),
    "warc": ("*.tmp", re.compile(r".+\.warc\.gz\.[0-9a-f]{8}\.tmp")),
}


def sweep(kind: str, folder: str) -> None:
    """Remove what workers that were killed have left unfinished, and nothing else."""
    if kind in _UNFINISHED:
        pattern, name = _UNFINISHED[kind]
        for path in Path(folder).glob(pattern):
            if name.fullmatch(path.name):
                path.unlink(missing_ok=True)


def check_kind(kind: str) -> None:
    """See that bodies can be kept so.

    Raises:
        ValueError: that is none of KINDS.
        ImportError: it needs what is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"bodies={kind!r}: expected one of {', '.join(KINDS)}")
    if kind == "warc":
        try:
            import_module("warcio.warcwriter")
        except ImportError as exc:
            raise ImportError("bodies in WARC need pip install 'fastreq-http[crawl]'") from exc


def bodies_of_part(kind: str, folder: str, name: str) -> Bodies:
    """What a worker keeps of a part called `name`; files are in `folder`, as all workers' are."""
    if kind == "dir":
        return InFiles(folder)
    if kind == "warc":
        os.makedirs(folder, exist_ok=True)
        return InWarcOfPart(os.path.join(folder, f"{name}.warc.gz"))
    return InRows() if kind == "inline" else Bodies()


def bodies_of(kind: str, out: str, warc_end: int, *, goes_on: bool) -> Bodies:
    """What `--bodies` says; files are named after the output.

    Args:
        kind: one of KINDS.
        out: the output.
        warc_end: where in a WARC file the records end that rows speak of.
        goes_on: whether an earlier run has begun the output, and what lies beside it.

    Raises:
        FileExistsError: there is something of that name, of another job.
        ImportError, ValueError: see `InWarc`.
    """
    if kind == "inline":
        return InRows()
    if kind == "dir":
        folder = _ours(f"{out}.bodies", goes_on)
        sweep(kind, folder)
        return InFiles(folder)
    if kind == "warc":
        return InWarc(_ours(f"{out}.warc.gz", goes_on), warc_end)
    return Bodies()


def _ours(path: str, goes_on: bool) -> str:
    """Gives the path, if what is there is nothing, or of the same job."""
    if not goes_on and os.path.exists(path):
        empty = not os.listdir(path) if os.path.isdir(path) else not os.path.getsize(path)
        if not empty:
            raise FileExistsError(f"{path} exists, and is of another job; remove it")
    return path
