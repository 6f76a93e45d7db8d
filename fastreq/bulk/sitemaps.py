"""Sitemaps, and indexes of them (sitemaps.org): XML → places, and what an index names followed.

An index names sitemaps, never other indexes, so there is one step and no loop. Whatever is wrong
with a sitemap is told as an error in its place.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from fastreq.errors import FastreqError

MAX_SITEMAPS: Final = 50_000  # that an index may name
MAX_PLACES: Final = 50_000  # that a sitemap may name
MAX_SIZE: Final = 50 * 2**20  # bytes of a sitemap, not compressed

PIECE: Final = 16 * 1024  # bytes that are read at once

_GZIP: Final = b"\x1f\x8b"
_NOTE = re.compile(r"[0-9]{6}\.json(?:\.tmp)?")  # the files in the folder


class Place(NamedTuple):
    """What a `<loc>` says."""

    url: str
    is_sitemap: bool = False
    error: str = ""  # why the sitemap of this URL could not be followed


def places(file: BinaryIO) -> Iterator[Place]:
    """The places of a sitemap, or the sitemaps of an index, as they are read.

    Raises:
        ValueError: it is no such file.
    """
    from xml.etree.ElementTree import ParseError

    kind, root = "url", None
    try:
        for event, element in _elements(file):
            name = element.tag.rpartition("}")[2]
            if root is None:
                root = element
                if name not in ("urlset", "sitemapindex"):
                    raise ValueError(f"that is no sitemap: it begins with <{name[:100]}>")
                kind = "sitemap" if name == "sitemapindex" else "url"
            elif event == "end" and name == kind:
                place = element.findtext("{*}loc") or element.findtext("loc") or ""
                yield Place(place.strip(), kind == "sitemap")
                root.clear()
    except ParseError as exc:
        raise ValueError(f"that is no sitemap: {exc}") from exc


def _elements(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """What begins and ends in an XML file, as it is read.

    `iterparse()` would leave its parser to the garbage collector; where that is as late as the end
    of the process, CPython 3.12.1 ends by SIGSEGV.
    """
    from xml.etree.ElementTree import XMLPullParser

    parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
    while data := file.read(PIECE):
        parser.feed(data)
        yield from cast(Iterator[tuple[str, Any]], parser.read_events())
    parser.close()
    yield from cast(Iterator[tuple[str, Any]], parser.read_events())


class Sitemaps:
    """Follows the sitemaps of an index.

    Args:
        get: gives the body of a URL; raises FastreqError.
        folder: where it is kept what they named, so that a run that goes on finds the same places
            with the same numbers; None: nowhere.
        goes_on: whether this is such a run; else what another has kept there is removed.
    """

    def __init__(
        self, get: Callable[[str], Awaitable[bytes]], folder: str | None, *, goes_on: bool
    ) -> None:
        self._get = get
        self._folder = folder
        self._goes_on = goes_on
        self._seen: set[str] = set()

    async def follow(self, url: str) -> list[Place]:
        """The places of a sitemap; what is wrong with it is one of them."""
        if url in self._seen:
            return [Place(url, error="the index names this sitemap twice")]
        if len(self._seen) >= MAX_SITEMAPS:
            return [Place(url, error=f"the index names more than {MAX_SITEMAPS} sitemaps")]
        number = len(self._seen)
        if not number and not self._goes_on:
            self._forget()
        self._seen.add(url)
        kept = self._kept(number, url)
        if kept is None:
            kept = await self._fetch(url)
            self._keep(number, url, kept)
        return kept

    async def _fetch(self, url: str) -> list[Place]:
        try:
            body = await self._get(url)
        except FastreqError as exc:
            return [Place(url, error=f"no sitemap: {exc}")]
        return await asyncio.to_thread(read, url, body)  # a large one would hold up everything

    def _forget(self) -> None:
        """Remove what another run has kept, and nothing else."""
        if self._folder is None:
            return
        for path in Path(self._folder).glob("*.json*"):  # of no folder, there are none
            if _NOTE.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def _file(self, number: int) -> str:
        return os.path.join(self._folder or "", f"{number:06d}.json")

    def _kept(self, number: int, url: str) -> list[Place] | None:
        if self._folder is None:
            return None
        try:
            with open(self._file(number), encoding="utf-8") as file:
                note = json.load(file)
        except FileNotFoundError:
            return None
        if note["sitemap"] != url:
            raise ValueError(f"{self._folder} is of another index; use another -o")
        return [Place(place, error=error) for place, error in note["places"]]

    def _keep(self, number: int, url: str, found: list[Place]) -> None:
        if self._folder is None:
            return
        os.makedirs(self._folder, exist_ok=True)
        temporary = f"{self._file(number)}.tmp"
        note = {"sitemap": url, "places": [(place.url, place.error) for place in found]}
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(note, file)
        os.replace(temporary, self._file(number))


def read(url: str, body: bytes) -> list[Place]:
    """The places of a sitemap that has come from `url`; it may be compressed."""
    try:
        if body.startswith(_GZIP):
            body = gzip.GzipFile(fileobj=io.BytesIO(body)).read(MAX_SIZE + 1)
    except (OSError, EOFError, zlib.error) as exc:
        return [Place(url, error=f"no sitemap: no whole gzip file: {exc}")]
    if len(body) > MAX_SIZE:
        return [Place(url, error=f"no sitemap: it has more than {MAX_SIZE} bytes")]
    found: list[Place] = []
    try:
        found.extend(islice(places(io.BytesIO(body)), MAX_PLACES + 1))
    except ValueError as exc:
        found.append(Place(url, error=str(exc)))
    if any(place.is_sitemap for place in found):
        return [Place(url, error="an index in an index is not followed")]
    if len(found) > MAX_PLACES:
        found[MAX_PLACES:] = [Place(url, error=f"it names more than {MAX_PLACES} places")]
    return found
