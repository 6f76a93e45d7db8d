"""Runs a piece of code in an interpreter of its own: with limits, flags, or an end of its own."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from programs import UNHURRIED

ROOT = Path(__file__).parents[2]

PRELUDE = """
import asyncio, gc, os, resource, sys
import fastreq
from fastreq import Client, FastreqError, Limits, Timeout
from fastreq.loop import run
from servers.scripted import reply, scripted, serving
"""


def child(
    code: str, *flags: str, seconds: float = 60, under: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `code`, with the usual names at hand, and see how it ends; under another command, too."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.run(
        [*under, sys.executable, *flags, "-c", UNHURRIED + PRELUDE + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a child that went well has printed."""
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout.splitlines()
