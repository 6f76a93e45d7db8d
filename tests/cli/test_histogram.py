"""Bars and numbers for people."""

import pytest

from fastreq.bulk.progress import size_shown
from fastreq.cli.arguments import size
from fastreq.cli.histogram import MOST_ROWS, bar, percentile, rows_of


def test_rows():
    """The edges are round, and no value is lost."""
    rows = rows_of([[0.4, 5.0, 10.9], [1.0, 1.9]])

    assert list(range(12)) == [row.low for row in rows]
    assert [(0, (1, 0)), (1, (0, 2)), (5, (1, 0)), (10, (1, 0))] == [
        row for row in rows if any(row.counts)
    ]


@pytest.mark.parametrize("high", [0.0, 0.0004, 0.3, 1, 9.99, 10, 11, 1234.5])
def test_every_value_has_its_row(high):
    values = [high * part / 999 for part in range(1000)]
    rows = rows_of([values, values[:500]])

    assert (1000, 500) == tuple(map(sum, zip(*(row.counts for row in rows), strict=True)))
    assert len(rows) <= MOST_ROWS + 1


def test_far_values_are_in_the_last_row():
    rows = rows_of([[1.0] * 99 + [1000.0]])

    assert len(rows) <= MOST_ROWS + 1
    assert (1,) == rows[-1].counts


def test_percentile():
    assert 50 == percentile(range(1, 101), 0.5)
    assert 99 == percentile(range(1, 101), 0.99)
    assert 7 == percentile([7], 0.99)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, ""), (1, "▏"), (100, "█" * 10), (50, "█" * 5), (55, "█" * 5 + "▌")]
)
def test_bar(value, shown):
    """Whatever is not 0 can be seen."""
    assert shown == bar(value, 100, 10)


def test_ascii_bar():
    assert ["", "#", "#####"] == [bar(value, 100, 10, ascii_only=True) for value in (0, 1, 50)]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 bytes"), (0.5, "0.5 bytes"), (1023, "1,023 bytes"), (2**10, "1 KiB"),
        (2**28, "256 MiB"), (1000 * 2**20, "1,000 MiB"), (2**30, "1 GiB"), (2**50, "1,048,576 GiB"),
    ],
)  # fmt: skip
def test_size_shown(number, shown):
    assert shown == size_shown(number)


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("1000", 1000), ("64k", 2**16), ("256M", 2**28), ("1G", 2**30)]
)
def test_size(text, number):
    assert number == size(text)


@pytest.mark.parametrize("text", ["", "M", "-1", "1P", "1.5G", "many"])
def test_no_size(text):
    with pytest.raises(ValueError):  # noqa: PT011 (argparse words it)
        size(text)
