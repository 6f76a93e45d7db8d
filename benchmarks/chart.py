"""A chart as SVG, of nothing but strings: a panel per scenario, a row per client, a dot at the
median and a line from the least to the most, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from figures import Figure

COLUMNS = 3
WIDTH = 320  # of a panel
LEFT = 104  # of it, for names
RIGHT = 52  # of it, for figures
ROW = 17
TOP = 54  # of it, for title and scale
GAP = 22

STYLE = """
text { font: 11px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; fill: #111 }
.unit { fill: #666; font-size: 10px }
.grid { stroke: #ddd }
.range { stroke: #9aa5b1; stroke-width: 3; stroke-linecap: round }
.dot { fill: #5b6b7b }
.ours .range { stroke: #f0a58f } .ours .dot { fill: #d1401f } .ours text { fill: #b0310f }
.floor .dot { fill: none; stroke: #5b6b7b }
@media (prefers-color-scheme: dark) {
  text { fill: #ccc } .title { fill: #eee } .unit { fill: #999 } .grid { stroke: #444 }
  .ours text { fill: #ff9b80 }
}
"""


class Row(NamedTuple):
    """A client in a panel."""

    name: str
    figure: Figure
    kind: str = ""  # "ours", "floor"


class Panel(NamedTuple):
    """A scenario."""

    title: str
    unit: str
    rows: Sequence[Row]


def chart(panels: Sequence[Panel], title: str) -> str:
    """An SVG document."""
    heights = []  # of each line of panels
    for start in range(0, len(panels), COLUMNS):
        most = max(len(panel.rows) for panel in panels[start : start + COLUMNS])
        heights.append(TOP + most * ROW + GAP)
    width = COLUMNS * (WIDTH + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{sum(heights)}" '
        f'viewBox="0 0 {width} {sum(heights)}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
    ]
    for number, panel in enumerate(panels):
        line, column = divmod(number, COLUMNS)
        x, y = column * (WIDTH + GAP), sum(heights[:line])
        parts += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    low = 10 ** math.floor(math.log10(max(min(row.figure.low for row in panel.rows), 1e-3)))
    high = 10 ** math.ceil(math.log10(max(row.figure.high for row in panel.rows) * 1.0001))

    def place(value: float) -> float:
        share = math.log(max(value, low) / low) / math.log(high / low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    bottom = TOP + len(panel.rows) * ROW
    parts = [
        f'<text class="title" x="0" y="12">{escape(panel.title)}</text>',
        f'<text class="unit" x="0" y="26">{escape(panel.unit)}</text>',
    ]
    tick = low
    while tick <= high * 1.0001:
        x = place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{bottom}"/>')
        parts.append(
            f'<text class="unit" x="{x:.1f}" y="{TOP - 8}" text-anchor="middle">{tick:,.0f}</text>'
        )
        tick *= 10
    for number, row in enumerate(panel.rows):
        parts += _row(row, TOP + number * ROW + ROW / 2, place)
    return parts


def _row(row: Row, y: float, place: object) -> list[str]:
    assert callable(place)
    low, high, middle = (place(row.figure.low), place(row.figure.high), place(row.figure.median))
    value = row.figure.median
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
    return [
        f'<g class="{row.kind}">',
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>',
        f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<circle class="dot" cx="{middle:.1f}" cy="{y:.1f}" r="4"/>',
        f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}">{shown}</text>',
        "</g>",
    ]
