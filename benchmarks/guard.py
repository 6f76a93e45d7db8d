"""A guard against getting slower that counts instead of timing, so that noise cannot fail it.

    python benchmarks/guard.py            # count, and compare with budget.json
    python benchmarks/guard.py --write    # count, and write that down as the budget
    python benchmarks/guard.py --list     # which functions, and how often, for one GET

Per request, one after the other on a kept connection to the bundled server:

    calls         functions of fastreq that are called, and coroutines of it that are resumed
    c_calls       functions written in C that fastreq calls
    kept_blocks   blocks of memory that are still there when the request is over
    peak_bytes    memory that is there at once in the course of it
    syscalls      of the whole process (strace -c, where that is installed and allowed)

Each is counted in batches, and the least batch counts: a timer that happens to fall into one is
none of the request's doing. The budget is per loop and, since interpreters count in different
ways, per Python version. `calls` has to be met exactly: more is a regression, and less has to be
written down, or the next regression would go unseen.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import fastreq
from fastreq.testing import Server

HERE = Path(__file__).parent
BUDGET = HERE / "budget.json"
PACKAGE = str(Path(fastreq.__file__).parent)

LOOPS = ("uvloop", "asyncio")
REQUESTS = ("get", "post")
BATCH = 20  # requests
BATCHES = 10
TRACED = (100, 600)  # requests of the two runs under strace, whose difference counts
TRIES = 2  # of these

ROOM = {"calls": 0.4, "c_calls": 0.4, "kept_blocks": 0.2, "syscalls": 0.4}  # above the budget
SHARE_OF_ROOM = {"peak_bytes": 0.05}
UNKNOWN = 0.05  # more, as a share, on a Python that nobody has counted on
EXACT = ("calls",)

Counts = dict[str, float]


# ---- counting


class Site(NamedTuple):
    """Where to send what."""

    url: str

    def ask(self, client: fastreq.Client, kind: str) -> Callable[[], Awaitable[Any]]:
        get, post = self.url + "/json", self.url + "/upload"
        value = {"name": "fastreq", "tags": ["http", "async"]}
        if kind == "get":
            return lambda: client.get(get)
        return lambda: client.post(post, json=value)


async def count(site: Site, kind: str) -> Counts:
    """Everything but the system calls."""
    async with fastreq.Client() as client:
        ask = site.ask(client, kind)
        for _ in range(3 * BATCH):
            await ask()
        return await count_calls(ask) | await count_memory(ask)


async def count_calls(ask: Callable[[], Awaitable[Any]]) -> Counts:
    """What is called from and in the package, per request."""
    seen = {"call": 0, "c_call": 0}

    def look(frame: Any, event: str, _: object) -> None:
        if event in seen and frame.f_code.co_filename.startswith(PACKAGE):
            seen[event] += 1

    batches = []
    for _ in range(BATCHES):
        seen["call"] = seen["c_call"] = 0
        sys.setprofile(look)
        try:
            for _ in range(BATCH):
                await ask()
        finally:
            sys.setprofile(None)
        batches.append((seen["call"] / BATCH, seen["c_call"] / BATCH))
    return {"calls": min(a for a, _ in batches), "c_calls": min(b for _, b in batches)}


async def list_calls(site: Site, kind: str) -> dict[str, float]:
    """What is called, by name, per request: the package's own, and in brackets what is C's."""
    seen: Counter[str] = Counter()

    def look(frame: Any, event: str, what: Any) -> None:
        code = frame.f_code
        if event in ("call", "c_call") and code.co_filename.startswith(PACKAGE):
            where = f"{code.co_filename[len(PACKAGE) + 1 :]}: {code.co_qualname}"
            seen[where if event == "call" else f"{where} ({what.__qualname__})"] += 1

    async with fastreq.Client() as client:
        ask = site.ask(client, kind)
        for _ in range(3 * BATCH):
            await ask()
        sys.setprofile(look)
        for _ in range(BATCH):
            await ask()
        sys.setprofile(None)
    return {name: number / BATCH for name, number in seen.most_common()}


async def count_memory(ask: Callable[[], Awaitable[Any]]) -> Counts:
    """What a request leaves behind, and what it needs at once."""
    kept, peaks = [], []
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(BATCHES):
            before = sys.getallocatedblocks()
            for _ in range(BATCH):
                await ask()
            kept.append((sys.getallocatedblocks() - before) / BATCH)
            size, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            await ask()
            _, peak = tracemalloc.get_traced_memory()
            peaks.append(peak - size)
    finally:
        tracemalloc.stop()
        gc.enable()
    return {"kept_blocks": max(0.0, min(kept)), "peak_bytes": min(peaks)}


async def send(site: Site, kind: str, requests: int) -> Counts:
    """Nothing but requests, to be run under strace."""
    async with fastreq.Client() as client:
        ask = site.ask(client, kind)
        for _ in range(requests):
            await ask()
    return {}


def count_syscalls(site: Site, kind: str, loop: str) -> Counts:
    """System calls per request; nothing, where they cannot be counted."""
    strace = shutil.which("strace")
    if strace is None:
        return {}
    counted = []
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "calls")
        for _ in range(TRIES):
            few, many = (
                traced([strace, "-f", "-c", "-o", str(report)], site, kind, loop, requests, report)
                for requests in TRACED
            )
            if few is None or many is None:
                return {}
            counted.append((many - few) / (TRACED[1] - TRACED[0]))
    return {"syscalls": min(counted)}


def traced(
    strace: list[str], site: Site, kind: str, loop: str, requests: int, report: Path
) -> int | None:
    """All system calls of a process; None: it may not be traced."""
    command = [*strace, *one(site, kind, loop), f"--send={requests}"]
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode or not report.exists():
        return None
    # "100.00    0.001234           3       400         2 total"
    total = [line.split() for line in report.read_text().splitlines() if line.endswith("total")]
    return int(total[0][3]) if total else None


def one(site: Site, kind: str, loop: str) -> list[str]:
    """This script, for one kind of request on one loop."""
    return [sys.executable, __file__, f"--one={kind}", f"--loop={loop}", f"--url={site.url}"]


def count_all(extra: Iterable[str], with_syscalls: bool) -> dict[str, Counts]:
    """By loop and request, each in a process of its own."""
    found = {}
    with Server() as server:
        site = Site(server.url)
        for loop in LOOPS:
            for kind in REQUESTS:
                ended = subprocess.run(
                    [*one(site, kind, loop), *extra], capture_output=True, text=True, check=False
                )
                if ended.returncode:
                    raise RuntimeError(f"{loop}, {kind}: {ended.stderr}")
                counts: Counts = json.loads(ended.stdout)
                if with_syscalls:
                    counts |= count_syscalls(site, kind, loop)
                found[f"{loop} {kind}"] = counts
    return found


def add_a_call() -> None:
    """Make every request one function call of the package dearer: so the guard is tested."""
    code = "def dearer(self, *args, **kwargs):\n    return usual(self, *args, **kwargs)\n"
    for name in REQUESTS:
        place: dict[str, Any] = {"usual": getattr(fastreq.Client, name)}
        exec(compile(code, PACKAGE + "/dearer.py", "exec"), place)
        setattr(fastreq.Client, name, place["dearer"])


# ---- judging


def budget_for(written: dict[str, Any], python: str) -> tuple[dict[str, Counts], bool]:
    """The budget of a Python version, and whether it was counted on that."""
    if python in written:
        return written[python], True
    return written[max(written, key=version_key)], False


def version_key(python: str) -> tuple[int, ...]:
    return tuple(map(int, python.split(".")))


def complaints(
    found: dict[str, Counts], budget: dict[str, Counts], is_known: bool
) -> Iterable[str]:
    """What is over the budget, and what is under it without being written down."""
    for what, counts in found.items():
        for name, value in counts.items():
            allowed = budget.get(what, {}).get(name)
            if allowed is None:
                continue
            room = ROOM.get(name, 0.0) + SHARE_OF_ROOM.get(name, 0.0) * allowed
            if not is_known:
                room += UNKNOWN * allowed
            said = f"{what}: {name} per request: {value:g}, the budget is {allowed:g}"
            if value > allowed + room:
                yield f"{said}: a request has become dearer"
            elif name in EXACT and is_known and value < allowed - room:
                yield f"{said}: cheaper, which is good; write it down by guard.py --write"


def table(found: dict[str, Counts], budget: dict[str, Counts]) -> str:
    lines = []
    for what, counts in found.items():
        each = [
            f"{name} {value:g} (of {budget.get(what, {}).get(name, float('nan')):g})"
            for name, value in counts.items()
        ]
        lines.append(f"{what:13} " + ", ".join(each))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count what a request takes.")
    add = parser.add_argument
    add("--write", action="store_true", help="write the counts down as this Python's budget")
    add("--dearer", action="store_true", help="add a call to each request, and see it found out")
    add("--no-strace", action="store_true", help="leave the system calls out")
    add("--list", choices=REQUESTS, nargs="?", const="get", help="show what is called")
    add("--budget", type=Path, default=BUDGET, help="another file than budget.json")
    add("--one", choices=REQUESTS, help=argparse.SUPPRESS)
    add("--loop", choices=LOOPS, default="uvloop", help=argparse.SUPPRESS)
    add("--url", help=argparse.SUPPRESS)
    add("--send", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        if options.dearer:
            add_a_call()
        site = Site(options.url)
        factory = asyncio.new_event_loop if options.loop == "asyncio" else fastreq.new_event_loop
        work = send(site, options.one, options.send) if options.send else count(site, options.one)
        with asyncio.Runner(loop_factory=factory) as runner:
            print(json.dumps(runner.run(work)))
        return 0
    if options.list:
        with Server() as server:
            for name, number in fastreq.run(list_calls(Site(server.url), options.list)).items():
                print(f"{number:5.2f}  {name}")
        return 0
    python = "{}.{}".format(*sys.version_info)
    file: Path = options.budget
    written = json.loads(file.read_text()) if file.exists() else {}
    found = count_all(["--dearer"] if options.dearer else [], not options.no_strace)
    if options.write:
        # What could not be counted here stays as it was.
        kept = written.get(python, {})
        written[python] = {
            what: kept.get(what, {}) | {name: round(value, 1) for name, value in counts.items()}
            for what, counts in found.items()
        }
        ordered = {key: written[key] for key in sorted(written, key=version_key)}
        file.write_text(json.dumps(ordered, indent=1) + "\n")
    budget, is_known = budget_for(written, python)
    print(table(found, budget))
    complained = list(complaints(found, budget, is_known))
    print("\n".join(complained) or "within the budget")
    return 1 if complained else 0


if __name__ == "__main__":
    sys.exit(main())
