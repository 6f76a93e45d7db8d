"""A server that counts: open connections by the address it was called at, the most there were.

    with counting() as server:                  # on all of 127.0.0.0/8
        ...  # http://127.0.1.7:{server.port}/
        assert {"127.0.1.7": 3} == server.most()

It runs in a process of its own, so that clients of several processes can be counted.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

DELAY = 0.002  # seconds before an answer, so that connections are needed at once


@dataclass(frozen=True)
class Counting:
    port: int

    def most(self) -> dict[str, int]:
        """By address, the most connections that were open at once."""
        return self._ask("most")

    def asked(self) -> dict[str, int]:
        """By address, how often it was asked."""
        return self._ask("asked")

    def _ask(self, what: str) -> dict[str, int]:
        with urllib.request.urlopen(f"http://127.255.0.1:{self.port}/{what}") as response:
            counts = json.load(response)
        counts.pop("127.255.0.1", None)
        return counts


@contextlib.contextmanager
def counting() -> Iterator[Counting]:
    """Run one, for the length of a block."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Counting(int(process.stdout.readline()))
        finally:
            process.terminate()


async def main() -> None:
    opened: Counter[str] = Counter()
    counts: dict[str, Counter[str]] = {"most": Counter(), "asked": Counter()}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("sockname")[0]
        opened[address] += 1
        counts["most"][address] = max(counts["most"][address], opened[address])
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                counts["asked"][address] += 1
                path = head.split()[1].decode().lstrip("/")
                if path in counts:
                    body = json.dumps(counts[path]).encode()
                else:
                    body = path.encode()
                    await asyncio.sleep(DELAY)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (EOFError, ConnectionError):
            pass
        finally:
            opened[address] -= 1
            writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
