"""The scripts in benchmarks/ run, and say what they promise; how fast is not asserted."""

import os
import re
import subprocess
import sys
from pathlib import Path

from fastreq.testing import Server

SEED = Path(__file__).parent.parent / "benchmarks" / "run_tests_functions.py"
SETTINGS = """\
Benchmark settings
\tUrl: {url}
\tAsync lib test requests count: {count}
\tSync lib test requests count: {count}
"""
RESULT = r"Function test for {name} completed\. Total time: \d+\.\d+\nReceived statuses\n\t{said}\n"


def run(*arguments: str) -> str:
    """What the script prints; it has to succeed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, SEED, *arguments], env=environment, capture_output=True, timeout=120
    )
    assert (ended.returncode, ended.stderr) == (0, b""), ended
    return ended.stdout.decode()


def test_seed_benchmark() -> None:
    """Each library is compared, or said to be left out; redirects are not followed."""
    said = run()

    assert re.search(SETTINGS.format(url=r"https?://\S+/moved", count=200), said)
    assert re.search(SETTINGS.format(url=r"https?://\S+/chunked/10000", count=100), said)
    assert re.search(RESULT.format(name="fastreq", said="{301: 200}"), said)
    assert re.search(RESULT.format(name="fastreq", said="{200: 100}"), said)
    for name in "httpx", "requests":
        assert f"{name} is left out" in said or (
            re.search(RESULT.format(name=name, said="{301: 200}"), said)
            and re.search(RESULT.format(name=name, said="{200: 100}"), said)
        )


def test_seed_benchmark_of_another_url() -> None:
    with Server() as server:
        url = f"{server.url}/hello"
        said = run(url, "--count=5", "--only=fastreq")

    assert SETTINGS.format(url=url, count=5) in said
    assert re.search(RESULT.format(name="fastreq", said="{200: 5}"), said)
