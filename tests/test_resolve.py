"""Names to addresses, with a getaddrinfo that does what the test says."""

import asyncio
import socket
import threading

import pytest

from fastreq.errors import DNSError
from fastreq.resolve import MAX_ADDRESSES, MAX_THREADS, Address, Resolver

V4, V6 = socket.AF_INET, socket.AF_INET6


def found(*ips):
    """What getaddrinfo returns for these addresses."""
    return [(V6 if ":" in ip else V4, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ips]


class System:
    """A getaddrinfo that counts, can be held up, and says what it was told to."""

    def __init__(self, *ips, error=None, held=False):
        self.asked = []
        self.answer = found(*ips or ["192.0.2.1"])
        self.error = error
        self.running = 0
        self.most_running = 0
        self.go_on = threading.Event()
        self.full = threading.Event()  # MAX_THREADS lookups are under way
        self._lock = threading.Lock()
        if not held:
            self.go_on.set()

    def __call__(self, host, port, **options):
        with self._lock:
            self.asked.append(host)
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            if self.running == MAX_THREADS:
                self.full.set()
        assert self.go_on.wait(10)
        with self._lock:
            self.running -= 1
        if self.error:
            raise self.error
        return self.answer


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def run_without_waiting(coroutine):
    """The result of a coroutine that awaits nothing."""
    with pytest.raises(StopIteration) as result:
        coroutine.send(None)
    return result.value.value


def test_the_real_system():
    """The default is socket.getaddrinfo."""
    addresses = asyncio.run(Resolver().resolve("localhost", 80))

    assert "127.0.0.1" in [ip for _, ip in addresses]


async def test_answer():
    system = System("2001:db8::1", "192.0.2.1", "192.0.2.2", "2001:db8::1")

    addresses = await Resolver(system).resolve("example.com", 80)

    assert [(V6, "2001:db8::1"), (V4, "192.0.2.1"), (V4, "192.0.2.2")] == list(addresses)


# ---- cache


async def test_a_cached_answer_is_given_without_awaiting():
    resolver = Resolver(system := System("192.0.2.1"))
    await resolver.resolve("example.com", 80)

    assert ((V4, "192.0.2.1"),) == run_without_waiting(resolver.resolve("example.com", 443))
    assert ["example.com"] == system.asked


async def test_an_answer_is_kept_for_ten_seconds():
    resolver = Resolver(system := System(), clock := Clock())
    await resolver.resolve("example.com", 80)
    clock.now = 9.99
    await resolver.resolve("example.com", 80)
    assert 1 == len(system.asked)

    clock.now = 10.0
    system.answer = found("192.0.2.9")
    assert [(V4, "192.0.2.9")] == list(await resolver.resolve("example.com", 80))
    assert 2 == len(system.asked)


async def test_the_oldest_names_make_room(monkeypatch):
    monkeypatch.setattr("fastreq.resolve.MAX_NAMES", 50)
    resolver = Resolver(system := System())
    for number in range(60):
        await resolver.resolve(f"{number}.example", 80)
    assert 50 == len(resolver._cache)

    await resolver.resolve("10.example", 80)
    assert 60 == len(system.asked)
    await resolver.resolve("9.example", 80)
    assert 61 == len(system.asked)


async def test_failures_are_not_kept():
    resolver = Resolver(system := System(error=socket.gaierror(socket.EAI_AGAIN, "try again")))
    with pytest.raises(DNSError):
        await resolver.resolve("example.com", 80)

    system.error = None
    assert await resolver.resolve("example.com", 80)


# ---- one lookup for many


async def test_one_lookup_for_many_waiters():
    resolver = Resolver(system := System(held=True))
    waiting = [asyncio.create_task(resolver.resolve("example.com", 80)) for _ in range(100)]
    await asyncio.sleep(0)
    system.go_on.set()

    assert 100 == len(await asyncio.gather(*waiting))
    assert ["example.com"] == system.asked


async def test_each_waiter_has_an_error_of_its_own():
    """An error carries the request it belongs to, so it must not be shared."""
    system = System(error=socket.gaierror(socket.EAI_NONAME, "Name not known"), held=True)
    resolver = Resolver(system)
    waiting = [asyncio.create_task(resolver.resolve("example.com", 80)) for _ in range(2)]
    await asyncio.sleep(0)
    system.go_on.set()

    one, two = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(one, DNSError)
    assert isinstance(two, DNSError)
    assert one is not two
    assert 1 == len(system.asked)


async def test_cancelling_one_leaves_the_lookup_to_the_others():
    resolver = Resolver(system := System(held=True))
    leaving, staying = (asyncio.create_task(resolver.resolve("example.com", 80)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    system.go_on.set()

    assert await staying
    assert 1 == len(system.asked)


async def test_cancelling_all_leaves_nothing():
    """The answer is kept all the same: somebody may ask again."""
    resolver = Resolver(system := System(held=True))
    waiting = [asyncio.create_task(resolver.resolve("example.com", 80)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)

    again = asyncio.create_task(resolver.resolve("example.com", 80))  # joins what is under way
    await asyncio.sleep(0)
    system.go_on.set()
    assert await again
    assert 1 == len(system.asked)
    assert not resolver._lookups


async def test_a_lookup_that_nobody_waits_for_is_not_made():
    """Only what is under way goes on; what is in the queue is dropped."""
    resolver = Resolver(system := System(held=True))
    names = [f"{number}.example" for number in range(MAX_THREADS + 5)]
    waiting = [asyncio.create_task(resolver.resolve(name, 80)) for name in names]
    await asyncio.to_thread(system.full.wait, 10)
    for task in waiting[MAX_THREADS:]:
        task.cancel()
    await asyncio.wait(waiting[MAX_THREADS:])
    system.go_on.set()
    await asyncio.wait(waiting[:MAX_THREADS])

    await resolver.resolve("last.example", 80)
    assert [*sorted(names[:MAX_THREADS]), "last.example"] == [
        *sorted(system.asked[:-1]),
        system.asked[-1],
    ]


# ---- threads


async def test_at_most_32_threads():
    resolver = Resolver(system := System(held=True))
    waiting = [asyncio.create_task(resolver.resolve(f"{n}.example", 80)) for n in range(100)]
    await asyncio.to_thread(system.full.wait, 10)
    assert MAX_THREADS == system.running
    system.go_on.set()
    await asyncio.gather(*waiting)

    assert MAX_THREADS == system.most_running
    assert 100 == len(system.asked)


async def test_no_thread_is_left_when_there_is_nothing_to_do():
    before = set(threading.enumerate())
    resolver = Resolver(system := System(held=True))
    waiting = asyncio.create_task(resolver.resolve("example.com", 80))
    await asyncio.sleep(0)
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    system.go_on.set()
    await waiting

    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
    assert 0 == resolver._threads


async def test_no_thread_to_be_had(monkeypatch):
    """The error is typed, and the next lookup starts anew."""
    resolver = Resolver(System())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DNSError, match=r"'example\.com': can't start new thread"):
            await resolver.resolve("example.com", 80)
    assert not resolver._lookups

    assert await resolver.resolve("example.com", 80)


def refuse(thread):
    raise RuntimeError("can't start new thread")


def test_the_loop_is_closed_meanwhile(loop_factory):
    """A lookup that outlives its loop harms nobody, and serves the next loop."""
    resolver = Resolver(system := System(held=True))

    async def ask_and_go():
        asyncio.create_task(resolver.resolve("example.com", 80))  # noqa: RUF006
        await asyncio.sleep(0)

    async def ask_again():
        waiting = asyncio.create_task(resolver.resolve("example.com", 80))
        await asyncio.sleep(0)
        system.go_on.set()
        return await waiting

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(ask_and_go())
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert ((V4, "192.0.2.1"),) == runner.run(ask_again())
    assert 1 == len(system.asked)


def test_a_closed_loop_with_a_waiter(loop_factory):
    """Nobody is left to take the answer."""
    resolver = Resolver(system := System(held=True))
    loop = loop_factory()
    coroutine = resolver.resolve("example.com", 80)
    task = loop.create_task(coroutine)
    task._log_destroy_pending = False
    loop.run_until_complete(asyncio.sleep(0))
    (thread,) = [thread for thread in threading.enumerate() if "resolver" in thread.name]
    loop.close()
    system.go_on.set()
    thread.join(10)

    assert not thread.is_alive()
    assert "example.com" in resolver._cache
    coroutine.close()


# ---- errors


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "cannot resolve 'no.example': no such host: Name or service not known (EAI_NONAME)",
        ),
        (
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            "cannot resolve 'no.example': no name server answered; is the network up?: "
            "Temporary failure in name resolution (EAI_AGAIN)",
        ),
        (
            socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"),
            "cannot resolve 'no.example': Non-recoverable failure in name resolution (EAI_FAIL)",
        ),
        (
            OSError(24, "Too many open files"),
            "cannot resolve 'no.example': [Errno 24] Too many open files",
        ),
        (MemoryError(), "cannot resolve 'no.example': MemoryError"),
    ],
)
async def test_what_getaddrinfo_says(error, text):
    with pytest.raises(DNSError) as raised:
        await Resolver(System(error=error)).resolve("no.example", 80)

    assert text == str(raised.value)
    assert "dns" == raised.value.phase
    assert error is raised.value.__cause__


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        "a..b",
        ".a",
        "a\0b",
        "a b",
        "a\n",
        "\x7f",
        "bücher.example",
        "a" * 64,
        ".".join(["a" * 49] * 6),
        "x" * 10**6,
    ],
)
async def test_what_is_no_name_is_not_looked_up(host):
    resolver = Resolver(system := System())
    with pytest.raises(DNSError, match="not a host name") as raised:
        await resolver.resolve(host, 80)

    assert len(str(raised.value)) < 400
    assert [] == system.asked


