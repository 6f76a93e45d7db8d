"""Everything that names uvloop: the fastest event loop at hand, and how to run on it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger("fastreq")


def asked_for() -> str:
    """The loop that `FASTREQ_LOOP` asks for in the environment; "" is the fastest.

    Raises:
        ValueError: there is no such loop.
    """
    name = os.environ.get("FASTREQ_LOOP", "")
    if name not in ("", "asyncio", "uvloop", "winloop"):
        raise ValueError(f"FASTREQ_LOOP={name!r} in the environment: expected asyncio or uvloop")
    return name


def _uvloop() -> Any:
    """The module uvloop, or winloop on Windows, or None: nothing needs it to be correct."""
    if asked_for() == "asyncio":
        return None
    try:
        if sys.platform == "win32":
            import winloop as module
        else:
            import uvloop as module
    except ImportError:
        logger.info("uvloop is not installed; running on asyncio's own event loop")
        return None
    return module


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop: uvloop's where it is installed, winloop's on Windows, else asyncio's.

    `FASTREQ_LOOP=asyncio` in the environment asks for asyncio's own. To be given as the
    `loop_factory` of `asyncio.Runner`, pytest-asyncio, or a server.
    """
    module = _uvloop()
    loop: asyncio.AbstractEventLoop = (module or asyncio).new_event_loop()
    return loop


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """Run a coroutine on the fastest loop at hand, and give its result.

    As `asyncio.run()`, without touching the event loop policy.

    Raises:
        RuntimeError: a loop is running already; use `await` there.
    """
    if asyncio._get_running_loop() is not None:
        name = getattr(main, "__name__", "main")
        if asyncio.iscoroutine(main):
            main.close()
        raise RuntimeError(
            f"fastreq.run() cannot be called from a running event loop; use await: `await {name}()`"
        )
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


def install() -> bool:
    """Make uvloop the event loop policy, for code that cannot pass a loop factory.

    Returns:
        False where there is no uvloop to install.

    Raises:
        RuntimeError: Python 3.16 and later have no policies.
    """
    module = _uvloop()
    if module is None:
        return False
    if sys.version_info >= (3, 16):
        raise RuntimeError(
            "event loop policies were removed in Python 3.16; use fastreq.run(main()), or "
            "asyncio.Runner(loop_factory=fastreq.new_event_loop)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(module.EventLoopPolicy())
    if sys.version_info >= (3, 14):
        warnings.warn(
            "event loop policies go away in Python 3.16; use fastreq.run(main()), or "
            "asyncio.Runner(loop_factory=fastreq.new_event_loop)",
            DeprecationWarning,
            stacklevel=2,
        )
    return True
