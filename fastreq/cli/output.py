"""Where a body goes: to stdout, or to a file that is whole or not there."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

from fastreq.bulk.output import write_all

Write = Callable[[bytes], Any]


@contextmanager
def opened(path: str | None) -> Iterator[Write]:
    """What writes to this file, or to stdout (None, "-").

    A file is written as `path.part`, which is renamed at the end of the block; an error, Ctrl-C
    included, removes it, and leaves what was at `path` as it was.

    Raises:
        OSError: the file cannot be written.
    """
    if path in (None, "-"):
        yield _to_stdout
    elif os.path.exists(path) and not os.path.isfile(path):  # /dev/null, a named pipe
        with open(path, "wb") as device:
            yield device.write
    else:
        target = os.path.realpath(path)  # a link stays a link
        with open(f"{target}.part", "wb") as file:
            try:
                yield file.write
                file.close()
                os.replace(file.name, target)
            except BaseException:
                file.close()
                with suppress(OSError):
                    os.unlink(file.name)
                raise


def opened_if(path: str | None) -> AbstractContextManager[Write | None]:
    """The same of a file that need not be: None for None."""
    return nullcontext() if path is None else opened(path)


def _to_stdout(data: bytes) -> None:
    """Write past Python's buffer: what has come is there at once, and nothing stays in it."""
    write_all(sys.stdout.fileno(), data)
