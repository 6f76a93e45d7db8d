"""C10, out of file descriptors, and C21, the edges of the interpreter; each in its own process.

TRUST section 4. A clear error or a warning, never a hang or a crash.
"""

import sys

import pytest

from storms.child import child, said
from storms.storm import note

LOOPS = ["asyncio.SelectorEventLoop"]
if sys.platform != "win32":
    LOOPS.append("__import__('uvloop').new_event_loop")


def with_loop(loop: str, code: str) -> str:
    return f"make_loop = {loop}\n" + code


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_no_descriptor_left(loop):
    """C10: typed errors while there is none, everything works once there is."""
    code = """
async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    async with serving(reply(b"hello")) as server:
        async with Client(limits=Limits(max_connections=500, max_per_host=500)) as client:
            url = server.url()
            assert (await client.get(url)).body == b"hello"
            held = []
            while True:
                try:
                    held.append(os.open(os.devnull, os.O_RDONLY))
                except OSError:
                    break
            some = [client.get(url) for _ in range(50)]
            results = await asyncio.gather(*some, return_exceptions=True)
            bad = [r for r in results if isinstance(r, BaseException)]
            assert bad
            assert all(isinstance(r, FastreqError) for r in bad), bad
            assert any("file descriptor" in str(r) for r in bad), bad
            for descriptor in held:
                os.close(descriptor)
            for _ in range(40):
                assert (await client.get(url)).body == b"hello"
            pool = client._engine.pool
            assert pool._slots == len(pool._idle)
    print(len(bad))

with asyncio.Runner(loop_factory=make_loop) as runner:
    runner.run(main())
"""
    errors = said(child(with_loop(loop, code)))
    note("C10 descriptors", runs=1, typed_errors=int(errors[-1]))


EDGES = {
    "the loop is closed with requests in flight": """
async def silent(conn):
    await conn.wait_closed()

loop = make_loop()
server = scripted(silent)
there = loop.run_until_complete(server.__aenter__())
client = Client()
task = loop.create_task(client.get(there.url()))
loop.call_later(0.05, loop.stop)
loop.run_forever()
task.cancel()
loop.run_until_complete(asyncio.wait([task]))
loop.run_until_complete(server.__aexit__(None, None, None))
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
del client, task
gc.collect()
print("ok")
""",
    "the client is never closed": """
kept = []

async def main():
    async with serving(reply(b"hello")) as server:
        client = Client()
        assert (await client.get(server.url())).body == b"hello"
        kept.append(client)

with asyncio.Runner(loop_factory=make_loop) as runner:
    runner.run(main())
print("ok")
""",
    "one loop after the other": """
client = Client()

async def main():
    async with serving(reply(b"hello")) as server:
        assert (await client.get(server.url())).body == b"hello"

for _ in range(3):
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
print("ok")
""",
    "two loops at once": """
import threading
client = Client()
said = []
ready, done = threading.Event(), threading.Event()

async def first():
    async with serving(reply(b"hello")) as server:
        await client.get(server.url())
        said.append(server.url())
        ready.set()
        await asyncio.to_thread(done.wait)

async def second():
    try:
        await client.get(said[0])
    except RuntimeError as exc:
        said.append(str(exc))

def run_first():
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(first())

thread = threading.Thread(target=run_first)
thread.start()
ready.wait()
with asyncio.Runner(loop_factory=make_loop) as runner:
    runner.run(second())
done.set()
thread.join()
assert "another running event loop" in said[1], said
print("ok")
""",
    "garbage is collected in the middle of a stream": """
async def main():
    big = reply(bytes(5_000_000))
    async with serving(big) as server, Client(limits=Limits(max_connections=1)) as client:
        for _ in range(3):
            async def leave():
                async for piece in (await client.send(
                        client.build_request("GET", server.url()), stream=True)).pieces():
                    return
            await leave()
            gc.collect()
        assert len((await client.get(server.url())).body) == 5_000_000

with asyncio.Runner(loop_factory=make_loop) as runner:
    runner.run(main())
print("ok")
""",
    "the loop ends during a request": """
async def silent(conn):
    await conn.wait_closed()

async def main():
    async with scripted(silent) as server, Client() as client:
        task = asyncio.create_task(client.get(server.url()))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])

with asyncio.Runner(loop_factory=make_loop) as runner:
    runner.run(main())
print("ok")
""",
    "the client is closed with requests in flight": """
async def silent(conn):
    await conn.wait_closed()

async def main():
    async with scripted(silent) as server:
        client = Client()
        tasks = [asyncio.create_task(client.get(server.url())) for _ in range(5)]
        while server.connections < 5:
            await asyncio.sleep(0)
        await client.aclose()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, fastreq.ClientClosed) for r in results), results

with asyncio.Runner(loop_factory=make_loop) as runner:
    runner.run(main())
print("ok")
""",
}

