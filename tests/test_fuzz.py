"""The targets of fuzz/, run over their seeds and over random changes of them; and by atheris for
some seconds, where it is installed."""

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"


def load():
    spec = importlib.util.spec_from_file_location("fuzz_targets", FUZZ / "targets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


targets = load()


def changed(seed: bytes, rng: random.Random) -> bytes:
    """A seed with some bytes changed, dropped, doubled or cut off."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        what = rng.randrange(4)
        if what == 0:
            data[place:place] = rng.choice(
                [b"\r\n", b"\x00", b"\xff", b" ", b":", b"0", b";", b"\n"]
            )
        elif what == 1:
            del data[place : place + rng.randint(1, 8)]
        elif what == 2:
            data[place:place] = data[: rng.randint(0, 30)]
        elif data:
            data[place % len(data)] = rng.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_seeds_and_what_is_near_them(name):
    """No target fails on its seeds, nor on a thousand variations."""
    rng = random.Random(f"7 {name}")
    for seed in targets.SEEDS[name]:
        targets.TARGETS[name](seed)
    for _ in range(1000):
        targets.TARGETS[name](changed(rng.choice(targets.SEEDS[name]), rng))


@pytest.mark.parametrize("name", targets.TARGETS)
def test_by_atheris(name, tmp_path):
    """C13, short: FASTREQ_FUZZ_SECONDS for each target; make it long by hand."""
    pytest.importorskip("atheris")
    seconds = os.environ.get("FASTREQ_FUZZ_SECONDS", "3")
    command = [sys.executable, FUZZ / "fuzz.py", name, f"-max_total_time={seconds}", tmp_path]
    paths = os.pathsep.join([str(FUZZ.parent), str(FUZZ)])
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": paths},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stderr[-4000:]
