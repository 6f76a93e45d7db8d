"""The checks of conftest.py find what a test leaves behind."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

LEAKS = """
import asyncio, socket, threading, time
import conftest

conftest.GRACE_SECONDS = 0.1
kept = []

async def test_nothing():
    await asyncio.sleep(0)

def test_nothing_at_all():
    pass

async def test_task():
    kept.append(asyncio.create_task(asyncio.sleep(60)))

async def test_timer():
    asyncio.get_running_loop().call_later(60, print)

async def test_complaint():
    asyncio.get_running_loop().call_soon(lambda: 1 / 0)

async def test_socket():
    kept.append(socket.socket())

async def test_transport():
    listener = await asyncio.start_server(lambda *streams: None, "127.0.0.1", 0)
    kept.append(listener)

def test_plain_socket():
    kept.append(socket.socket())

def test_thread():
    threading.Thread(target=time.sleep, args=[1]).start()

def test_unraisable():
    class Broken:
        def __del__(self):
            raise ValueError("nobody hears this")
    broken = Broken()
    broken.me = broken
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """What pytest has to say about each test of LEAKS."""
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "test_leaks.py").write_text(LEAKS)
    pytest_ = [sys.executable, "-m", "pytest", "-c", TESTS.parent / "pyproject.toml"]
    options = ["-p", "conftest", "-p", "no:cacheprovider", "--junitxml", folder / "report.xml"]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    subprocess.run([*pytest_, *options, folder], env=environment, capture_output=True)
    return {
        case.get("name"): "".join(case.itertext())
        for case in ET.parse(folder / "report.xml").iter("testcase")
    }


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("test_task[asyncio]", "tasks: [<Task pending"),
        ("test_task[uvloop]", "tasks: [<Task pending"),
        ("test_timer[asyncio]", "timers: [<TimerHandle"),
        ("test_complaint[asyncio]", "complaints to the loop: [{"),
        ("test_complaint[uvloop]", "complaints to the loop: [{"),
        ("test_socket[asyncio]", "sockets: ['socket:"),
        ("test_socket[uvloop]", "sockets: ['socket:"),
        ("test_transport[asyncio]", "sockets: ['socket:"),
        ("test_transport[uvloop]", "sockets: ['socket:"),
        ("test_plain_socket", "sockets: ['socket:"),
        ("test_thread", "threads: [<Thread("),
        ("test_unraisable", "nobody hears this"),
    ],
)
def test_what_is_left_is_found(complaints, name, complaint):
    if "uvloop" in name:
        pytest.importorskip("uvloop")
    assert complaint in complaints[name]


@pytest.mark.parametrize("name", ["test_nothing[asyncio]", "test_nothing_at_all"])
def test_clean_tests_pass(complaints, name):
    assert "" == complaints[name].strip()
