"""Charts as SVG, of nothing but strings: panels side by side, each with its scale, without I/O.

    chart([Histogram("Latency", "ms", ...), Curve("Percentiles", "ms", ...)], "GET /", "50 % ...")

A chart brings its own background, light or dark as its reader likes it, has no script, and tells
its title and its description to those who cannot see it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol
from xml.sax.saxutils import escape

Weighted = Sequence[tuple[float, int]]
"""Values in ascending order, each with how often it was there."""

GAP = 24  # between panels, and around them
TOP = 54  # of a panel, for its title and its scale
NAMES = 104  # of a panel with a row for each name, left of the rows
FIGURES = 56  # of it, right of the rows
ROW = 17  # its height
PLOT = 190  # the height of a panel with two scales, without TOP
AXIS = 44  # of it, left, for figures
BARS = 48  # of a histogram
KINDS = ("ours", "second", "third", "fourth")
"""How series are drawn, one after the other."""

_SHAPES = """
text { font: 11px system-ui, sans-serif } .title { font-weight: 600 } .head { font-size: 14px }
.unit { font-size: 10px } .line { fill: none; stroke-width: 2 }
.range { stroke-width: 3; stroke-linecap: round } .ours .range { opacity: .5 }
.second .line { stroke-dasharray: 7 3 } .third .line { stroke-dasharray: 2 3 }
.fourth .line { stroke-dasharray: 9 3 2 3 }
"""

# Written out in full for light and dark, since many who draw SVG know no variables.
_COLOURS = """
.back { fill: %(back)s } .grid { stroke: %(grid)s } text { fill: %(ink)s }
.title { fill: %(strong)s } .unit { fill: %(weak)s } .range { stroke: %(range)s }
.dot, .bar { fill: %(other)s } .line { stroke: %(other)s }
.ours .dot, .ours .bar, .ours text { fill: %(a)s } .ours .line, .ours .range { stroke: %(a)s }
.second .bar, .second text { fill: %(b)s } .second .line { stroke: %(b)s }
.third .bar, .third text { fill: %(c)s } .third .line { stroke: %(c)s }
.fourth .bar, .fourth text { fill: %(d)s } .fourth .line { stroke: %(d)s }
.floor .dot { fill: none; stroke: %(other)s }
"""
_INKS = {  # light, dark
    "back": ("#fff", "#16191d"),
    "strong": ("#111", "#eee"),
    "ink": ("#333", "#ccc"),
    "weak": ("#666", "#999"),
    "grid": ("#ddd", "#3d4248"),
    "range": ("#9aa5b1", "#5d6873"),
    "other": ("#5b6b7b", "#a3b1bf"),
    "a": ("#c43a1a", "#ff8a6b"),
    "b": ("#2b6ea8", "#7db7e8"),
    "c": ("#5f6e14", "#b9cc66"),
    "d": ("#7a4fa8", "#c4a2ec"),
}
_LIGHT, _DARK = ({name: both[which] for name, both in _INKS.items()} for which in (0, 1))
STYLE = f"{_SHAPES}{_COLOURS % _LIGHT}@media (prefers-color-scheme: dark) {{{_COLOURS % _DARK}}}\n"

# What XML 1.0 cannot hold, however it is written (its section 2.2).
_NO_TEXT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Panel(Protocol):
    """A part of a chart; it draws itself from (0, 0) to (width, height)."""

    @property
    def width(self) -> float: ...
    @property
    def height(self) -> float: ...
    def draw(self) -> list[str]: ...


def chart(panels: Sequence[Panel], title: str, description: str = "", *, columns: int = 2) -> str:
    """An SVG document: panels in lines of so many, under a title.

    Args:
        panels: what is drawn.
        title: what it is about; shown above, as much as there is room for, and read out.
        description: what there is to see, for those who cannot; not shown.
        columns: panels beside each other, at most.
    """
    lines = [panels[at : at + columns] for at in range(0, len(panels), columns)]
    width = GAP + max((sum(panel.width + GAP for panel in line) for line in lines), default=GAP)
    parts, y = [], GAP + 26.0
    for line in lines:
        x = float(GAP)
        for panel in line:
            parts += [f'<g transform="translate({x:g} {y:g})">', *panel.draw(), "</g>"]
            x += panel.width + GAP
        y += max(panel.height for panel in line) + GAP
    room = int(width / 8)  # characters, of this size
    shown = title if len(title) <= room else f"{title[: room - 1]}…"
    start = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{y:g}" '
        f'viewBox="0 0 {width:g} {y:g}" role="img" aria-labelledby="title desc">',
        f'<title id="title">{text(title)}</title>',
        f'<desc id="desc">{text(description or title)}</desc>',
        f"<style>{STYLE}</style>",
        '<rect class="back" width="100%" height="100%" rx="6"/>',
        f'<text class="title head" x="{GAP}" y="{GAP + 6}">{text(shown)}</text>',
    ]
    return "\n".join([*start, *parts, "</svg>", ""])


def text(shown: str) -> str:
    """A text as it is written in SVG, whatever is in it."""
    return escape(_NO_TEXT.sub("\ufffd", shown))


# ---- a row for each name


class Dot(NamedTuple):
    """A value, and how far those were apart that it is the middle of."""

    name: str
    low: float
    middle: float
    high: float
    kind: str = ""  # "ours", "floor"


class Dots(NamedTuple):
    """A dot in each row, and a line from the least to the most, on a logarithmic scale."""

    title: str
    unit: str
    rows: Sequence[Dot]
    width: float = 320

    @property
    def height(self) -> float:
        return TOP + len(self.rows) * ROW

    def draw(self) -> list[str]:
        low = 10.0 ** math.floor(math.log10(max(min(row.low for row in self.rows), 1e-3)))
        high = 10.0 ** math.ceil(math.log10(max(row.high for row in self.rows) * 1.0001))
        place = logarithmic(low, high, NAMES, self.width - FIGURES)
        parts = _heading(self.title, self.unit)
        for tick in _powers(low, high):
            parts += _vertical(place(tick), TOP - 4, self.height)
            parts.append(_figure(place(tick), TOP - 8, figure(tick), "middle"))
        for number, row in enumerate(self.rows):
            y = TOP + number * ROW + ROW / 2
            x, left, right = place(row.middle), place(row.low), place(row.high)
            drawn = (
                f'<line class="range" x1="{left:.1f}" x2="{right:.1f}" y1="{y:g}" y2="{y:g}"/>'
                f'<circle class="dot" cx="{x:.1f}" cy="{y:g}" r="4"/>'
            )
            parts += _row(row.name, row.middle, row.kind, y, self.width, drawn)
        return parts


class Length(NamedTuple):
    """A value that is a bar."""

    name: str
    value: float
    kind: str = ""


class Lengths(NamedTuple):
    """A bar in each row, from 0 on."""

    title: str
    unit: str
    rows: Sequence[Length]
    width: float = 400

    @property
    def height(self) -> float:
        return TOP - 16 + len(self.rows) * ROW

    def draw(self) -> list[str]:
        most = max((row.value for row in self.rows), default=0) or 1
        parts = _heading(self.title, self.unit)
        for number, row in enumerate(self.rows):
            y = TOP - 16 + number * ROW + ROW / 2
            length = (self.width - NAMES - FIGURES) * row.value / most
            bar = _bar(NAMES, y - ROW / 2 + 3, length, ROW - 6)
            parts += _row(row.name, row.value, row.kind, y, self.width, bar)
        return parts


def _row(name: str, value: float, kind: str, y: float, width: float, drawn: str) -> list[str]:
    return [
        f'<g class="{kind}">',
        f'<text x="{NAMES - 8}" y="{y + 4:g}" text-anchor="end">{text(name)}</text>',
        drawn,
        f'<text x="{width - FIGURES + 8:g}" y="{y + 4:g}">{figure(value)}</text>',
        "</g>",
    ]


# ---- two scales


class Histogram(NamedTuple):
    """How many values there are of each size; sizes on a logarithmic scale, up to the last one.

    `low` and `high` make it comparable with another.
    """

    title: str
    unit: str
    values: Weighted
    low: float
    high: float
    kind: str = "ours"
    width: float = 400
    height: float = TOP + PLOT

    def draw(self) -> list[str]:
        low, high = _apart(self.low, self.high)
        bottom = self.height - 18
        place = logarithmic(low, high, AXIS, self.width)
        counts = [0] * BARS
        wide = (self.width - AXIS) / BARS
        for value, count in self.values:
            counts[min(int((place(value) - AXIS) / wide), BARS - 1)] += count
        most = max(max(counts), 1)
        rise = (bottom - TOP) / most
        parts = _heading(self.title, self.unit)
        for tick in _round_ticks(most):
            parts += _horizontal(bottom - tick * rise, AXIS, self.width)
            parts.append(_figure(AXIS - 6, bottom - tick * rise + 4, figure(tick), "end"))
        parts += _figures_below(place, low, high, bottom)
        parts.append(f'<g class="{self.kind}">')
        for number, count in enumerate(counts):
            if count:  # one of a million is to be seen too
                tall = max(count * rise, 1.5)
                parts.append(_bar(AXIS + number * wide + 0.5, bottom - tall, wide - 1, tall))
        return [*parts, "</g>"]


class Series(NamedTuple):
    """A line of a curve."""

    name: str
    values: Weighted
    kind: str


class Curve(NamedTuple):
    """What part of the values is no larger: from the least to the most, each nine as wide as the
    one before, so that the slowest of a thousand has its place."""

    title: str
    unit: str
    series: Sequence[Series]
    width: float = 400
    height: float = TOP + PLOT

    def draw(self) -> list[str]:
        drawn = [each for each in self.series if each.values]
        if not drawn:
            return _heading(self.title, self.unit)
        low, high = _apart(
            min(each.values[0][0] for each in drawn), max(each.values[-1][0] for each in drawn)
        )
        bottom = self.height - 18
        up = logarithmic(low, high, bottom, TOP)
        most = max(sum(count for _, count in each.values) for each in drawn)
        nines = max(math.ceil(math.log10(most)), 1)  # of the last value
        wide = (self.width - AXIS - 8) / nines

        def along(part: float) -> float:
            """Where a part is; the last value is as far as all the nines."""
            return AXIS + wide * min(-math.log10(max(1 - part, 1e-12)), nines)

        parts = _heading(self.title, self.unit)
        for tick in _round_steps(low, high):
            parts += _horizontal(up(tick), AXIS, self.width)
            parts.append(_figure(AXIS - 6, up(tick) + 4, figure(tick), "end"))
        middle = (0.5,) if wide > 80 else ()  # it has no room beside 0 then
        for part in (0.0, *middle, *(1 - 0.1**nine for nine in range(1, min(nines, 6) + 1))):
            if part <= 1 - 0.1**nines:
                parts += _vertical(along(part), TOP, bottom)
                parts.append(_figure(along(part), bottom + 14, f"{part * 100:.6g} %", "middle"))
        for number, each in enumerate(drawn):
            parts += [f'<g class="{each.kind}">', *_line(each, along, up), "</g>"]
            if len(drawn) > 1:
                parts += _legend(each, AXIS + number * (self.width - AXIS) / len(drawn))
        return parts


def _line(
    series: Series, along: Callable[[float], float], up: Callable[[float], float]
) -> list[str]:
    sums = list(accumulate(count for _, count in series.values))
    points: list[str] = []
    last_x = -1.0
    before = 0
    for (value, _), upto in zip(series.values, sums, strict=True):
        x = along(before / sums[-1])
        if x - last_x >= 0.5 or upto == sums[-1]:  # more could not be seen
            points.append(f"{x:.1f},{up(value):.1f}")
            last_x = x
        before = upto
    points.append(f"{along(1):.1f},{up(series.values[-1][0]):.1f}")
    return [f'<polyline class="line" points="{" ".join(points)}"/>']


def _legend(series: Series, x: float) -> list[str]:
    return [
        f'<g class="{series.kind}">'
        f'<line class="line" x1="{x:.1f}" x2="{x + 22:.1f}" y1="39" y2="39"/>'
        f'<text x="{x + 28:.1f}" y="43">{text(series.name)}</text></g>'
    ]


# ---- scales and their figures


def logarithmic(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value is drawn: `low` at `start`, `high` at `end`, what is beyond them there too."""
    height = math.log(high / low)

    def place(value: float) -> float:
        return start + (end - start) * math.log(min(max(value, low), high) / low) / height

    return place


