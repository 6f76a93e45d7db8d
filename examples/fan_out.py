"""A hundred requests at once, over a few connections.

Run `python examples/fan_out.py [BASE_URL]`; by default it starts a server of its own.
"""

import asyncio
import sys
from collections import Counter

import fastreq
from fastreq.testing import Server


async def main(base_url: str) -> None:
    limits = fastreq.Limits(max_per_host=10)
    async with fastreq.Client(base_url=base_url, limits=limits) as client:
        tasks = [asyncio.create_task(client.get("/hello")) for _ in range(100)]
        responses = await asyncio.gather(*tasks)

        print("statuses:", dict(Counter(response.status for response in responses)))
        print("slowest: ", f"{max(response.elapsed for response in responses) * 1000:.1f} ms")
        print("opened:  ", client.stats().total.opened, "connections")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fastreq.run(main(sys.argv[1]))
    else:
        with Server() as server:
            fastreq.run(main(server.url))
