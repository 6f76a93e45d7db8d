"""requests, which blocks: each caller is a thread with a session for all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from clients import base


class Adapter(base.Adapter):
    imports = distribution = "requests"
    blocks = True
    most_callers = 64

    async def open(self) -> None:
        self.session = requests.Session()
        self.session.verify = self.setup.ca_file or True
        pool = requests.adapters.HTTPAdapter(pool_maxsize=self.setup.connections)
        for scheme in "http://", "https://":
            self.session.mount(scheme, pool)

    async def close(self) -> None:
        self.session.close()

    def get(self, url: str) -> base.Answer:  # type: ignore[override]
        response = self.session.get(url)
        return response.status_code, response.content

    def post(self, url: str, value: Any) -> base.Answer:  # type: ignore[override]
        response = self.session.post(url, json=value)
        return response.status_code, response.content

    def upload(self, url: str, path: Path) -> base.Answer:  # type: ignore[override]
        with path.open("rb") as file:
            response = self.session.put(url, data=file)
        return response.status_code, response.content

    def download(self, url: str, path: Path) -> None:  # type: ignore[override]
        with path.open("wb") as file, self.session.get(url, stream=True) as response:
            for piece in response.iter_content(base.PIECE):
                file.write(piece)
