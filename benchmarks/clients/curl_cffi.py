"""curl_cffi: libcurl; here it looks like itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curl_cffi import AsyncSession

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "curl_cffi"

    async def open(self) -> None:
        self.session = AsyncSession(
            max_clients=self.setup.connections, verify=self.setup.ca_file or True
        )

    async def close(self) -> None:
        await self.session.close()

    async def get(self, url: str) -> base.Answer:
        response = await self.session.get(url)
        return response.status_code, response.content

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.session.post(url, json=value)
        return response.status_code, response.content

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self.session.stream("GET", url) as response:
                async for piece in response.aiter_content():
                    file.write(piece)
