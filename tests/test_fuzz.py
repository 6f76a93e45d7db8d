"""The targets of fuzz/, run over their seeds and over random changes of them (`make fuzz` has
atheris change them)."""

import importlib.util
import random
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
