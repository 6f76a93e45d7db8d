"""wreq: a fork of reqwest that can look like browsers, in Rust; here it looks like itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import wreq

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "wreq"

    async def open(self) -> None:
        verify = Path(self.setup.ca_file) if self.setup.ca_file else True
        self.client = wreq.Client(tls_verify=verify)

    async def close(self) -> None:
        self.client.close()

    async def get(self, url: str) -> base.Answer:
        response = await self.client.get(url)
        return response.status.as_int(), await response.bytes()

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.client.post(url, json=value)
        return response.status.as_int(), await response.bytes()

    async def upload(self, url: str, path: Path) -> base.Answer:
        headers = {"Content-Length": str(path.stat().st_size)}
        response = await self.client.put(url, body=base.pieces(path), headers=headers)
        return response.status.as_int(), await response.bytes()

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with (await self.client.get(url)).stream() as stream:
                async for piece in stream:
                    file.write(piece)
