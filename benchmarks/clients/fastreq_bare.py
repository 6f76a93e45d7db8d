"""fastreq on uvloop, without its extra `speed`."""

from __future__ import annotations

import sys

from clients import fastreq

for absent in ("orjson", "zlib_ng"):
    sys.modules[absent] = None  # type: ignore[assignment]


class Adapter(fastreq.Adapter):
    imports = ""  # it is the same module
