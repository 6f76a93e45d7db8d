"""A histogram in characters: columns of bars over one axis, without I/O."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

MOST_ROWS = 12
BAR_WIDTH = 24
EIGHTHS = " ▏▎▍▌▋▊▉█"


class Row(NamedTuple):
    """The values from `low` on, up to those of the next row."""

    low: float
    counts: tuple[int, ...]  # per column


def rows_of(columns: Sequence[Sequence[float]]) -> list[Row]:
    """Sort values into rows of one height, a round number, up to the 95th percentile.

    What is above, such as requests that opened their connection, is in the last row.
    """
    return weighted_rows([[(value, 1) for value in sorted(column)] for column in columns])


def weighted_rows(columns: Sequence[Sequence[tuple[float, int]]]) -> list[Row]:
    """The same of values in ascending order, each with how often it was there."""
    high = max(_weighted_percentile(column, 0.95) for column in columns)
    step = _round_step(high / (MOST_ROWS - 1))
    edges = [step * number for number in range(math.floor(high / step) + 2)]
    counts = [[0] * len(edges) for _ in columns]
    for column, values in zip(counts, columns, strict=True):
        for value, count in values:
            column[bisect_right(edges, value) - 1] += count
    return [Row(low, each) for low, each in zip(edges, zip(*counts, strict=True), strict=True)]


def lines_of(
    names: Sequence[str],
    columns: Sequence[Sequence[tuple[float, int]]],
    *,
    ascii_only: bool = False,
) -> Iterator[list[tuple[str, str]]]:
    """A histogram of milliseconds, line by line, as `Screen.line` takes them: a column of bars for
    each name. Values are in ascending order, each with how often it was there."""
    rows = weighted_rows(columns)
    most = max(max(row.counts) for row in rows)
    yield [(f"  {'latency':>10}    " + "".join(f"{name:{BAR_WIDTH + 8}}" for name in names), "dim")]
    for row in rows:
        parts = [(f"  {row.low:7g} ms {'+' if row is rows[-1] else ' '}  ", "dim")]
        for count in row.counts:
            drawn = bar(count, most, BAR_WIDTH, ascii_only=ascii_only)
            parts += [(drawn, "cyan"), (f" {count or '':<{BAR_WIDTH + 7 - len(drawn)}}", "dim")]
        yield parts


def percentile(ordered: Sequence[float], part: float) -> float:
    """The value that `part` of the ordered values do not exceed (nearest rank)."""
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)]


def _weighted_percentile(values: Sequence[tuple[float, int]], part: float) -> float:
    rank = max(math.ceil(part * sum(count for _, count in values)), 1)
    sums = list(accumulate(count for _, count in values))
    return values[bisect_left(sums, rank)][0]


def bar(value: float, most: float, width: int, *, ascii_only: bool = False) -> str:
    """A bar, `width` characters long if `value` is `most`; never empty unless `value` is 0."""
    if not value:
        return ""
    if ascii_only:
        return "#" * max(round(value / most * width), 1)
    eighths = max(round(value / most * width * 8), 1)
    return EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, 20 ... (or 0.1, 0.2, 0.5 ...)."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-3)))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least)
