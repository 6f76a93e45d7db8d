"""primp: rustls and hyper that can look like browsers; here it looks like itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import primp

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "primp"

    async def open(self) -> None:
        self.client = primp.AsyncClient(ca_cert_file=self.setup.ca_file)

    async def get(self, url: str) -> base.Answer:
        response = await self.client.get(url)
        return response.status_code, response.content

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.client.post(url, json=value)
        return response.status_code, response.content

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with await self.client.get(url, stream=True) as response:
                async for piece in response.aiter_bytes():
                    file.write(piece)