def figure(value: float) -> str:
    """A number of three digits or more, for people."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _apart(low: float, high: float) -> tuple[float, float]:
    """Two ends of a scale, never the same, nor 0."""
    low = max(low, 1e-6)
    return (low, high) if high > low * 1.05 else (low / 1.5, low * 1.5)


def _powers(low: float, high: float) -> Iterable[float]:
    tick = low
    while tick <= high * 1.0001:
        yield tick
        tick *= 10


def _round_steps(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic scale: 1, 10, 100, and those between where there is room."""
    digits = (1,) if high / low > 3000 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [digit * 10.0**power for power in powers for digit in digits]
    steps = [step for step in steps if low <= step <= high]
    return steps if len(steps) > 1 else [low, high]


def _round_ticks(most: float) -> list[float]:
    """0, and up to five round numbers."""
    power = 10.0 ** math.floor(math.log10(most))
    step = next(power * part for part in (0.2, 0.5, 1, 2) if most / (power * part) <= 5)
    step = max(step, 1)
    return [step * number for number in range(int(most / step) + 1)]


def _figures_below(
    place: Callable[[float], float], low: float, high: float, bottom: float
) -> list[str]:
    return [
        _figure(place(tick), bottom + 14, figure(tick), "middle")
        for tick in _round_steps(low, high)
    ]


def _heading(title: str, unit: str) -> list[str]:
    return [
        f'<text class="title" x="0" y="12">{text(title)}</text>',
        f'<text class="unit" x="0" y="26">{text(unit)}</text>',
    ]


def _figure(x: float, y: float, shown: str, anchor: str) -> str:
    return f'<text class="unit" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{shown}</text>'


def _vertical(x: float, y1: float, y2: float) -> list[str]:
    return [f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{y1:g}" y2="{y2:g}"/>']


def _horizontal(y: float, x1: float, x2: float) -> list[str]:
    return [f'<line class="grid" x1="{x1:g}" x2="{x2:g}" y1="{y:.1f}" y2="{y:.1f}"/>']


def _bar(x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
