"""Runs the targets under atheris, in turns that can be gone on with (TRUST, C13).

    python fuzz/fuzz.py                       30 seconds of each, as many at once as there are cores
    python fuzz/fuzz.py all 600 corpora       ten minutes; what was found is kept in that folder,
                                              and the next turn goes on from there, by another seed
    python fuzz/fuzz.py head 60 corpora -max_len=100      one; what has a dash is for libFuzzer

Without a folder the corpora are new ones, begun with the seeds. `runs.json` in the folder, which
is for one such call at a time, has what was run so far. What made a target fail is printed, and in
such a folder kept beside its corpus; the exit code is 1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from time import process_time
from typing import NamedTuple

SEED = 7  # of the first turn; each has the next
LONGEST = 1.0  # seconds of CPU for one input
HANG = 30  # seconds by the clock on the wall, and a machine may be busy elsewhere
USUAL_FLAGS = [f"-timeout={HANG}", "-max_len=512", "-print_final_stats=1"]
FUZZER = "--under-atheris"  # how a turn is told that it is the process of its own
TAIL = 4000  # characters of what a failed turn has printed


class Turn(NamedTuple):
    """Some time of one target."""

    target: str
    seed: int
    runs: int
    error: str  # "": it did not fail


def main() -> None:
    if sys.argv[1:2] == [FUZZER]:
        fuzz(sys.argv[2], sys.argv[3:])
        return
    given = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    flags = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    name = given[0] if given else "all"
    seconds = given[1] if len(given) > 1 else "30"
    with tempfile.TemporaryDirectory(prefix="fastreq-fuzz-") as temporary:
        folder = Path(given[2] if len(given) > 2 else temporary)
        failed = run(chosen(name), [f"-max_total_time={seconds}", *flags], folder)
    sys.exit(int(failed))


def chosen(name: str) -> list[str]:
    """The targets of this name, or all."""
    from targets import TARGETS

    if name not in ("all", *TARGETS):
        sys.exit(f"no target is called {name}; there are {', '.join(TARGETS)}, and all")
    return list(TARGETS) if name == "all" else [name]


def run(targets: list[str], flags: list[str], folder: Path) -> bool:
    """A turn of each; gives whether one has failed."""
    failed = False
    for turn in turns(targets, flags, folder):
        total = add(folder / "runs.json", turn)
        print(f"{turn.target}: {turn.runs:,} runs, seed {turn.seed}; {total:,} in all", flush=True)
        if turn.error:
            failed = True
            print(turn.error, flush=True)
    return failed


def turns(targets: list[str], flags: list[str], folder: Path) -> Iterator[Turn]:
    """The turns, as they end."""
    done = tally(folder / "runs.json")
    with ThreadPoolExecutor(os.cpu_count()) as crew:
        jobs = [
            crew.submit(take, target, SEED + len(done.get(target, [])), flags, folder)
            for target in targets
        ]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:  # Ctrl-C has ended those that run
            crew.shutdown(wait=False, cancel_futures=True)


def take(target: str, seed: int, flags: list[str], folder: Path) -> Turn:
    """One turn, in a process of its own."""
    corpus = folder / target
    corpus.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, FUZZER, target, f"-seed={seed}", *USUAL_FLAGS]
    command += [f"-artifact_prefix={corpus}-", *flags, str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    runs = re.search(r"number_of_executed_units: *([0-9]+)", done.stderr)
    error = ""
    if done.returncode or runs is None:
        # atheris prints the exception to stdout, libFuzzer what it was given to stderr.
        error = f"{done.stdout[-TAIL:]}{done.stderr[-TAIL:]}exit code {done.returncode}"
    return Turn(target, seed, int(runs[1]) if runs else 0, error)


def tally(file: Path) -> dict[str, list[int]]:
    """How many runs each turn of each target had so far."""
    return json.loads(file.read_text()) if file.exists() else {}


def add(file: Path, turn: Turn) -> int:
    """Count a turn; gives the runs of its target in all."""
    done = tally(file)
    done.setdefault(turn.target, []).append(turn.runs)
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(done))
    temporary.replace(file)
    return sum(done[turn.target])


def fuzz(name: str, options: list[str]) -> None:
    """What a turn runs: it does not return."""
    import atheris

    with atheris.instrument_imports(include=["fastreq"]):
        from targets import SEEDS, TARGETS
    target = TARGETS[name]
    for number, seed in enumerate(SEEDS[name]):
        (Path(options[-1]) / f"seed-{number}").write_bytes(seed)
        target(seed)  # what is imported late is here by now

    def timed(data: bytes) -> None:
        began = process_time()
        target(data)
        took = process_time() - began
        assert took < LONGEST, f"{took:.1f} s for {len(data)} bytes"

    atheris.Setup([sys.argv[0], *options], timed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
