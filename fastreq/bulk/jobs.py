"""The job of a `fan_out`: its requests, cut into parts, and the folder that has the parts' files.

A host always falls into the same shard, and a part is of one shard. The folder is one job's: its
manifest says which, and a part that is another's is never counted, listed or removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, NamedTuple, Self, TypeAlias

from fastreq.bulk.inputs import Item
from fastreq.bulk.output import lock
from fastreq.errors import FastreqError
from fastreq.messages import Request
from fastreq.url import URL

MANIFEST: Final = "manifest.json"
LOCK: Final = "lock"

SEEN_SECONDS: Final = 60.0
"""A network file system may show so late what another machine has written."""

_PART = re.compile(r"[0-9]{4,}-[0-9]{6,}-[0-9a-f]{12}\.jsonl")
_UNFINISHED = re.compile(rf"(?:{_PART.pattern}|{re.escape(MANIFEST)})(?:\.[0-9a-z]+)+\.tmp")

Asked: TypeAlias = str | Request | Item
"""What a row is made of: a URL, a Request, or a line of an input."""


class Part(NamedTuple):
    """Some requests of one shard."""

    shard: int
    number: int  # in the shard, from 1
    items: list[tuple[int, Asked]]  # with the index in the whole job

    @property
    def place(self) -> str:
        """In the job; another job has other requests there."""
        return f"{self.shard:04d}-{self.number:06d}"

    @property
    def name(self) -> str:
        """Of its file; what is asked for is a part of it, so that another job is noticed."""
        asked = hashlib.sha256(repr([(n, _shown(item)) for n, item in self.items]).encode())
        return f"{self.place}-{asked.hexdigest()[:12]}.jsonl"


class PartReport(NamedTuple):
    """What came of a part; bodies stay in its file."""

    rows: int
    ok: int
    bytes: int
    skipped: bool  # an earlier run had done it
    slowest: tuple[str, float] | None = None  # a host, and the seconds of its answers on average


class Cut:
    """Requests, cut into parts as these are asked for.

    Args:
        requests: pulled lazily.
        shards: how many there are.
        size: requests in a part.
        options: what else says what is asked for.

    Raises:
        TypeError: `requests` is one URL, and no iterable of them.
    """

    def __init__(self, requests: Iterable[Any], shards: int, size: int, options: object) -> None:
        if isinstance(requests, (str, bytes)):
            raise TypeError(f"fan_out({requests!r}): expected an iterable of URLs, not one URL")
        self._requests = iter(requests)
        self._shards = shards
        self._size = size
        self._opening = hashlib.sha256(repr(options).encode("utf-8", "backslashreplace"))
        self._parts = self._cut()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Part:
        return next(self._parts)

    @property
    def opening(self) -> str:
        """Tells jobs apart by their first requests, as many as a part has.

        To be asked for once the first part is there, and they have been pulled.
        """
        return self._opening.hexdigest()

    def _cut(self) -> Iterator[Part]:
        open_parts: dict[int, list[tuple[int, Asked]]] = {}
        numbers: Counter[int] = Counter()
        for index, asked in enumerate(self._requests):
            item = asked if isinstance(asked, (Request, Item)) else str(asked)
            if index < self._size:
                self._opening.update(repr(_shown(item)).encode())
            shard = zlib.crc32(_host(item).encode()) % self._shards
            items = open_parts.setdefault(shard, [])
            items.append((index, item))
            if len(items) == self._size:
                numbers[shard] += 1
                yield Part(shard, numbers[shard], open_parts.pop(shard))
        for shard, items in open_parts.items():
            yield Part(shard, numbers[shard] + 1, items)


def _host(item: Asked) -> str:
    """What decides the shard; of what is no URL, anything."""
    if isinstance(item, Request):
        return item.url.host
    try:
        return URL(item.url if isinstance(item, Item) else item).host
    except FastreqError:
        return ""


def _shown(item: Asked) -> Any:
    if isinstance(item, str):
        return item
    if isinstance(item, Item):
        return item.method, item.url, item.headers, item.body, bool(item.error)
    return item.method, str(item.url), item.fields.raw, item.content


class Folder:
    """The folder of a job.

    Args:
        path: of the folder; nothing is written yet.
        job: what tells it from others; its part files are of no use to one with other values.
        resume: go on with an earlier run.

    Raises:
        ValueError: it belongs to another job.
        FileExistsError: there are parts, and they are not to be gone on with.
    """

    def __init__(self, path: Path, job: dict[str, Any], resume: bool) -> None:
        self.path = path
        self._job = job
        self._resume = resume
        self._before: dict[str, str] = {}  # the parts of earlier runs, by their places
        self._ours: set[str] = set()
        if not resume and self._parts():
            raise FileExistsError(f"{path} has parts of an earlier run; remove it, or resume=True")
        self._check()

    @contextmanager
    def claimed(self, opening: str) -> Iterator[None]:
        """Have it for this job, which begins so, and for this process, while the block lasts.

        Raises:
            ValueError: it belongs to another job.
            BlockingIOError: another process works on it.
            OSError: it cannot be written.
        """
        self._job["opening"] = opening
        self._check()
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / LOCK, "ab") as file:
            lock(file)
            if not self._check():
                temporary = self.path / f"{MANIFEST}.{os.getpid()}.tmp"
                temporary.write_text(json.dumps(self._job), encoding="utf-8")
                os.replace(temporary, self.path / MANIFEST)
            if not self._resume:
                self.sweep()
            self._before = {_place(name): name for name in self._parts()}
            yield

    def admit(self, part: Part) -> str:
        """Count a part as one of this job's; gives the path of its file.

        Raises:
            ValueError: another job has another part there.
        """
        name = part.name
        if self._before.get(part.place, name) != name:
            raise ValueError(self._of_another("with other requests"))
        self._ours.add(name)
        return str(self.path / name)

    def files(self) -> list[Path]:
        """The files of all parts that were admitted.

        Raises:
            ValueError: there are parts of another job among them.
            FileNotFoundError: some are not to be seen here.
        """
        if others := sorted(set(self._before.values()) - self._ours):
            raise ValueError(self._of_another(f"that has {others[0]}"))
        since = monotonic()
        while missing := self._ours - self._parts():
            if monotonic() - since >= SEEN_SECONDS:
                raise FileNotFoundError(
                    f"{self.path} lacks {len(missing)} parts that workers have written, such as "
                    f"{min(missing)}; do all machines see the same folder there?"
                )
            sleep(SEEN_SECONDS / 100)
        return [self.path / name for name in sorted(self._ours)]

    def sweep(self) -> None:
        """Remove what workers that were killed have left unfinished."""
        for path in self.path.glob("*.tmp"):
            if _UNFINISHED.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _check(self) -> bool:
        """Whether there is a manifest; it is this job's, as far as is known by now."""
        try:
            found = json.loads((self.path / MANIFEST).read_bytes())
        except FileNotFoundError:
            if self._parts():
                raise ValueError(self._of_another("that has no manifest")) from None
            return False
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(self._of_another("with another manifest"))
        for name, value in self._job.items():
            if found.get(name) != value:
                other = "other requests" if name == "opening" else f"{name}={found.get(name)!r}"
                raise ValueError(self._of_another(f"with {other}"))
        return True

    def _of_another(self, kind: str) -> str:
        return f"{self.path} belongs to a job {kind}; this one needs another output"

    def _parts(self) -> set[str]:
        """The names of the part files that there are."""
        try:
            return set(filter(_PART.fullmatch, os.listdir(self.path)))
        except FileNotFoundError:
            return set()


def remove(path: str) -> None:
    """Remove the folder of a job that is done with; it stays where others have something in it."""
    with suppress(OSError):
        for name in os.listdir(path):
            if name in (MANIFEST, LOCK) or _PART.fullmatch(name) or _UNFINISHED.fullmatch(name):
                os.remove(os.path.join(path, name))
        os.rmdir(path)


def _place(name: str) -> str:
    return name.rpartition("-")[0]


def check_seen(path: str) -> None:
    """See, on a worker, that the folder is the one in which the file of a part is to be.

    Raises:
        FileNotFoundError: it is not.
    """
    manifest = os.path.join(os.path.dirname(path), MANIFEST)
    if not os.path.exists(manifest):
        raise FileNotFoundError(
            f"{manifest} is not to be seen where this worker is; the output has to be in a folder "
            "that all machines see under the same name"
        )
