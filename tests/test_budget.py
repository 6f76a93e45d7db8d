"""What a request takes is counted, and stays within what benchmarks/budget.json allows.

More calls, memory or system calls than are written there fail `test_budget`; so do fewer calls,
until `python benchmarks/guard.py --write` has written them down.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

GUARD = Path(__file__).parent.parent / "benchmarks" / "guard.py"


def guard(*arguments: str) -> tuple[int, str]:
    """The exit code of the guard, and what it says."""
    ended = subprocess.run(
        [sys.executable, GUARD, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_budget() -> None:
    """A request takes what is written down."""
    code, said = guard()

    assert 0 == code, said


def test_one_call_more(tmp_path: Path) -> None:
    """One more function call for each request is found out, on both loops; so is one less."""
    file = tmp_path / "budget.json"
    options = "--no-strace", f"--budget={file}"
    assert 0 == guard("--write", *options)[0]

    code, said = guard("--dearer", *options)
    assert 1 == code
    assert 4 == len(re.findall("calls per request: .* a request has become dearer", said)), said

    (found,) = json.loads(file.read_text()).values()
    budget = {what: counts | {"calls": counts["calls"] + 1} for what, counts in found.items()}
    complaints = runpy.run_path(str(GUARD))["complaints"]
    said = "\n".join(complaints(found, budget, True))
    assert 4 == len(re.findall("calls per request: .* cheaper, which is good", said)), said
