"""fastreq on uvloop, with nothing but what it depends on."""

from __future__ import annotations

import sys

from clients import fastreq

sys.modules["zlib_ng"] = None  # type: ignore[assignment]


class Adapter(fastreq.Adapter):
    imports = ""  # it is the same module
    json_dumps = None
