"""Tests of long tables, whose rows take microseconds each: a test of its own would cost a row
a hundred times that.

    @each_row(("text", "expected"), [("a", 1), ("b", 2)])
    def test_reading(text, expected): ...

is `pytest.mark.parametrize`, but for one test that goes through all rows. Every row that fails is
told, with what it failed by. Fixtures are made once for all rows.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Test = Callable[..., None]

SHOWN = 10
"""Rows that fail, and are told of in full."""


def each_row(
    names: str | Sequence[str], rows: Iterable[Any], ids: object = None
) -> Callable[[Test], Test]:
    """Call the test for each row; `ids`, as of `parametrize`, are of no use to it."""
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    table = [dict(zip(names, _values(row, len(names)), strict=True)) for row in rows]
    assert table, "a table without rows proves nothing"

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def run(**others: Any) -> None:
            failures = []
            for row in table:
                try:
                    test(**others, **row)
                except Exception as exc:
                    exc.add_note(f"in the row {row}")
                    failures.append(exc)
            if len(failures) == 1:
                raise failures[0]
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(table)} rows", failures[:SHOWN])

        wanted = inspect.signature(test).parameters.values()
        run.__signature__ = inspect.Signature([p for p in wanted if p.name not in names])  # type: ignore[attr-defined]
        return run

    return decorate


def _values(row: Any, count: int) -> Sequence[Any]:
    """The values of a row: of `pytest.param` too, and of a table with one column."""
    marks = getattr(row, "marks", ())
    assert not marks, "a row that is marked needs pytest.mark.parametrize"
    if hasattr(row, "marks"):
        return row.values
    return (row,) if count == 1 else row
