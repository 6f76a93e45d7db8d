"""aiohttp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "aiohttp"

    async def open(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=self.setup.tls)
        self.session = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        await self.session.close()

    async def get(self, url: str) -> base.Answer:
        async with self.session.get(url) as response:
            return response.status, await response.read()

    async def post(self, url: str, value: Any) -> base.Answer:
        async with self.session.post(url, json=value) as response:
            return response.status, await response.read()

    async def upload(self, url: str, path: Path) -> base.Answer:
        with path.open("rb") as file:
            async with self.session.put(url, data=file) as response:
                return response.status, await response.read()

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self.session.get(url) as response:
                async for piece in response.content.iter_any():
                    file.write(piece)
