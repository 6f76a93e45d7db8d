"""Prints, after the storms, what they came to: those of the workers of pytest-xdist, too."""

from typing import Any

import pytest

from storms import storm

HANDED = "storms"  # what a worker hands over is called


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands its figures to whoever prints them."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[HANDED] = storm.hand_over()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take them; a worker that crashed has none."""
    handed = getattr(node, "workeroutput", {}).get(HANDED)
    if handed is not None:
        storm.take_over(handed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not storm.FIGURES:
        return
    size = "full" if storm.FULL else "small"
    terminalreporter.section(f"storms: {size} x {storm.FACTOR:g}, seed {storm.SEED}")
    for name, figures in sorted(storm.FIGURES.items()):
        values = ", ".join(f"{value:,} {what.replace('_', ' ')}" for what, value in figures.items())
        terminalreporter.line(f"{name}: {values}")
    terminalreporter.section("what fastreq promises")
    for promise in storm.PROMISES:
        terminalreporter.line(promise.line())
