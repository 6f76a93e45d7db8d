"""httpx2, which goes on where httpx stopped, with the same names."""

from __future__ import annotations

from typing import Any

import httpx2

from clients import httpx_like


class Adapter(httpx_like.Adapter):
    imports = distribution = "httpx2"

    def library(self) -> Any:
        return httpx2
