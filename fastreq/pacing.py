"""Waiting for a host's turn: its policy, on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from time import monotonic

from fastreq.content.reading import Stream
from fastreq.errors import ClientClosed, FastreqError, PoolTimeout
from fastreq.messages import Response
from fastreq.policies.hosts import HostPace, Policy, check_policies, policy_for

MAX_HOSTS = 4096
"""Hosts whose pace is remembered, of those that have nothing to remember."""


class Waits:
    """What the requests of a client wait for without a connection; closing the client ends it."""

    def __init__(self) -> None:
        self.is_closed = False
        self._limits: dict[asyncio.Timeout, asyncio.AbstractEventLoop] = {}

    def __repr__(self) -> str:
        return f"<Waits {len(self._limits)}>"

    @asynccontextmanager
    async def until_closed(
        self,
        what: str,
        seconds: float | None = None,
        late: Callable[[], FastreqError] | None = None,
    ) -> AsyncIterator[None]:
        """Wait inside, for at most so many seconds.

        Args:
            what: what the request does meanwhile, for the text of the error.
            seconds: None: for as long as it takes.
            late: makes the error of a wait that took longer.

        Raises:
            ClientClosed: the client is closed, or was meanwhile.
        """
        self._refuse_if_closed(what)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                self._limits[limit] = asyncio.get_running_loop()
                yield
        except TimeoutError as exc:
            if limit.expired():  # else it is another's
                self._refuse_if_closed(what)
                if late is not None:
                    raise late() from exc
            raise
        finally:
            self._limits.pop(limit, None)

    def _refuse_if_closed(self, what: str) -> None:
        if self.is_closed:
            raise ClientClosed(f"the client was closed while the request {what}")

    def close(self) -> None:
        """End them all, whichever loops they are on."""
        self.is_closed = True
        here = asyncio.get_running_loop()
        for limit, loop in tuple(self._limits.items()):
            if loop is here:
                _end(limit, loop)
            elif loop.is_running():
                loop.call_soon_threadsafe(_end, limit, loop)


def _end(limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):  # it has ended meanwhile
        limit.reschedule(loop.time())


class Pacing:
    """The hosts of a client that have a policy."""

    def __init__(self, policies: Policy | Mapping[str, Policy]) -> None:
        self._policies = check_policies(policies)
        self._hosts: dict[str, PacedHost] = {}  # by origin
        self._most = MAX_HOSTS  # hosts, before the idle ones are looked for

    def __repr__(self) -> str:
        return f"<Pacing hosts={len(self._hosts)}>"

    def host(self, origin: str) -> PacedHost | None:
        """The host of an origin, if it has a policy."""
        host = self._hosts.get(origin)
        if host is None:
            policy = policy_for(self._policies, origin)
            if policy is None:
                return None
            self._forget_idle()
            host = self._hosts[origin] = PacedHost(origin, policy)
        return host

    def max_connections(self, origin: str) -> int | None:
        """How many connections the policy allows, if it says."""
        policy = policy_for(self._policies, origin)
        return policy.max_connections if policy is not None else None

    def _forget_idle(self) -> None:
        if len(self._hosts) >= self._most:
            now = monotonic()
            self._hosts = {o: host for o, host in self._hosts.items() if not host.is_idle(now)}
            self._most = max(MAX_HOSTS, 2 * len(self._hosts))  # those that are left are busy


class PacedHost:
    """A host, those who wait for it, and those whom it has let in."""

    def __init__(self, origin: str, policy: Policy) -> None:
        self._origin = origin
        self._policy = policy
        self._pace = HostPace(policy)
        self._loop: asyncio.AbstractEventLoop | None = None  # that these belong to
        self._line = asyncio.Lock()
        self._places = asyncio.Semaphore(policy.max_connections or 1)
        self._inside = 0  # requests that wait, or were let in and are not done

    def __repr__(self) -> str:
        return f"<PacedHost {self._origin} inside={self._inside}>"

    def is_idle(self, now: float) -> bool:
        """Whether it may be forgotten."""
        return not self._inside and self._pace.is_idle(now)

    def wait(self) -> float:
        """Seconds that whoever comes now has to wait at the least."""
        return self._pace.wait(monotonic())

    async def turn(self, waits: Waits, seconds: float | None, shares: bool) -> AsyncExitStack:
        """Wait until a request may start; first come, first served. Cancelling costs no turn.

        Args:
            waits: of the client.
            seconds: what `Timeout(pool=...)` allows.
            shares: its connections are a proxy's, and carry the requests of all hosts, so that
                `Policy.max_connections` counts requests.

        Returns:
            What has to be closed when the request is done, however it went.

        Raises:
            PoolTimeout: it took too long; the text says what of the policy it was.
            ClientClosed: the client was closed meanwhile.
        """
        self._move_to(asyncio.get_running_loop())
        policy, stands_for = self._policy, ""

        def late() -> FastreqError:
            text = f"no turn for {self._origin} within {seconds} s: {stands_for or self.reason()}"
            return PoolTimeout(f"{text}; Timeout(pool=...) moves it").at("pool")

        turn = AsyncExitStack()
        turn.callback(self._let_out)
        self._inside += 1
        try:
            async with waits.until_closed("waited for its host's turn", seconds, late):
                if shares and policy.max_connections is not None:
                    stands_for = f"Policy(max_connections={policy.max_connections}) has none free"
                    await self._places.acquire()
                    turn.callback(self._places.release)
                stands_for = ""
                await self._start()
                if policy.limiter is not None:
                    stands_for = f"Policy(limiter=<{type(policy.limiter).__name__}>) is not entered"
                    try:
                        await turn.enter_async_context(policy.limiter)
                    except BaseException:
                        self._pace.give_back()
                        raise
        except BaseException:
            await turn.aclose()
            raise
        return turn

    async def _start(self) -> None:
        since = monotonic()
        async with self._line:
            while seconds := self._pace.reserve(monotonic(), since):
                await asyncio.sleep(seconds)

    def reason(self) -> str:
        """Why nobody may start, for a text."""
        now = monotonic()
        if self._pace.paused_until > now:
            seconds = self._pace.paused_until - now
            return f"it asked to be left alone, for {seconds:.1f} s more (Policy(obey_server=True))"
        return f"Policy(rate={self._policy.rate}) has none free"

    def _let_out(self) -> None:
        self._inside -= 1

    def _move_to(self, loop: asyncio.AbstractEventLoop) -> None:
        """The client may have come to another loop; the pace is the host's whichever it is."""
        if self._loop is not loop:
            self._loop, self._line = loop, asyncio.Lock()
            self._places = asyncio.Semaphore(self._policy.max_connections or 1)

    def heard(self, response: Response) -> None:
        """Obey what a response says of the pace."""
        self._pace.heard(response, monotonic(), time.time())


