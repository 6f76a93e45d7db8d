"""A body that is too large for memory, written to a file as it comes.

python examples/stream_to_file.py [BASE_URL]
"""

import os
import sys
import tempfile

import fastreq
from fastreq.testing import Server


async def main(base_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "large")
        async with fastreq.StreamClient() as client:
            with open(path, "wb") as file:
                async for chunk in client.get(f"{base_url}/bytes/50000000"):
                    file.write(chunk)
        print("written:", os.path.getsize(path), "bytes")

        # Where the head matters, or the length of the pieces, stream() has both.
        async with (
            fastreq.Client() as client,
            client.stream("GET", f"{base_url}/bytes/1000000") as response,
        ):
            print("to come:", response.headers["Content-Length"], "bytes")
            async for piece in response.iter_bytes(chunk_size=600_000):
                print("piece:  ", len(piece), "bytes")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fastreq.run(main(sys.argv[1]))
    else:
        with Server() as server:
            fastreq.run(main(server.url))
