"""How arguments are read: a parser whose complaints are one line, and the types of values."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

from fastreq.cli.exits import USAGE

_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Parser(argparse.ArgumentParser):
    """The parser of a command."""

    def __init__(self, command: str = "", **options: Any) -> None:
        super().__init__(f"fastreq {command}".rstrip(), allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"fastreq: {message}; see `{self.prog} --help`\n")


def seconds(text: str) -> float:
    """A time above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def duration(text: str) -> float:
    """A time above 0, such as 10, 10s, 500ms, 5m or 1h, in seconds."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = _SECONDS.get(text[len(number) :])
    if unit is None:
        raise ValueError
    return seconds(number) * unit


def rate(text: str) -> float:
    """Per second, such as 5 or 5/s."""
    return seconds(text.removesuffix("/s"))


def count(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def size(text: str) -> int:
    """Bytes, such as 1000000, 64K, 256M or 2G."""
    unit = _UNITS.get(text[-1:].lower())
    value = int(text[:-1]) * unit if unit else int(text)
    if value < 0:
        raise ValueError
    return value


def field(text: str) -> tuple[str, str]:
    """A header field: `Name: value`."""
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is no field; write 'Name: value'")
    return name.strip(), value.strip()


def content(text: str) -> bytes:
    """The bytes of an argument, of the file that it names as `@FILE`, or of stdin, as `@-`."""
    if not text.startswith("@"):
        return os.fsencode(text)
    if text == "@-":
        return sys.stdin.buffer.read()
    try:
        with open(text[1:], "rb") as file:
            return file.read()
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"cannot read {text[1:]!r}: {exc.strerror}") from exc


def existing(text: str) -> str:
    """The path of something that is there."""
    if not os.path.exists(text):
        raise argparse.ArgumentTypeError(f"there is no {text!r}")
    return text
