"""What the worker asks of a client, whichever it is."""

from __future__ import annotations

import ssl
from array import array
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from load import Load

PIECE = 256 * 1024
"""Bytes of a file that are read at a time, where that is the adapter's to say."""


Answer: TypeAlias = tuple[int, Any]
"""Status and body, which the worker checks. The body is whatever buffer the client gives, never a
copy of it; a plain tuple, since a NamedTuple would cost each client 0.2 µs (scenario: small)."""

URLs: TypeAlias = Iterable[str]


class Setup(NamedTuple):
    """What a client is made for."""

    ca_file: str | None  # to be trusted
    connections: int  # that may be open at once

    @property
    def tls(self) -> ssl.SSLContext | bool:
        """What to verify by, for clients that take Python's own; True where there is no TLS."""
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True


class LeftOut(Exception):
    """A client cannot do what a scenario asks, or is not there; the text says why."""


class Adapter:
    """One client. It is used as it comes: with its own defaults, but for what would forbid a
    scenario, such as a limit of connections below the number of callers."""

    imports = ""  # the module whose import is timed
    distribution = ""  # whose version is shown
    loop = "uvloop"  # that it runs on, where installed
    blocks = False  # its methods are plain functions: each caller is a thread
    most_callers = 10_000

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    async def open(self) -> None:
        """Make the client."""

    async def close(self) -> None:
        """Close it, and all of its connections."""

    async def get(self, url: str) -> Answer:
        """GET, and the whole body."""
        raise LeftOut("does not do that")

    async def post(self, url: str, value: Any) -> Answer:
        """POST a value as JSON."""
        raise LeftOut("is not asked to")

    async def upload(self, url: str, path: Path) -> Answer:
        """PUT a file, without holding all of it."""
        raise LeftOut("sends no file without reading all of it first")

    async def download(self, url: str, path: Path) -> None:
        """GET into a file, without holding all of it."""
        raise LeftOut("is not asked to")

    def map(self, urls: URLs, concurrency: int) -> AsyncIterator[Answer]:
        """GET many URLs by one call."""
        raise LeftOut("has nothing of the kind")

    async def drive(self, load: Load) -> array[float] | None:
        """Apply a load in a way of its own, and give the latencies; None: there is none."""
        return None


async def pieces(path: Path) -> AsyncIterator[bytes]:
    """A file in pieces, for clients that send what an asynchronous generator gives."""
    with path.open("rb") as file:
        for piece in blocks(file):
            yield piece


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """A file in pieces."""
    while piece := file.read(PIECE):
        yield piece
