"""niquests; it replaces urllib3, so it is run in an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import niquests

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "niquests"
    most_callers = 256

    async def open(self) -> None:
        self.session = niquests.AsyncSession(
            pool_connections=16, pool_maxsize=self.setup.connections
        )
        self.session.verify = self.setup.ca_file or True

    async def close(self) -> None:
        await self.session.close()

    async def get(self, url: str) -> base.Answer:
        response = await self.session.get(url)
        return response.status_code, response.content

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.session.post(url, json=value)
        return response.status_code, response.content

    async def upload(self, url: str, path: Path) -> base.Answer:
        with path.open("rb") as file:
            response = await self.session.put(url, data=file)
        return response.status_code, response.content

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            response = await self.session.get(url, stream=True)
            async for piece in await response.iter_content(-1):
                file.write(piece)
            await response.close()
