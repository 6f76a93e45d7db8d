"""fastreq on asyncio's own loop."""

from __future__ import annotations

from clients import fastreq


class Adapter(fastreq.Adapter):
    imports = ""  # it is the same module
    loop = "asyncio"
