"""C6, the crowd: ten thousand connections of one client at once, all answered, none left behind.

Server and client have a process each, as each needs a descriptor for every connection. The server
answers nobody before all of them have asked, so that they really are there at once.

TRUST section 4.
"""

import json
import resource
import sys

import pytest

from storms.child import child, said
from storms.storm import note, note_largest, sized

LOOPS = ["asyncio.SelectorEventLoop"]
if sys.platform != "win32":
    LOOPS.append("__import__('uvloop').new_event_loop")

RAISE = """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
"""

SERVER = (
    RAISE
    + """
import asyncio, sys
from storms.storm import body_of

everybody = int(sys.argv[1])
here, waiting = set(), []
seen = 0

class Peer(asyncio.Protocol):
    def connection_made(self, transport):
        global seen
        self.transport = transport
        self.received = b""
        here.add(self)
        seen += 1

    def connection_lost(self, exc):
        here.discard(self)

    def data_received(self, data):
        self.received += data
        if not self.received.endswith(b"\\r\\n\\r\\n"):
            return
        _, what, number = self.received.split(b" ", 2)[1].split(b"/")
        self.received = b""
        if what == b"count":
            self.answer(b"%d %d" % (len(here) - 1, seen - 1))  # but for who asks
            return
        body = body_of(int(number), 100)
        if what == b"at-once":
            self.answer(body)
            return
        waiting.append((self, body))
        if len(waiting) == everybody:
            for peer, body in waiting:
                peer.answer(body)
            waiting.clear()

    def answer(self, body):
        head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
        self.transport.write(head + body)

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""
)

CROWD = (
    RAISE
    + """
import json, subprocess, time
from storms.storm import body_of, check_pool, run

def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

def descriptors():
    return len(os.listdir("/proc/self/fd"))

async def probe(client, url):
    took = []
    for number in range(1000):
        began = time.perf_counter()
        assert (await client.get(url(f"/at-once/{number}"))).body == body_of(number, 100)
        took.append(time.perf_counter() - began)
    return int(sorted(took)[-10] * 1e6)

async def ask_all(client, url, what, wrong):
    async def ask(number):
        response = await client.get(url(f"/{what}/{number}"), timeout=Timeout(connect=60, read=60))
        if response.body != body_of(number, 100):
            wrong.append(response.body)

    await asyncio.gather(*(ask(number) for number in range(everybody)))

async def main(port):
    def url(path):
        return f"http://127.0.0.1:{port}{path}"

    wrong = []
    everyone = Limits(max_connections=everybody, max_per_host=everybody, keepalive_expiry=600)
    async with Client(limits=everyone, trust_env=False) as client:
        alone = await probe(client, url)
        before, open_before = rss(), descriptors()
        await ask_all(client, url, "together", wrong)
        idle = client.stats().total
        assert (everybody, everybody) == (idle.open, idle.idle), idle
        gc.collect()
        per_connection = (rss() - before) // everybody
        crowded = await probe(client, url)
        await ask_all(client, url, "together", wrong)  # on those that are there
        check_pool(client)
        async with Client(trust_env=False) as other:
            there, ever = map(int, (await other.get(url("/count/0"))).body.split())
            assert (everybody, everybody) == (there, ever), (there, ever)
    async with Client(trust_env=False) as other:
        while (left := int((await other.get(url("/count/0"))).body.split()[0])):
            await asyncio.sleep(0.01)
    assert descriptors() < open_before, (descriptors(), open_before)
    return dict(wrong=len(wrong), left=left), dict(
        bytes_per_connection=per_connection, probe_alone_p99_us=alone, probe_crowded_p99_us=crowded)

server = subprocess.Popen(
    [sys.executable, "-c", SERVER, str(everybody)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
with server:
    print(json.dumps(run(make_loop, main(int(server.stdout.readline())))))
    server.stdin.close()
"""
)


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_crowd(loop):
    """C6: each has its own answer, twice, on one connection; nothing is left when it closes."""
    everybody = sized(300, 10_000)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < everybody + 100:
        pytest.skip(f"C6 needs {everybody + 100} descriptors; `ulimit -Hn` is {most}")
    code = f"everybody = {everybody}\nmake_loop = {loop}\nSERVER = {SERVER!r}\n" + CROWD

    counts, largest = json.loads(said(child(code, seconds=600))[-1])

    note("C6 crowd", connections=everybody, requests=2 * everybody, **counts)
    note_largest("C6 crowd", **largest)
    assert {"wrong": 0, "left": 0} == counts
