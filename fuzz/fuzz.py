"""Runs a target under atheris: `python fuzz/fuzz.py head -max_total_time=60 [corpus folder]`.

    python fuzz/fuzz.py all -max_total_time=30     each in turn, in a process of its own

What follows the name is libFuzzer's. Without a folder the corpus is a new one, begun with the
seeds; a folder is grown, so that a long run can go on where the last one ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fastreq"]):
    from targets import SEEDS, TARGETS


def main() -> None:
    name, *options = sys.argv[1:] or ["all"]
    if name == "all":
        for each in TARGETS:
            print(f"== {each}", flush=True)
            subprocess.run([sys.executable, __file__, each, *options], check=True)
        return
    folders = [option for option in options if not option.startswith("-")]
    corpus = Path(folders[0] if folders else tempfile.mkdtemp(prefix=f"fastreq-{name}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    flags = [option for option in options if option.startswith("-")]
    # A second is a hang; where atheris itself is slow, the first runs are, not the longest.
    atheris.Setup([sys.argv[0], "-timeout=5", *flags, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
