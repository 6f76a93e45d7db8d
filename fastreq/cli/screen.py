"""Lines and tables on stdout: by rich where it is installed and a terminal looks, else plain."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, TextIO

Part = str | tuple[str, str]  # a text, or a text and its style, as rich names styles


class Screen:
    """What a command prints on. Without rich there are no styles; with NO_COLOR, no colours."""

    def __init__(self) -> None:
        self._rich = _rich_console()  # None: plain text

    def line(self, *parts: Part) -> None:
        """Print a line, put together from texts."""
        texts = [(part, "") if isinstance(part, str) else part for part in parts]
        if self._rich is None:
            print("".join(text for text, _ in texts).rstrip(), flush=True)
        else:
            text = import_module("rich.text").Text.assemble(*texts)
            self._rich.print(text, soft_wrap=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; the first column is of names, the others are of numbers."""
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        rule = ("  " + "  ".join("─" * width for width in widths), "dim")
        self.line(*_cells(header, widths, "bold", "dim"))
        self.line(rule if is_drawable("─", sys.stdout) else (rule[0].replace("─", "-"), ""))
        for row in rows:
            self.line(*_cells(row, widths, "bold", ""))


def _cells(
    row: Sequence[str], widths: Sequence[int], first_style: str, style: str
) -> list[tuple[str, str]]:
    first = [(f"  {row[0]:{widths[0]}}", first_style)]
    return first + [
        (f"  {text:>{width}}", style) for text, width in zip(row[1:], widths[1:], strict=True)
    ]


def is_drawable(text: str, out: TextIO) -> bool:
    """Whether this can be written there."""
    try:
        text.encode(out.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _rich_console() -> Any:
    """rich's console, where it is installed and a terminal looks."""
    if not sys.stdout.isatty():
        return None
    try:
        return import_module("rich.console").Console(highlight=False)
    except ImportError:
        return None
