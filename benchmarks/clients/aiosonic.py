"""aiosonic."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiosonic
from aiosonic.connectors import TCPConnector
from aiosonic.pools import PoolConfig

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "aiosonic"

    async def open(self) -> None:
        pool = PoolConfig(size=self.setup.connections, max_conn_requests=None)
        self.client = aiosonic.HTTPClient(TCPConnector(pool_configs={":default": pool}))
        tls = self.setup.tls
        self.context = tls if isinstance(tls, ssl.SSLContext) else None

    async def close(self) -> None:
        await self.client.aclose()

    async def get(self, url: str) -> base.Answer:
        response = await self.client.get(url, ssl=self.context)
        return response.status_code, await response.content()

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.client.post(url, json=value, ssl=self.context)
        return response.status_code, await response.content()

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self.client.stream("GET", url, ssl=self.context) as response:
                async for piece in response.iter_bytes():
                    file.write(piece)
