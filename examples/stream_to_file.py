"""A body that is too large for memory, written to a file as it comes.

Run `python examples/stream_to_file.py [BASE_URL]`; by default it starts a server of its own.
"""

import sys
import tempfile
from typing import BinaryIO

import fastreq
from fastreq.testing import Server


async def main(base_url: str, file: BinaryIO) -> None:
    async with fastreq.StreamClient() as streaming:
        async for chunk in streaming.get(f"{base_url}/bytes/50000000"):
            file.write(chunk)
    print("written:", file.tell(), "bytes")

    # Where the head matters, or the length of the pieces: stream() of any client.
    async with (
        fastreq.Client() as client,
        client.stream("GET", f"{base_url}/bytes/1000000") as response,
    ):
        print("to come:", response.headers["Content-Length"], "bytes")
        async for piece in response.iter_bytes(chunk_size=600_000):
            print("piece:  ", len(piece), "bytes")


if __name__ == "__main__":
    with tempfile.TemporaryFile() as file:
        if len(sys.argv) > 1:
            fastreq.run(main(sys.argv[1], file))
        else:
            with Server() as server:
                fastreq.run(main(server.url, file))
