"""What a process takes."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Memory of this process that is in RAM; where the system does not tell, the peak."""
    return _from_status("VmRSS:") or peak_bytes()


def peak_bytes() -> int:
    """The most that was, since `forget_peak()`.

    Not by getrusage() where /proc is there: what that gives counts the parent's memory too.
    """
    return _from_status("VmHWM:") or _by_getrusage()


def forget_peak() -> None:
    """Start anew with `peak_bytes()`, where the system can do that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _from_status(name: str) -> int:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def _by_getrusage() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def stolen_seconds() -> float:
    """Time of all cores that the host has given to others so far; 0.0 where nobody says."""
    try:
        first = Path("/proc/stat").read_text().partition("\n")[0].split()
    except OSError:
        return 0.0
    return int(first[8]) / os.sysconf("SC_CLK_TCK")


def stay_on(core: int | None) -> None:
    """Keep this process, with the threads that it will have, on a core."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def allow_many_connections() -> None:
    """Raise the limit of open files to what the system allows this user."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
