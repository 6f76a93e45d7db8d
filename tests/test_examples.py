"""The scripts of examples/ do what they say, as users run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastreq.testing import Server

ELSEWHERE = {"crawler"}  # needs a site, and writes files: tests/test_crawler.py
FILES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
EXAMPLES = [file for file in FILES if file.stem not in ELSEWHERE]

# What is to be found in the output.
SAID = {
    "fan_out": ["statuses: {200: 100}", "opened:   10 connections"],
    "json_client": ["[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]", "a new one"],
    "plain_asyncio": ["<Response 200 OK>\nasyncio.", ": <Response 200 OK>\n"],
    "stream_to_file": ["written: 50000000 bytes", "piece:   400000 bytes"],
    "timeouts_and_errors": [
        "fine: hello\nrefused with 404\ntoo slow, in the phase 'head' - ",
        "not reached: cannot connect to http://127.0.0.1:1",
        "InvalidURL: 'no URL at all'",
        "patient: <Response 200 OK>",
    ],
    "websocket": ["the same came back: True 1000000"],
}

NEEDS = {"websocket": "websockets"}
OF_THEIR_OWN = {"websocket"}  # those that need another server than ours


def run(file, folder, *arguments):
    """What a script prints; a warning is as bad as an error."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-W", "error", str(file), *arguments]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, timeout=60)

    assert (0, "") == (done.returncode, done.stderr.decode())
    assert [] == os.listdir(folder)
    return done.stdout.decode()


def test_all_are_known():
    assert sorted(SAID) == [file.stem for file in EXAMPLES]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example(file, tmp_path):
    """It runs without a network, against a server that it starts."""
    if file.stem in NEEDS:
        pytest.importorskip(NEEDS[file.stem])
    said = run(file, tmp_path)

    for text in SAID[file.stem]:
        assert text in said


WITH_OURS = [file for file in EXAMPLES if file.stem not in OF_THEIR_OWN]


@pytest.mark.parametrize("file", WITH_OURS, ids=lambda file: file.stem)
def test_example_with_a_url(file, tmp_path):
    """It takes another server."""
    with Server() as server:
        said = run(file, tmp_path, server.url)

    for text in SAID[file.stem]:
        assert text in said
