"""Prints, after the storms, what they came to."""

import pytest

from storms import storm


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not storm.FIGURES:
        return
    size = "full" if storm.FULL else "small"
    terminalreporter.section(f"storms: {size} x {storm.FACTOR:g}, seed {storm.SEED}")
    for name, figures in sorted(storm.FIGURES.items()):
        values = ", ".join(f"{value:,} {what.replace('_', ' ')}" for what, value in figures.items())
        terminalreporter.line(f"{name}: {values}")
