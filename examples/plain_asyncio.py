"""asyncio's own event loop, and a client that outlives each run of it.

Run `python examples/plain_asyncio.py [BASE_URL]`; by default it starts a server of its own.
"""

import asyncio
import sys

import fastreq
from fastreq.testing import Server

# It opens nothing until it is used, so it may stand here.
client = fastreq.Client()


async def loop_and_response(url: str) -> str:
    response = await client.get(url)
    return f"{type(asyncio.get_running_loop()).__module__}: {response}"


def main(base_url: str) -> None:
    # One request needs no function of its own.
    print(asyncio.run(client.get(f"{base_url}/hello")))

    # The client goes with the loop that runs.
    print(asyncio.run(loop_and_response(f"{base_url}/hello")))
    print(fastreq.run(loop_and_response(f"{base_url}/hello")))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with Server() as server:
            main(server.url)