async def leave(turn: AsyncExitStack, error: BaseException | None) -> None:
    """Close a turn; what is in it is told of the error, and cannot keep it from being raised."""
    if error is None:
        await turn.aclose()
    else:
        await turn.__aexit__(type(error), error, error.__traceback__)


async def leave_with(turn: AsyncExitStack, response: Response) -> None:
    """Close a turn now that there is a response; where its body streams, once that has ended.

    Cancelling, as any error, drops the response."""
    is_another_protocol = response.status == 101
    if is_another_protocol or not response.read_through(lambda stream: _InTurn(stream, turn)):
        try:
            await leave(turn, None)
        except BaseException:
            await response.aclose()
            raise


_leaving: set[asyncio.Task[None]] = set()
"""Turns that the garbage collector closes."""


class _InTurn:
    """The stream of a body that has its turn until it ends."""

    def __init__(self, stream: Stream, turn: AsyncExitStack) -> None:
        self._stream = stream
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self._has_left = False

    async def _leave(self, error: BaseException | None = None) -> None:
        if not self._has_left:
            self._has_left = True
            await leave(self._turn, error)

    # ---- what a Stream does

    @property
    def breath_due(self) -> float:
        return self._stream.breath_due

    async def breathe(self) -> None:
        await self._stream.breathe()

    async def read(self) -> bytes:
        try:
            piece = await self._stream.read()
        except FastreqError as exc:
            await self._leave(exc)
            raise
        if not piece:
            await self._leave()
        return piece

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._leave()

    def drop(self) -> None:
        self._stream.drop()
        if not self._has_left:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._leave_soon)

    def _leave_soon(self) -> None:
        task = self._loop.create_task(self._leave())
        _leaving.add(task)
        task.add_done_callback(_leaving.discard)
