"""What `fastreq fetch` reads: lines, JSON lines, a column of a CSV file, a sitemap → items.

A line that is wrong is an item with an error, so that it becomes a row like any other.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, BinaryIO, Final, NamedTuple, cast

from fastreq.bulk.sitemaps import places
from fastreq.errors import FastreqError
from fastreq.headers import Headers
from fastreq.messages import Request
from fastreq.url import parse_url

FORMATS: Final = ("txt", "jsonl", "csv", "sitemap")

MAX_SHOWN: Final = 2000  # characters of a line that stands for the URL it does not have

_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".xml": "sitemap"}
_KEYS = {"url", "method", "headers", "body"}


class BadInput(FastreqError):
    """A line of the input that is no request."""


class Item(NamedTuple):
    """A request that is asked for."""

    number: int  # its place in the input, from 0
    url: str  # or the line, where that is wrong
    method: str = "GET"
    headers: Any = None
    body: str | None = None
    error: str = ""  # what is wrong with the line
    is_sitemap: bool = False  # to be followed, rather than fetched

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to it but its URL."""
        return self.method == "GET" and self.headers is None and self.body is None

    def request(self, build: Callable[..., Request], **options: Any) -> Request:
        """Make the request, by `build_request` of a client, with more options of it.

        Raises:
            FastreqError: it is none.
        """
        if self.error:
            raise BadInput(self.error).at("input")
        if self.is_plain:
            return build("GET", self.url, **options)
        try:
            # Those of the line count more than those that all have, as those of a client.
            options["headers"] = Headers(options.get("headers")).merged(self.headers)
            return build(self.method, self.url, content=self.body, **options)
        except FastreqError:
            raise
        except (TypeError, ValueError) as exc:
            raise BadInput(str(exc)).at("input") from exc


class Input:
    """An input, read lazily and once.

    Args:
        path: a file, which may end in .gz; "-" is stdin.
        kind: one of FORMATS; None: what the name of the file says, else lines.
        column: of a CSV file, the one with the URLs.

    Attributes:
        kind: what it is, one of FORMATS.
        blocks: whether to read it may take for ever, as it may with stdin.

    Raises:
        OSError: the file cannot be read.
    """

    def __init__(self, path: str, kind: str | None, column: str) -> None:
        name = path.lower().removesuffix(".gz")
        self.kind = kind or _ENDINGS.get(os.path.splitext(name)[1], "txt")
        self._column = column
        self._raw = _stdin() if path == "-" else cast(BinaryIO, open(path, "rb"))  # noqa: SIM115
        self._size, self.blocks = _size_of(self._raw)
        self._is_read = False
        self._is_index = False  # of sitemaps
        self._file = self._raw
        if path.lower().endswith(".gz"):
            self._file = cast(BinaryIO, gzip.GzipFile(fileobj=self._raw))

    def close(self) -> None:
        """Close the file, unless somebody may be waiting for what it has."""
        if not (self.blocks and self._is_read):
            self._close()

    def _close(self) -> None:
        if self._raw is not sys.stdin.buffer:
            self._raw.close()

    @property
    def fraction(self) -> float | None:
        """How much of it has been read, where that can be known, and says how much is to do."""
        if not self._size or self._raw.closed or self._is_index:
            return None
        return min(1.0, self._raw.tell() / self._size)

    def __iter__(self) -> Iterator[Item]:
        """The items.

        Raises:
            ValueError: it is no such file at all: a CSV file without the column, no XML.
            OSError: it cannot be read.
        """
        readers = {"csv": self._rows, "sitemap": self._places}
        self._is_read = True
        try:
            yield from readers.get(self.kind, self._lines)()
        except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
            raise ValueError(f"the input is no whole gzip file: {exc}") from exc
        finally:
            if self.blocks:
                self._close()

    def _lines(self) -> Iterator[Item]:
        index = 0
        for raw in self._file:
            if not index and raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ValueError("the input is UTF-16; make it UTF-8")
            line = raw.decode("utf-8", _MARKED).strip("\ufeff \t\r\n")
            if not line or line.startswith("#"):
                continue
            if self.kind == "jsonl" or line.startswith("{"):
                yield _item_of_json(index, line)
            else:
                yield _item_of_url(index, line)
            index += 1

    def _rows(self) -> Iterator[Item]:
        text = io.TextIOWrapper(self._file, "utf-8-sig", _MARKED, newline="")
        try:
            rows = csv.DictReader(text)
            if self._column not in (rows.fieldnames or ()):
                found = ", ".join(map(repr, rows.fieldnames or ())) or "none"
                raise ValueError(f"there is no column {self._column!r}; the columns are {found}")
            yield from self._cells(rows)
        except csv.Error as exc:
            raise ValueError(f"that is no CSV: {exc}") from exc
        finally:
            text.detach()

    def _cells(self, rows: csv.DictReader[str]) -> Iterator[Item]:
        for number in count():
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as exc:
                yield Item(number, f"line {rows.line_num}", error=f"no CSV: {exc}")
            else:
                yield _item_of_url(number, (row[self._column] or "").strip())

    def _places(self) -> Iterator[Item]:
        for number, place in enumerate(places(self._file)):
            self._is_index = place.is_sitemap
            yield Item(number, place.url, is_sitemap=place.is_sitemap)


_MARKED = "surrogateescape"  # bytes that are no UTF-8 can be told, and shown


def _item_of_url(number: int, text: str) -> Item:
    if _is_marked(text):
        return Item(number, _shown(text), error="not UTF-8; percent-encode it")
    if len(text) > MAX_SHOWN:  # as a line of a file that is no list at all
        try:
            parse_url(text)
        except FastreqError as exc:
            return Item(number, _shown(text), error=str(exc))
    return Item(number, text)


def _is_marked(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= char <= "\udcff" for char in text)


def _shown(text: str) -> str:
    """What stands for the URL that a line does not have."""
    return text[:MAX_SHOWN].encode("utf-8", _MARKED).decode("utf-8", "backslashreplace")


def _stdin() -> BinaryIO:
    """Stdin, with a buffer of its own: Python cannot end while a thread reads from its own one."""
    try:
        number = sys.stdin.fileno()
    except (OSError, ValueError):  # none of the system's
        return cast(BinaryIO, sys.stdin.buffer)
    return open(number, "rb", closefd=False)


def _size_of(file: BinaryIO) -> tuple[int, bool]:
    """The bytes of a file, and whether to read it may take for ever: of all but plain files."""
    try:
        found = os.fstat(file.fileno())
    except (OSError, ValueError):
        return 0, True
    is_plain = stat.S_ISREG(found.st_mode)
    return (found.st_size, False) if is_plain else (0, True)


def _item_of_json(index: int, line: str) -> Item:
    def wrong(text: str) -> Item:
        return Item(index, _shown(line), error=text)

    if _is_marked(line):
        return wrong("not UTF-8")
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as exc:
        return wrong(f"no JSON: {exc}")
    if isinstance(given, str):
        return _item_of_url(index, given)
    if not isinstance(given, dict) or not isinstance(given.get("url"), str):
        return wrong('expected an object with "url"')
    if unknown := given.keys() - _KEYS:
        return wrong(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(sorted(_KEYS))}")
    method, headers, body = given.get("method") or "GET", given.get("headers"), given.get("body")
    if not isinstance(method, str):
        return wrong('"method" is a string')
    if headers is not None and not (
        isinstance(headers, dict) and all(isinstance(value, str) for value in headers.values())
    ):
        return wrong('"headers" is an object of strings')
    if body is not None and not isinstance(body, str):
        return wrong('"body" is a string')
    return Item(index, given["url"], method, headers, body)
