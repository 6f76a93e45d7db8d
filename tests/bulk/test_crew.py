"""`Client.map`: what is pulled, held, handed out, and left behind."""

import asyncio
import gc
import threading
import tracemalloc

import pytest
from fakes import turns
from servers.scripted import reply, serving

import fastreq
from fastreq import URL, Client, InvalidURL, Request, Response
from fastreq.bulk.crew import Crew, Results
from fastreq.testing import MockTransport

BASE = "http://127.0.0.1:9/"


def urls(count, base=BASE):
    return [f"{base}{number}" for number in range(count)]


class Source:
    """URLs, and how many were asked for."""

    def __init__(self, count, fails_at=None):
        self.pulled = 0
        self._count = count
        self._fails_at = fails_at

    def __iter__(self):
        return self

    def __next__(self):
        if self.pulled == self._fails_at:
            raise LookupError("the source is broken")
        if self.pulled == self._count:
            raise StopIteration
        self.pulled += 1
        return f"{BASE}{self.pulled - 1}"


class SourceOfAsync(Source):
    """The same, asynchronous; it must never be asked for two at once."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._asked = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        assert not self._asked
        self._asked = True
        try:
            await asyncio.sleep(0)
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None
        finally:
            self._asked = False


SOURCES = pytest.mark.parametrize("kind", [Source, SourceOfAsync])


class Site:
    """Answers when it is told to; counts what is under way."""

    def __init__(self, *, delay=None):
        self.asked = []
        self.under_way = self.most = self.cancelled = 0
        self._delay = delay
        self._gates = {}

    async def answer(self, request):
        path = request.url.path
        self.asked.append(path)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self._delay is None:
                gate = self._gates[path] = asyncio.Event()
                await gate.wait()
            else:
                await asyncio.sleep(self._delay)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        return Response(200, content=path)

    def release(self, number):
        self._gates[f"/{number}"].set()

    def client(self):
        return Client(transport=MockTransport(self.answer))


async def all_of(results):
    return [result async for result in results]


# ---- what is pulled and held


@SOURCES
async def test_pulls_no_more_than_it_works_on(kind):
    site, source = Site(), kind(1000)
    async with site.client() as client, client.map(source, concurrency=7) as results:
        first = asyncio.ensure_future(anext(results))
        await turns(60)
        assert 7 == source.pulled == site.under_way

        site.release(3)
        assert 3 == (await first).index
        await turns(60)
        assert 8 == source.pulled
        assert 7 == site.under_way


async def test_nothing_is_pulled_before_it_is_asked_for():
    source = Source(10)
    async with Site(delay=0).client() as client, client.map(source):
        await turns()
    assert 0 == source.pulled


@SOURCES
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_slow_consumer_holds_back(kind, ordered):
    """What is under way, or done and not consumed, is never more than `concurrency`."""
    source, site = kind(60), Site(delay=0)
    consumed = 0
    async with site.client() as client:
        async for _ in client.map(source, concurrency=5, ordered=ordered):
            await turns(20)
            assert source.pulled - consumed <= 6  # five, and the one that is being consumed
            consumed += 1
    assert 60 == consumed


async def test_a_crew_of_fixed_size():
    """There is a task for each of `concurrency`, not for each request."""
    site, before = Site(delay=0.001), len(asyncio.all_tasks())
    most = 0
    async with site.client() as client:
        async for _ in client.map(urls(500), concurrency=9):
            most = max(most, len(asyncio.all_tasks()) - before)
    assert most <= 9
    assert 9 == site.most


async def test_a_crew_no_larger_than_the_work():
    before = len(asyncio.all_tasks())
    async with Site().client() as client, client.map(urls(2), concurrency=100) as results:
        first = asyncio.ensure_future(anext(results))
        await turns()
        assert len(asyncio.all_tasks()) - before <= 2 + 1  # and `first`
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


@pytest.mark.parametrize("ordered", [False, True])
async def test_memory_is_flat(ordered):
    """20,000 items leave nothing behind, nor do they pile up on the way."""

    def lazily():
        for number in range(20_000):
            yield f"{BASE}{number}"

    answer = Response(200, content=b"x" * 1000)

    async def send(request):
        return answer

    url = URL(BASE)
    crew = Crew(lazily(), lambda given: Request("GET", url, answer.headers), send, 100, ordered)
    sizes = []
    tracemalloc.start()
    try:
        async for result in Results(crew, None):
            if result.index % 2_000 == 1_999:
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert 10 == len(sizes)
    assert max(sizes[1:]) < sizes[0] + 100_000


# ---- what is handed out


@SOURCES
async def test_every_item_once(kind):
    async with Site(delay=0).client() as client:
        results = await all_of(client.map(kind(300), concurrency=20))

    assert list(range(300)) == sorted(result.index for result in results)
    assert all(f"/{result.index}" == result.response.text for result in results)
    assert all(result.ok and result.error is None for result in results)


async def test_as_they_finish():
    site = Site()
    async with site.client() as client, client.map(urls(3), concurrency=3) as results:
        first = asyncio.ensure_future(anext(results))
        await turns()
        for number in (2, 0, 1):
            site.release(number)
            await turns()
        assert [2, 0, 1] == [(await first).index, *[result.index async for result in results]]


async def test_in_order():
    site = Site()
    async with site.client() as client:
        results = client.map(urls(4), concurrency=4, ordered=True)
        everything = asyncio.ensure_future(all_of(results))
        await turns()
        for number in (3, 1, 0, 2):
            site.release(number)
            await turns()
        assert [0, 1, 2, 3] == [result.index for result in await everything]


@pytest.mark.parametrize("given", [[], iter([]), ()])
async def test_nothing_to_do(given):
    async with Site().client() as client:
        assert [] == await all_of(client.map(given))


@pytest.mark.parametrize("ordered", [False, True])
async def test_errors_are_values(ordered):
    """One bad item costs nothing but itself, and says what it was."""

    def answer(request):
        if request.url.path == "/broken":
            raise fastreq.ReadError("it broke")
        return Response(404 if request.url.path == "/missing" else 200)

    given = [
        BASE,
        "no url",
        "http://[::1",
        "ftp://a/",
        None,
        7,
        f"{BASE}broken",
        f"{BASE}missing",
        BASE,
    ]
    async with Client(transport=MockTransport(answer)) as client:
        results = await all_of(client.map(given, concurrency=2, ordered=ordered))
    results.sort(key=lambda result: result.index)

    assert given == [result.given for result in results]
    errors = [type(result.error).__name__ for result in results]
    wrong = "InvalidURL InvalidURL UnsupportedProtocol InvalidURL InvalidURL ReadError".split()
    assert ["NoneType", *wrong, "NoneType", "NoneType"] == errors
    assert [True, *[False] * 7, True] == [result.ok for result in results]
    assert results[1].request is None
    assert "/broken" == results[6].request.url.path
    assert 404 == results[7].response.status


async def test_requests_and_options():
    """A Request is sent as it is; options are for what is a URL."""
    seen = {}

    def answer(request):
        seen[request.url.path] = (request.method, request.headers.get("x-option"), request.content)
        return Response(200)

    async with Client(transport=MockTransport(answer)) as client:
        made = client.build_request("POST", BASE + "made", content=b"body")
        await all_of(client.map([BASE + "url", made], headers={"X-Option": "1"}))
        with pytest.raises(TypeError, match="timeout"):
            client.map([], timeuot=1)

    assert {"/url": ("GET", "1", b""), "/made": ("POST", None, b"body")} == seen


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, None, True, "9"])
async def test_concurrency_is_checked(concurrency):
    with pytest.raises(ValueError, match="concurrency"):
        Client().map([], concurrency=concurrency)


@pytest.mark.parametrize("source", [BASE, BASE.encode(), 7, None])
async def test_one_url_is_no_list(source):
    with pytest.raises(TypeError):
        Client().map(source)


# ---- what raises


@SOURCES
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2, 5, 40])
async def test_a_source_that_raises(kind, ordered, concurrency):
    """All that was pulled before is handed out, then it raises; it is not asked again."""
    source = kind(100, fails_at=23)
    got = []
    async with Site(delay=0).client() as client:
        with pytest.raises(LookupError, match="the source is broken"):
            async for result in client.map(source, concurrency=concurrency, ordered=ordered):
                got += [result.index]
    assert list(range(23)) == sorted(got)
    assert 23 == source.pulled


async def test_a_source_that_raised_is_not_asked_again():
    class Moody:
        asked = 0

        def __aiter__(self):
            return self

        async def __anext__(self):
            self.asked += 1
            await asyncio.sleep(0)
            if self.asked == 3:
                raise LookupError
            return BASE

    source = Moody()
    async with Site(delay=0).client() as client:
        with pytest.raises(LookupError):
            await all_of(client.map(source, concurrency=5))
    assert 3 == source.asked


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_mistake_in_a_request(ordered):
    """What is no error of HTTP comes out, after all that was under way."""

    async def answer(request):
        await asyncio.sleep(0)
        if request.url.path == "/2":
            raise ZeroDivisionError
        for _ in range(3):
            await asyncio.sleep(0)
        return Response(200)

    got = []
    async with Client(transport=MockTransport(answer)) as client:
        with pytest.raises(ZeroDivisionError):
            async for result in client.map(urls(50), concurrency=5, ordered=ordered):
                got += [result.index]
    assert {0, 1, 3, 4} <= set(got)
    assert 2 not in got
    assert len(got) < 12


# ---- what is left behind: conftest looks for tasks, too


async def test_break():
    site = Site(delay=0.001)
    async with site.client() as client:
        async for _ in client.map(urls(1000), concurrency=10):
            break
        await turns()
    assert 0 == site.under_way
    assert len(site.asked) <= 20


async def test_an_exception_in_the_loop():
    site = Site(delay=0.001)
    async with site.client() as client:
        with pytest.raises(LookupError):
            async for _ in client.map(urls(1000), concurrency=10):
                raise LookupError
        await turns()
        assert 0 == site.under_way


async def test_cancelled():
    """Even while somebody keeps the task, and what it ended with."""
    site = Site()
    async with site.client() as client:
        task = asyncio.create_task(all_of(client.map(urls(1000), concurrency=10)))
        await turns(30)
        assert 10 == site.under_way
        task.cancel()
        await asyncio.wait([task])
        await turns()
        assert (0, 10) == (site.under_way, site.cancelled)
        assert task.cancelled()


@pytest.mark.parametrize("by", ["aclose", "with", "timeout"])
async def test_ended(by):
    """What closes it waits until nothing is under way any more."""
    site = Site()
    async with site.client() as client:
        results = client.map(urls(1000), concurrency=10)
        if by == "timeout":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(results), 0.01)
            await turns()
        elif by == "with":
            async with results:
                waiting = asyncio.ensure_future(anext(results))
                await turns(30)
                assert 10 == site.under_way
        else:
            waiting = asyncio.ensure_future(anext(results))
            await turns()
            await results.aclose()
        assert 0 == site.under_way
        if by != "timeout":
            with pytest.raises(StopAsyncIteration):
                await waiting
        assert [] == await all_of(results)


async def test_a_progress_that_raises():
    """It ends the work, as any exception does, even while somebody keeps the results."""

    def told(state):
        raise LookupError

    site = Site(delay=0)
    async with site.client() as client:
        results = client.map(urls(1000), concurrency=10, progress=told)
        with pytest.raises(LookupError):
            await anext(results)
        asked = len(site.asked)
        await turns()
        assert (0, asked) == (site.under_way, len(site.asked))


async def test_the_source_is_closed():
    """Where it is an asynchronous generator, `async with` sees it to its end."""
    closed = []

    async def source():
        try:
            for url in urls(1000):
                yield url
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async with Site(delay=0).client() as client:
        async with client.map(source(), concurrency=3) as results:
            await anext(results)
            assert [] == closed
        assert [True] == closed


async def test_dropped_in_another_thread():
    """The loop hears of it, and nobody but it touches its tasks, which its debug mode sees."""
    asyncio.get_running_loop().set_debug(True)
    site = Site()
    async with site.client() as client:
        kept = [client.map(urls(1000), concurrency=10)]
        first = asyncio.ensure_future(anext(kept[0]))
        await turns(30)
        site.release(3)
        await first
        workers = asyncio.all_tasks() - {asyncio.current_task()}
        threading.Thread(target=kept.clear).start()
        assert 10 == len(workers)
        await asyncio.wait(workers, timeout=10)
    assert 0 == site.under_way


async def test_one_consumer():
    site = Site()
    async with site.client() as client, client.map(urls(9)) as results:
        waiting = asyncio.ensure_future(anext(results))
        await turns()
        with pytest.raises(RuntimeError, match="one task"):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await waiting


def test_a_loop_that_is_gone(loop_factory):
    """Results that outlive their loop complain to nobody."""
    kept = []

    async def main():
        client = Site().client()
        results = client.map(urls(9), concurrency=2)
        kept.append(results)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(results), 0.01)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
    kept.clear()


# ---- progress, gather, the wire


async def test_progress():
    told = []

    def answer(request):
        return Response(500 if request.url.path == "/1" else 200, content=b"12345")

    async with Client(transport=MockTransport(answer)) as client:
        await all_of(client.map(urls(3), concurrency=1, progress=told.append, total=3))

    assert [1, 2, 3, 3] == [state.done for state in told]
    assert (1, 3, 15) == (told[-1].failed, told[-1].total, told[-1].bytes)


async def test_progress_on_stderr(capsys):
    async with Site(delay=0).client() as client:
        await all_of(client.map(urls(3), progress=True))
    said = capsys.readouterr()

    assert "" == said.out
    assert said.err.startswith("3 done, 0 failed, ")
    assert 1 == said.err.count("\n")


async def test_gather():
    """A small list, in order; the first error is raised, or stands among the responses."""
    site = Site(delay=0.001)
    transport = MockTransport(site.answer)
    responses = await fastreq.gather(urls(30), concurrency=3, transport=transport)
    assert [f"/{number}" for number in range(30)] == [response.text for response in responses]
    assert site.most == 3

    with pytest.raises(InvalidURL):
        await fastreq.gather([BASE, "no url", BASE], transport=transport)
    found = await fastreq.gather(
        [BASE, "no url"], transport=transport, return_exceptions=True, timeout=3
    )
    assert [Response, InvalidURL] == [type(item) for item in found]


async def test_over_the_wire():
    async with serving(reply(b"hello")) as server, Client() as client:
        results = await all_of(client.map([server.url()] * 200, concurrency=20))
        assert server.connections == client.stats().total.opened <= 20
    assert 200 == sum(b"hello" == result.response.body for result in results)


async def test_a_break_over_the_wire():
    """Connections of what was cancelled are closed, and the client goes on."""

    async with serving(reply(b"hello")) as server, Client() as client:
        async with client.map([server.url()] * 2000, concurrency=20) as results:
            async for result in results:
                if result.index == 50:
                    break
        assert 0 == client.stats().total.leased
        assert b"hello" == (await client.get(server.url())).body
