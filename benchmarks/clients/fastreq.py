"""fastreq on uvloop, limits lifted, with zlib-ng and orjson."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fastreq
from clients import base

try:
    from orjson import dumps
except ImportError:
    dumps = None


class Adapter(base.Adapter):
    json_dumps: Any = staticmethod(dumps) if dumps else None
    imports = distribution = "fastreq"

    async def open(self) -> None:
        limits = fastreq.Limits(max_connections=None, max_per_host=None)
        self.client = fastreq.Client(
            limits=limits, verify=self.setup.ca_file or True, json_dumps=self.json_dumps
        )

    async def close(self) -> None:
        await self.client.aclose()

    async def get(self, url: str) -> base.Answer:
        response = await self.client.get(url)
        return response.status, response.body

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.client.post(url, json=value)
        return response.status, response.body

    async def upload(self, url: str, path: Path) -> base.Answer:
        with path.open("rb") as file:
            response = await self.client.put(url, content=file)
        return response.status, response.body

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self.client.stream("GET", url) as response:
                async for piece in response.iter_bytes():
                    file.write(piece)

    async def map(self, urls: base.URLs, concurrency: int) -> AsyncIterator[base.Answer]:
        async for result in self.client.map(urls, concurrency=concurrency):
            if result.response is None:
                raise result.error or RuntimeError("neither a response nor an error")
            yield result.response.status, result.response.body
