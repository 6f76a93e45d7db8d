"""docs/trust.md keeps its word: each test that it names is there, and no row is missing."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from tables import each_row

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "trust.md").read_text()
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| (?!---)", line)]
NAMED = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions)}


@each_row(("file", "name"), sorted(set(NAMED)))
def test_each_test_is_there(file, name):
    """Whoever renames one renames it in the table, too."""
    assert name in functions_of(file)


def test_each_row_has_a_test_or_a_reason():
    """Some of them cannot be tested, or say nothing about a client like this one."""
    for row in ROWS:
        if not row.startswith(("| flaw |", "| # |", "| storm |")):
            assert "::test_" in row or "Not applicable: " in row, row


def test_no_requirement_is_missing():
    """All of 1 to 90, in this order."""
    numbers = [int(match[1]) for row in ROWS if (match := re.match(r"\| (\d+) \|", row))]
    assert list(range(1, 91)) == numbers


@pytest.mark.parametrize(
    ("section", "count"), [("1a", 14), ("1b", 20), ("1c", 13), ("1d", 19), ("1e", 24)]
)
def test_no_flaw_is_missing(section, count):
    """As many as the catalogue of advisories has."""
    text = PAGE.partition(f"## {section}. ")[2].partition("\n## ")[0]
    assert count == len(re.findall(r"^\| (?!---|flaw)", text, re.M))
