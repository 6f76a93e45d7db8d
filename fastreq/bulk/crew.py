"""`Client.map`: a fixed crew works a queue that is pulled lazily, and held back by its consumer.

A million requests are a hundred tasks. What is pulled and not yet consumed, under way or done, is
at most `concurrency`, so memory stays flat however long the queue and however slow the consumer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Generic, Self, TypeVar

from fastreq.bulk.progress import Meter
from fastreq.errors import FastreqError
from fastreq.messages import Request, Response

T = TypeVar("T")


class Result:
    """One item of `Client.map`.

    Attributes:
        index: the place of its request in what was given, from 0.
        given: what was given: a URL, or a Request.
        request: the request; None where what was given is no URL, which `error` says.
        response: the response, or None.
        error: why there is none, or None.
    """

    __slots__ = ("error", "given", "index", "request", "response")

    def __init__(
        self,
        index: int,
        given: Any,
        request: Request | None,
        response: Response | None,
        error: FastreqError | None,
    ) -> None:
        self.index = index
        self.given = given
        self.request = request
        self.response = response
        self.error = error

    @property
    def ok(self) -> bool:
        """Whether there is a response, with a status below 400."""
        return self.response is not None and self.response.ok

    def __repr__(self) -> str:
        shown = self.given if self.request is None else self.request
        return f"<Result {self.index} {shown!r} {self.error or self.response!r}>"


class Crew(Generic[T]):
    """The tasks that work the queue. It knows nothing of who consumes, so that dropping the
    consumer's end is enough to end it."""

    def __init__(
        self,
        source: Iterable[T] | AsyncIterable[T],
        build: Callable[[T], Request],
        send: Callable[[Request], Awaitable[Response]],
        concurrency: int,
        ordered: bool,
        ended: Callable[[T], object] | None = None,
    ) -> None:
        self._source = _pull(source)
        self._build = build
        self._send = send
        self._concurrency = concurrency
        self._ordered = ordered
        self._ended = ended  # is told of each item that is not under way any more
        self._loop: asyncio.AbstractEventLoop | None = None  # that it works on
        self._workers: set[asyncio.Task[None]] = set()
        self._pulling = asyncio.Lock()  # an iterator is asked for one item at a time
        self._pulled = 0  # items so far
        self._held = 0  # of them, those that nobody has consumed
        self._exhausted = False
        self._ready: deque[Result] = deque()  # in the order in which they are handed out
        self._early: dict[int, Result] = {}  # done, where an order is to be kept, by index
        self._next_index = 0  # of the next to be handed out in order
        self._error: BaseException | None = None  # of the source, or of a mistake in a request
        self._consumer: asyncio.Future[None] | None = None
        self._room: deque[asyncio.Future[None]] = deque()  # workers that may not pull yet

    async def take(self) -> Result | None:
        """The next result; None at the end.

        Raises:
            Exception: what the source raised, or a request that is wrong in itself, once all that
                is under way has been handed out.
        """
        if not self._pulled and not self._workers and not self._exhausted:
            self._hire()
        while not self._ready:
            if not self._workers:
                if self._error is not None:
                    raise self._error
                return None
            if self._consumer is not None:
                raise RuntimeError("the results of a map are for one task to iterate over")
            self._consumer = asyncio.get_running_loop().create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None
        result = self._ready.popleft()
        self._held -= 1
        self._make_room()
        return result

    def stop(self) -> None:
        """Cancel what is under way, and forget what nobody has taken."""
        self._exhausted = True
        self._ready.clear()
        for worker in tuple(self._workers):
            worker.cancel()

    def stop_soon(self) -> None:
        """Stop, whichever thread this is: tasks are to be touched by their own alone."""
        if self._loop is None:  # it has not begun
            return
        if asyncio._get_running_loop() is self._loop:
            self.stop()
        else:
            with suppress(RuntimeError):  # the loop is closed, and all is over anyhow
                self._loop.call_soon_threadsafe(self.stop)

    async def stopped(self) -> None:
        """Wait until nobody works any more, and close a source that can be closed."""
        if self._workers:
            await asyncio.wait(self._workers)
        if (aclose := getattr(self._source, "aclose", None)) is not None:
            await aclose()

    def _hire(self) -> None:
        self._loop = asyncio.get_running_loop()
        worker = asyncio.create_task(self._work())
        self._workers.add(worker)
        worker.add_done_callback(self._leave)

    def _leave(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._fail(error)
        if not self._workers:
            # Where an order was to be kept, and what was due next is what has failed.
            self._ready.extend(self._early.pop(index) for index in sorted(self._early))
        self._wake_consumer()

    async def _work(self) -> None:
        while not self._exhausted:
            if self._held >= self._concurrency:
                await self._wait_for_room()
                continue
            self._held += 1
            try:
                index, given = await self._pull_one()
            except StopAsyncIteration:
                self._held -= 1
                self._end()
                return
            except Exception as exc:
                self._fail(exc)
                return
            if len(self._workers) < self._concurrency and not self._exhausted:
                self._hire()
            result = await self._do(index, given)
            if self._ended is not None:
                self._ended(given)
            self._hand_in(result)

    def _fail(self, error: BaseException) -> None:
        """Pull no more; `error` is raised once the rest has been handed out."""
        self._error = self._error or error
        self._end()

    def _end(self) -> None:
        """Nothing more is pulled: those who wait for room may go home."""
        self._exhausted = True
        while self._room:
            self._make_room()

    def _make_room(self) -> None:
        """Let the next in line pull."""
        while self._room:
            waiting = self._room.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    async def _wait_for_room(self) -> None:
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append(room)
        await room

    async def _pull_one(self) -> tuple[int, T]:
        if isinstance(self._source, AsyncIterator):
            async with self._pulling:
                if self._exhausted:  # found out by the one before, who may not be asked again
                    raise StopAsyncIteration
                given = await anext(self._source)
        else:
            given = next(self._source, _END)
            if given is _END:
                raise StopAsyncIteration
        index = self._pulled
        self._pulled += 1
        return index, given

    async def _do(self, index: int, given: T) -> Result:
        request = response = error = None
        try:
            request = self._build(given)
            response = await self._send(request)
        except FastreqError as exc:
            error = exc
        return Result(index, given, request, response, error)

    def _hand_in(self, result: Result) -> None:
        if not self._ordered:
            self._ready.append(result)
        else:
            self._early[result.index] = result
            while (due := self._early.pop(self._next_index, None)) is not None:
                self._next_index += 1
                self._ready.append(due)
        if self._ready:
            self._wake_consumer()

    def _wake_consumer(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)


_END: Any = object()


def _pull(source: Iterable[T] | AsyncIterable[T]) -> Iterator[T] | AsyncIterator[T]:
    if isinstance(source, AsyncIterable):
        return aiter(source)
    if isinstance(source, (str, bytes)):
        raise TypeError(f"map({source!r}): expected an iterable of URLs or Requests, not one URL")
    return iter(source)


class Results:
    """The results of `Client.map`, to be iterated over.

        async with client.map(urls) as results:
            async for result in results:
                ...

    Leaving the block cancels what is under way, waits for that, and closes a source that is an
    asynchronous generator; so does `aclose()`. Without it, what is under way is cancelled once
    nobody has the results any more: at once after `async for result in client.map(urls)`, where
    they have no name.
    """

    def __init__(self, crew: Crew[Any], meter: Meter | None) -> None:
        self._crew = crew
        self._meter = meter

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result:
        try:
            result = await self._crew.take()
            if self._meter is not None:
                self._meter.count(result)
        except BaseException:
            self._crew.stop()  # now: who has the exception has this frame, and the results with it
            raise
        if result is None:
            raise StopAsyncIteration
        return result

    async def aclose(self) -> None:
        """Cancel what is under way, and wait until it has ended; close the source, if it can be."""
        self._crew.stop()
        await self._crew.stopped()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._crew.stop_soon()
