"""What httpx and httpx2 have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clients import base

SECONDS = 60  # of silence; its 5 are too few for thousands of callers


class Adapter(base.Adapter):
    most_callers = 256  # its pool looks at each connection for each request

    def library(self) -> Any:
        """The module."""
        raise NotImplementedError

    async def open(self) -> None:
        library = self.library()
        self.client = library.AsyncClient(
            verify=self.setup.tls,
            timeout=SECONDS,
            limits=library.Limits(
                max_connections=self.setup.connections,
                max_keepalive_connections=self.setup.connections,
            ),
        )

    async def close(self) -> None:
        await self.client.aclose()

    async def get(self, url: str) -> base.Answer:
        response = await self.client.get(url)
        return response.status_code, response.content

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.client.post(url, json=value)
        return response.status_code, response.content

    async def upload(self, url: str, path: Path) -> base.Answer:
        headers = {"Content-Length": str(path.stat().st_size)}
        response = await self.client.put(url, content=base.pieces(path), headers=headers)
        return response.status_code, response.content

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self.client.stream("GET", url) as response:
                async for piece in response.aiter_bytes():
                    file.write(piece)
