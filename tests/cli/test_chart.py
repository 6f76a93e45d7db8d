"""Charts are well-formed SVG, whatever they are made of, and say what they show."""

import math
import re
from xml.etree import ElementTree

import pytest

from fastreq.cli.chart import (
    Curve,
    Dot,
    Dots,
    Histogram,
    Length,
    Lengths,
    Series,
    chart,
    figure,
    logarithmic,
)

SVG = "{http://www.w3.org/2000/svg}"
VALUES = [(0.5, 10), (1.0, 900), (2.0, 80), (40.0, 9), (900.0, 1)]


def drawn(*panels, title="A title", description="What there is to see", **options):
    root = ElementTree.fromstring(chart(panels, title, description, **options))
    assert f"{SVG}svg" == root.tag
    return root


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def numbers(root):
    """Every number that places something."""
    for element in root.iter():
        for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "points"):
            yield from map(float, re.findall(r"-?[\d.]+(?!%)\b", element.get(name, "")))


ALL = [
    Histogram("Latency", "ms", VALUES, 0.5, 900.0),
    Curve("Percentiles", "ms", [Series("one", VALUES, "ours"), Series("two", VALUES, "second")]),
    Dots("JSON", "µs", [Dot("fastreq", 9, 10, 12, "ours"), Dot("other", 50, 60, 900)]),
    Lengths("Requests", "per second", [Length("fastreq", 21234.0, "ours"), Length("none", 0.0)]),
]


def test_who_cannot_see_it_is_told():
    """A role, a title first, a description."""
    root = drawn(*ALL)

    assert ("img", "title desc") == (root.get("role"), root.get("aria-labelledby"))
    assert [("title", "A title"), ("desc", "What there is to see")] == [
        (element.get("id"), element.text) for element in list(root)[:2]
    ]


def test_readable_on_light_and_dark():
    """It has its own background, and another one where dark is asked for."""
    root = drawn(*ALL)
    style = root.find(f"{SVG}style").text
    light, dark = style.split("@media (prefers-color-scheme: dark)")

    assert "back" == root.find(f"{SVG}rect").get("class")
    for rule in (r"\.back \{ fill: (\S+)", r"text \{ fill: (\S+)", r"\.ours \.bar.* fill: (\S+)"):
        assert re.search(rule, light)[1] != re.search(rule, dark)[1]


def test_nothing_runs():
    root = drawn(*ALL, title="<script>alert(1)</script>")

    assert {"svg", "title", "desc", "style", "rect", "text", "g", "line", "polyline", "circle"} == {
        element.tag.removeprefix(SVG) for element in root.iter()
    }


@pytest.mark.parametrize("said", ["<&>\"'", "]]>", "\x00\x1b[31m\ud800\uffff", "日本 🎈"])
def test_texts_of_all_kinds(said):
    """What XML cannot hold is replaced, the rest is escaped."""
    shown = re.sub("[\x00\x1b\ud800\uffff]", "\ufffd", said)
    root = drawn(Lengths(said, said, [Length(said, 1.0)]), title=said, description=said)

    assert [shown] * 4 == [text for text in texts(root) if text == shown]
    assert shown == root.find(f"{SVG}desc").text


@pytest.mark.parametrize(
    "values",
    [[], [(3.0, 1)], [(0.0, 5)], [(1e-9, 1), (1e6, 1)], [(2.0, 10**9), (2.01, 1)]],
    ids=["none", "one", "zero", "far", "many"],
)
def test_values_of_all_kinds(values):
    """No division by zero, no infinity, and nothing outside of the picture."""
    ends = (values[0][0], values[-1][0]) if values else (1.0, 1.0)
    root = drawn(Histogram("", "", values, *ends), Curve("", "", [Series("", values, "ours")]))

    assert all(math.isfinite(number) for number in numbers(root))
    assert -1 <= min(numbers(root)) <= max(numbers(root)) <= float(root.get("width"))


def test_histogram():
    """A bar is as high as its count, beside the most; one of a thousand can be seen."""
    root = drawn(Histogram("", "", VALUES, 0.5, 900.0))
    heights = [float(bar.get("height")) for bar in root.findall(f".//{SVG}g/{SVG}rect")]

    assert 5 == len(heights)
    assert heights[1] == max(heights)
    assert pytest.approx(900 / 80, 0.01) == heights[1] / heights[2]
    assert heights[4] >= 1


def test_curve():
    """It rises to the largest, and has a place for each nine."""
    root = drawn(Curve("", "", [Series("", VALUES, "ours")]))
    points = root.find(f".//{SVG}polyline").get("points").split()
    places = [tuple(map(float, point.split(","))) for point in points]

    assert sorted(places, key=lambda place: (place[0], -place[1])) == places
    assert {"0 %", "50 %", "90 %", "99 %", "99.9 %"} == {
        said for said in texts(root) if "%" in (said or "")
    }


def test_logarithmic():
    place = logarithmic(1, 100, 50, 250)

    assert (50, 150, 250) == (place(1), place(10), place(100))
    assert (50, 250) == (place(0.001), place(1e9))


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (0.05, "0.05"), (9.99, "9.99"), (99.96, "100"), (12345, "12,345")],
)
def test_figure(number, shown):
    assert shown == figure(number)


def test_long_title():
    """It is shown as far as there is room, and read out in full."""
    root = drawn(*ALL, title="x" * 500)

    assert "x" * 500 == root.find(f"{SVG}title").text
    shown = texts(root)[0]
    assert shown.endswith("x…")
    assert len(shown) * 7 < float(root.get("width"))


def test_lines_of_panels():
    """So many beside each other, then a new line."""
    places = [group.get("transform") for group in drawn(*ALL[:3]).findall(f"{SVG}g")]

    xs, ys = zip(*(re.findall(r"[\d.]+", place) for place in places), strict=True)
    assert (xs[0], ys[0]) == (xs[2], ys[1])
    assert float(ys[2]) > float(ys[0])
