"""pyreqwest: reqwest and hyper, in Rust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyreqwest.client import ClientBuilder

from clients import base


class Adapter(base.Adapter):
    imports = "pyreqwest.client"
    distribution = "pyreqwest"

    async def open(self) -> None:
        builder = ClientBuilder()
        if self.setup.ca_file:
            builder = builder.add_root_certificate_pem(Path(self.setup.ca_file).read_bytes())
        self.client = builder.build()

    async def close(self) -> None:
        await self.client.close()

    async def get(self, url: str) -> base.Answer:
        response = await self.client.get(url).build().send()
        return response.status, await response.bytes()

    async def post(self, url: str, value: Any) -> base.Answer:
        response = await self.client.post(url).body_json(value).build().send()
        return response.status, await response.bytes()

    async def upload(self, url: str, path: Path) -> base.Answer:
        request = self.client.put(url).header("Content-Length", str(path.stat().st_size))
        response = await request.body_stream(base.pieces(path)).build().send()
        return response.status, await response.bytes()

    async def download(self, url: str, path: Path) -> None:
        with path.open("wb") as file:
            async with self.client.get(url).build_streamed() as response:
                while (piece := await response.body_reader.read_chunk()) is not None:
                    file.write(piece)
