"""Whether a missing server is a reason to skip, or, where everything is installed, to fail."""

import os
from typing import NoReturn

import pytest


def missing_server(reason: str) -> NoReturn:
    if os.environ.get("FASTREQ_REQUIRE_SERVERS"):
        pytest.fail(f"{reason}, and FASTREQ_REQUIRE_SERVERS is set", pytrace=False)
    pytest.skip(reason)