FLAGS = {
    "dev": ("-X", "dev", "-W", "error"),
    "usual": (),
    "optimized": ("-OO",),
}


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_edges(loop, flags):
    """C21: each ends, as it should, and says nothing that it should not."""
    code = f"""
for name, edge in {EDGES!r}.items():
    print("began", name)
    exec(edge, {{**globals()}})
    gc.collect()
"""
    done = child(with_loop(loop, code), *FLAGS[flags])

    lines = said(done)
    note("C21 edges", runs=len(EDGES), not_as_they_should=len(EDGES) - lines.count("ok"))
    assert [line for name in EDGES for line in (f"began {name}", "ok")] == lines
    assert "" == done.stderr


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_loop_that_is_closed_by_hand(loop):
    """C21: what was under way on it is forgotten without a word of ours, and a stream says why it
    does not go on."""
    code = """
unraisable = []
sys.unraisablehook = lambda about: unraisable.append(about.exc_value)

async def endless(conn):
    head = await conn.read_request()
    if b"/stream" in head:
        await conn.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\nabc")
    await conn.wait_closed()

async def begin(client, url):
    response = await client.send(client.build_request("GET", url + "stream"), stream=True)
    task = asyncio.ensure_future(client.get(url))
    while there.connections < 2:
        await asyncio.sleep(0)
    return response, task

async def go_on(response):
    try:
        async for piece in response.iter_bytes():
            print(piece)
    except fastreq.ClientClosed as exc:
        print(str(exc).partition(" (GET ")[0])

loop = make_loop()
server = scripted(endless)
there = loop.run_until_complete(server.__aenter__())
client = Client()
response, task = loop.run_until_complete(begin(client, there.url()))
loop.close()
with asyncio.Runner(loop_factory=make_loop) as runner:
    runner.run(go_on(response))
del response, task, client
gc.collect()
print([exc for exc in unraisable if isinstance(exc, RuntimeError)])
"""
    lines = said(child(with_loop(loop, code)))
    why = "this response belongs to another event loop, which has to read it"
    assert ["b'abc'", why, "[]"] == lines


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_a_fork_in_the_midst_of_a_loop(loop):
    """C21: what the child does with the client goes on without the parent's connections, and the
    parent goes on with them."""
    code = """
import threading
ready, done = threading.Event(), threading.Event()
urls = []

async def serve():
    async with serving(reply(b"hello")) as server:
        urls.append(server.url())
        ready.set()
        await asyncio.to_thread(done.wait)
        print(server.connections)

thread = threading.Thread(target=lambda: asyncio.run(serve()))
thread.start()
ready.wait()
loop = make_loop()
client = Client()
print(loop.run_until_complete(client.get(urls[0])).body)
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    with asyncio.Runner() as runner:
        print(runner.run(client.get(urls[0])).body)
    sys.stdout.flush()
    os._exit(0)
print(os.waitpid(pid, 0)[1])
print(loop.run_until_complete(client.get(urls[0])).body)
loop.run_until_complete(client.aclose())
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
done.set()
thread.join()
"""
    hello = "b'hello'"
    done = child(with_loop(loop, code), "-W", "ignore::DeprecationWarning")
    assert [hello, hello, "0", hello, "2"] == said(done)
    assert "" == done.stderr


def test_a_fork():
    """C21: a child has a loop and a client of its own, and the parent's goes on."""
    code = """
client = Client()

async def main():
    async with serving(reply(b"hello")) as server:
        assert (await client.get(server.url())).body == b"hello"

for _ in range(2):
    with asyncio.Runner() as runner:
        runner.run(main())
    pid = os.fork()
    if pid == 0:
        with asyncio.Runner() as runner:
            runner.run(main())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print("ok")
"""
    assert ["ok"] == said(child(code, "-X", "dev"))
