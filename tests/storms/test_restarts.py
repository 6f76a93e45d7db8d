"""C7: a server that is killed and restarted again and again; no POST is carried out twice.

The server keeps a journal of what it has carried out, on disk, so that being killed loses none of
it. TRUST section 4, and the rule of the keep-alive race.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from fastreq import Client, FastreqError, Limits
from storms.storm import body_of, note, outcome, run, seeded, sized

SERVER = """
import asyncio, os, sys

journal = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            method, path, _ = head.split(b" ", 2)
            os.write(journal, method + path + b"\\n")
            number = path[1:]
            mark = b"<" + number + b">"
            body = (mark * (500 // len(mark) + 1))[:500]
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 500\\r\\n\\r\\n" + body)
            await writer.drain()
    except (EOFError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Mortal:
    """The server, in a process that can be killed."""

    def __init__(self, journal: Path) -> None:
        self.port = 0
        self._journal = journal
        self._process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-c", SERVER, str(self.port), str(self._journal)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def lives(server: Mortal, count: int, seen: Counter[str]) -> None:
    """Requests by the thousand, while the server dies and rises."""
    rng = seeded("restarts")
    numbers = iter(range(10**9))
    over = asyncio.Event()

    async with Client(limits=Limits(max_per_host=20), trust_env=False) as client:

        async def work() -> None:
            while not over.is_set():
                number = next(numbers)
                method = "POST" if rng.random() < 0.5 else "GET"
                url = f"http://127.0.0.1:{server.port}/{number}"
                result = await outcome(client.request(method, url))
                if isinstance(result, FastreqError):
                    seen["errors"] += 1
                    await asyncio.sleep(0.001)  # nobody listens just now
                elif result.body == body_of(number, 500):
                    seen["bodies"] += 1
                else:
                    seen["wrong"] += 1

        workers = [asyncio.create_task(work()) for _ in range(20)]
        for _ in range(count):
            enough = seen["bodies"] + 200
            while seen["bodies"] < enough:
                await asyncio.sleep(0.001)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        enough = seen["bodies"] + 200  # it has recovered
        while seen["bodies"] < enough:
            await asyncio.sleep(0.001)
        over.set()
        await asyncio.gather(*workers)


def test_restarts(loop_factory, tmp_path):
    """C7: every body is right, every error is typed, and no POST runs twice."""
    journal = tmp_path / "journal"
    server = Mortal(journal)
    seen: Counter[str] = Counter(wrong=0)
    restarts = sized(3, 1200)
    try:
        run(loop_factory, lives(server, restarts, seen))
    finally:
        server.kill()

    runs = Counter(journal.read_text().splitlines())
    twice = [what for what, times in runs.items() if what.startswith("POST") and times > 1]
    gets = sum(what.startswith("GET") and times > 1 for what, times in runs.items())
    note("C7 restarts", restarts=restarts, posts_twice=len(twice), gets_twice=gets, **seen)
    assert [] == twice
    assert 0 == seen["wrong"]