@pytest.mark.parametrize("host", ["localhost", "a_b.example", "example.com.", ".".join("a" * 127)])
async def test_odd_names_are_looked_up(host):
    resolver = Resolver(system := System())
    await resolver.resolve(host, 80)

    assert [host] == system.asked


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [(socket.AF_UNIX, 1, 0, "", "/tmp/socket")],
        [(V4, 1, 6, "", ("evil.example", 80))],
        [(V4, 1, 6, "", ("192.0.2.1\0.evil.example", 80))],
        [(V4, 1, 6, "", ("2001:db8::1", 80))],
        [(V6, 1, 6, "", ("192.0.2.1", 80))],
        [(V6, 1, 6, "", (10, b"\x20\x01\x0d\xb8"))],  # CPython without IPv6
        [(V4, 1, 6, "", (b"192.0.2.1", 80))],
        [(V4, 1, 6, "", ())],
        [(V4,)],
        [None],
        None,
    ],
)
async def test_garbage_is_no_answer(answer):
    system = System()
    system.answer = answer
    with pytest.raises(DNSError, match=r"cannot resolve 'example\.com'"):
        await Resolver(system).resolve("example.com", 80)


async def test_garbage_beside_an_address():
    system = System()
    system.answer = [(V4, 1, 6, "", ("evil", 80)), *found("192.0.2.1"), (99, 1, 6, "", ("x", 1))]

    assert ((V4, "192.0.2.1"),) == await Resolver(system).resolve("example.com", 80)


async def test_an_endless_answer_is_cut():
    system = System(*(f"10.0.{n // 256}.{n % 256}" for n in range(10_000)))

    assert MAX_ADDRESSES == len(await Resolver(system).resolve("example.com", 80))


def test_zone():
    """A zone stays with its address."""
    system = System("fe80::1%lo")

    assert (Address(V6, "fe80::1%lo"),) == asyncio.run(Resolver(system).resolve("x.example", 80))


def test_repr():
    resolver = Resolver(System())
    asyncio.run(resolver.resolve("x.example", 80))

    assert "<Resolver cached=1 lookups=0>" == repr(resolver)
