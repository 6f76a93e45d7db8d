"""`cli` runs the command line: within this process, or, as `start`, in one of its own.

A process takes half a second to start, so it is for what needs one: signals, terminals, workers,
streams that are closed, an environment or a folder of its own.
"""

import asyncio
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import pytest

from fastreq.cli import main
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
def loop_of_the_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line has the loop of the test, if that has one."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and "asyncio" in callspec.id.split("-"):
        monkeypatch.setenv("FASTREQ_LOOP", "asyncio")


@pytest.fixture
def start(loop_of_the_test: None) -> Callable[..., subprocess.Popen[bytes]]:
    """Start `fastreq ...`; stdout and stderr are pipes."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

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
    """Run `fastreq ...` to its end, with `given` on stdin; by `start`, if that gets options."""

    def run(*arguments: object, given: bytes = b"", **options: Any) -> Ended:
        if not options and "--workers" not in arguments:
            return here([*map(str, arguments)], given)
        with start(*arguments, **options) as process:
            try:
                out, errors = process.communicate(given, SECONDS)
            except BaseException:
                process.kill()
                raise
        return Ended(process.returncode, out, (errors or b"").decode())

    return run


class Shown(NamedTuple):
    """What a process did that had a terminal."""

    code: int
    out: bytes
    terminal: bytes


@pytest.fixture
def on_terminal(start: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., Shown]:
    """Run `fastreq ...` to its end, with some of its streams on a terminal; needs POSIX."""

    def run(*arguments: object, streams: Sequence[str] = ("stderr",), **options: Any) -> Shown:
        import pty

        main, terminal = pty.openpty()
        options |= {"stdin": subprocess.DEVNULL, **dict.fromkeys(streams, terminal)}
        with start(*arguments, **options) as process:
            os.close(terminal)
            shown = b"".join(iter(partial(_read_terminal, main), b""))
            out, _ = process.communicate(timeout=SECONDS)
        os.close(main)
        return Shown(process.returncode, out or b"", shown)

    return run


def _read_terminal(main: int) -> bytes:
    try:
        return os.read(main, 4096)
    except OSError:  # as Linux says that nobody has the other end any more
        return b""


def here(arguments: list[str], given: bytes) -> Ended:
    """Run a command line within this process, with streams of its own."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        out, errors = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        patch.setattr(sys, "argv", ["fastreq", *arguments])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        for name, file in {"stdout": out, "stderr": errors}.items():
            text = open(file.fileno(), "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            patch.setattr(sys, name, stack.enter_context(text))
        if threading.current_thread() is not threading.main_thread():
            patch.setattr(signal, "signal", lambda *_: None)  # which is the main thread's alone
        code = main()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return Ended(code, read_all(out), read_all(errors).decode())


def read_all(file: Any) -> bytes:
    file.seek(0)
    return bytes(file.read())


@pytest.fixture
def cli_async(cli: Callable[..., Ended]) -> Callable[..., Awaitable[Ended]]:
    """The same, while a scripted server runs in this process."""
    return partial(asyncio.to_thread, cli)
