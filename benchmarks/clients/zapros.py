"""zapros."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from zapros import AsyncClient, AsyncIOTransport, AsyncStdNetworkHandler

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "zapros"

    async def open(self) -> None:
        tls = self.setup.tls
        context = tls if isinstance(tls, ssl.SSLContext) else None
        self.client = AsyncClient(
            AsyncStdNetworkHandler(
                transport=AsyncIOTransport(ssl_context=context),
                http1={
                    "max_connections_per_host": self.setup.connections,
                    "max_idle_connections_per_host": self.setup.connections,
                },
            )
        )

    async def close(self) -> None:
        await self.client.aclose()

    async def get(self, url: str) -> base.Answer:
        response = await self.client.get(url)
        return response.status, response.content

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.client.post(url, json=value)
        return response.status, response.content

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self.client.stream("GET", url) as response:
                async for piece in response.async_iter_bytes():
                    file.write(piece)
