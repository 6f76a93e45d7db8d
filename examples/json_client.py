"""A service with one client that all of its parts share.

Run `python examples/json_client.py [BASE_URL]`; by default it starts a server of its own.
"""

import asyncio
import sys
from typing import Any

import fastreq
from fastreq.testing import Server


class Items:
    """An API, as the rest of a program likes to see it."""

    def __init__(self, client: fastreq.Client) -> None:
        self._client = client

    async def square(self, number: int) -> int:
        response = await self._client.get(f"/item/{number}")
        found: int = response.raise_for_status().json()["square"]
        return found

    async def add(self, item: dict[str, Any]) -> str:
        response = await self._client.post("/echo", json=item)
        received: str = response.raise_for_status().json()["body"]
        return received


async def main(base_url: str) -> None:
    headers = {"Accept": "application/json"}
    async with fastreq.Client(base_url=base_url, headers=headers) as client:
        items = Items(client)
        print("squares: ", await asyncio.gather(*(items.square(number) for number in range(10))))
        print("received:", await items.add({"name": "a new one"}))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fastreq.run(main(sys.argv[1]))
    else:
        with Server() as server:
            fastreq.run(main(server.url))
