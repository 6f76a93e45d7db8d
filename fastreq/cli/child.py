"""Other processes: what one says to what it is given, and none is left behind."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from typing import NamedTuple


class Ended(NamedTuple):
    """What a process did."""

    code: int
    out: bytes
    errors: bytes


async def run_module(
    module: str,
    *arguments: str,
    given: bytes,
    catch_errors: bool = False,
    own_group: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `python -m module` with this Python and the modules that it finds, to its end.

    Cancelling kills the process, and waits for it.

    Args:
        module: its name.
        arguments: what else is on its command line.
        given: what it reads from stdin.
        catch_errors: keep what it writes to stderr, rather than let it through.
        own_group: let it be, when a terminal interrupts this process (not on Windows).
        environment: what it has beside the environment of this process.
    """
    modules = os.pathsep.join(map(os.path.abspath, sys.path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE if catch_errors else None,
        env={**os.environ, **(environment or {}), "PYTHONPATH": modules},
        start_new_session=own_group and sys.platform != "win32",
    )
    try:
        out, errors = await process.communicate(given)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Ended(process.returncode or 0, out, errors or b"")
