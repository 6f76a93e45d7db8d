"""httpx."""

from __future__ import annotations

from typing import Any

import httpx

from clients import httpx_like


class Adapter(httpx_like.Adapter):
    imports = distribution = "httpx"

    def library(self) -> Any:
        return httpx
