"""`cli` runs the command line in a process of its own, as a shell does."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pytest

from fastreq.testing import Server

SECONDS = 60  # for one process


class Ended(NamedTuple):
    """What a process did."""

    code: int
    out: bytes
    errors: str


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server(tls="auto") as running:
        yield running


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[..., subprocess.Popen[bytes]]:
    """Start `fastreq ...`, on the loop of the test if it has one; stdout and stderr are pipes."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    callspec = getattr(request.node, "callspec", None)
    if callspec and "asyncio" in callspec.id.split("-"):
        environment["FASTREQ_LOOP"] = "asyncio"

    def start(
        *arguments: object, before: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[bytes]:
        command = [*before, sys.executable, "-W", "error", "-m", "fastreq"]
        options["env"] = environment | options.get("env", {})
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, *map(str, arguments)],
            **{"stdin": pipe, "stdout": pipe, "stderr": pipe, **options},
        )

    return start


@pytest.fixture
def cli(start: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Ended]:
    """Run `fastreq ...` to its end, with `given` on stdin."""

    def run(*arguments: object, given: bytes = b"", **options: Any) -> Ended:
        with start(*arguments, **options) as process:
            try:
                out, errors = process.communicate(given, SECONDS)
            except BaseException:
                process.kill()
                raise
        return Ended(process.returncode, out, (errors or b"").decode())

    return run


@pytest.fixture
def cli_async(cli: Callable[..., Ended]) -> Callable[..., Awaitable[Ended]]:
    """The same, while a scripted server runs in this process."""
    return partial(asyncio.to_thread, cli)
