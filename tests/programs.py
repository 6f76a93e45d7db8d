"""Programs run as a user would run them: in an interpreter of their own, every warning an error."""

import subprocess
import sys
import textwrap
from collections.abc import Mapping

SECONDS = 60  # for one program

UNHURRIED = """
# In its debug mode asyncio tells of each callback that took long, which is the machine's affair.
import logging
logging.getLogger("asyncio").addFilter(lambda record: not record.msg.startswith("Executing"))
"""


def python(
    program: str, *arguments: str, preface: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in Python's development mode; `environment` is in place of ours."""
    code = UNHURRIED + preface + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=SECONDS,
        check=False,
    )
