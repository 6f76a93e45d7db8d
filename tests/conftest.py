"""Runs every async test on both event loops, and looks after each test for what it left behind.

Async tests need no mark. Async fixtures do not exist: use async context managers inside the test.
"""

import asyncio
import gc
import inspect
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import hypothesis
import pytest

try:
    import uvloop
except ImportError:
    uvloop = None

pytest_plugins = [
    "servers.canary",
    "servers.certs",
    "servers.httpbin",
    "servers.nginx",
    "servers.proxies",
]

hypothesis.settings.register_profile("fastreq", deadline=None)  # no test hangs on the machine
hypothesis.settings.load_profile("fastreq")

TEST_SECONDS = 30  # for one async test
GRACE_SECONDS = 2  # for threads and processes that need a moment to let go of a socket


LOOPS = [
    pytest.param(asyncio.SelectorEventLoop, id="asyncio"),
    pytest.param(
        uvloop and uvloop.new_event_loop,
        id="uvloop",
        marks=pytest.mark.skipif(uvloop is None, reason="uvloop is not installed"),
    ),
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, for a third of the time is waiting."""
    return (os.cpu_count() or 1) + 1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every async test, and every other that asks for it, each `loop_factory`."""
    if inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("loop_factory")
    if "loop_factory" in metafunc.fixturenames:
        metafunc.parametrize("loop_factory", LOOPS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an async test, and fail it for what it leaves in the loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    with asyncio.Runner(loop_factory=pyfuncitem.callspec.params["loop_factory"]) as runner:
        runner.run(leaving_nothing(pyfuncitem.obj(**arguments)))
    return True


async def leaving_nothing(test: Awaitable[None]) -> None:
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    before = open_sockets()

    async with asyncio.timeout(TEST_SECONDS):
        await test

    for _ in range(10):  # what was cancelled or closed last needs a few turns to end
        await asyncio.sleep(0)
    left = {
        "tasks": asyncio.all_tasks() - {asyncio.current_task()},
        "timers": [t for t in getattr(loop, "_scheduled", ()) if not t.cancelled()],
        "sockets": await asyncio.to_thread(remaining, lambda: open_sockets() - before),
        "complaints to the loop": complaints,
    }
    fail_if_any(left)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a socket, a thread, or an exception that nobody could catch.

    The exception is pytest's to find: it makes a warning of it, and warnings are errors here.
    """
    sockets, threads = open_sockets(), set(threading.enumerate())
    yield
    collect()
    left = {
        "sockets": remaining(lambda: open_sockets() - sockets),
        "threads": remaining(lambda: set(threading.enumerate()) - threads),
    }
    fail_if_any(left)


def pytest_collection_finish() -> None:
    collect()


def collect() -> None:
    """Collect garbage, then put what is left out of the collector's sight.

    Else it would look through all that pytest keeps, after each of ten thousand tests.
    """
    gc.collect()
    gc.freeze()


def open_sockets() -> set[str]:
    """The sockets of this process, as `socket:[inode]`; empty where the system does not tell."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:  # closed since, as is the descriptor of the listing itself
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def remaining(look: Callable[[], set[Any]]) -> set[Any]:
    """What is still there after a moment."""
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def fail_if_any(left: dict[str, Any]) -> None:
    lines = [f"{what}: {list(things)}" for what, things in left.items() if things]
    if lines:
        pytest.fail("left behind:\n" + "\n".join(lines), pytrace=False)
