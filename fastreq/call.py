"""One call of `Client.send()`: from the request to the response that is handed out.

What is done to every request stands in the order in which it is done:

    redirects ── auth ── retries ── the host's pace ── cookies ── the exchange itself

Each step knows only the next, and one that was not asked for is left out. Where none was asked
for, `straight()` is all there is.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from time import monotonic
from typing import Any, Protocol, TypeAlias, cast

from fastreq.building import SendOptions
from fastreq.content.decode import codings_of, pieces
from fastreq.content.reading import too_large
from fastreq.deadline import NEVER
from fastreq.engine import Engine
from fastreq.errors import (
    BodyTooLarge,
    FastreqError,
    StreamConsumed,
    TotalTimeout,
)
from fastreq.exchange import BREATH_SECONDS, Exchange
from fastreq.http1.body import StreamedBody
from fastreq.http1.request import encode_head, outgoing
from fastreq.messages import Request, Response, ResponseHead
from fastreq.pacing import PacedHost, Pacing, Waits, leave, leave_with
from fastreq.policies import retries
from fastreq.policies.auth import Auth, Rounds, from_userinfo
from fastreq.policies.cookies import Cookies
from fastreq.policies.redirects import (
    STATUSES,
    Hops,
    next_request,
    same_origin,
    without_secrets,
)
from fastreq.policies.retries import Budgets, Retry
from fastreq.routing import Routes
from fastreq.trace import (
    Hooks,
    RedirectFollowed,
    RequestSent,
    ResponseEnded,
    ResponseHeadReceived,
    RetryScheduled,
)

Exchanging: TypeAlias = Coroutine[Any, Any, Response]
Signing: TypeAlias = Callable[[Request], Request]


class Transport(Protocol):
    """Stands in for pool and wire: in tests, for apps in this process, to record and replay."""

    async def send(self, request: Request) -> Response:
        """Answer a request."""
        ...

    async def aclose(self) -> None:
        """The client is closed."""
        ...


class Policies:
    """What a client has for all of its calls, beside its connections."""

    def __init__(
        self,
        *,
        routes: Routes,
        cookies: Cookies,
        pacing: Pacing | None,
        max_redirects: int,
        sensitive: set[str],
        max_body: int | None,
        hooks: Hooks | None,
        transport: Transport | None,
    ) -> None:
        self.routes = routes
        self.cookies = cookies
        self.pacing = pacing
        self.waits = Waits()
        self.budgets = Budgets()
        self.max_redirects = max_redirects
        self.sensitive = sensitive
        self.max_body = max_body
        self.hooks = hooks
        self.transport = transport
        self.are_plain = pacing is None and hooks is None and transport is None


def start(
    policies: Policies,
    engine: Engine | None,
    request: Request,
    options: SendOptions,
    streams: bool,
) -> Exchanging:
    """The coroutine of a call; without an engine a transport stands in.

    Most have nothing to do but the exchange (benchmark: small, plain).
    """
    if (
        engine is not None
        and not streams
        and options.auth is None
        and options.retry is None
        and policies.are_plain
        and not policies.cookies
        and not request.url.userinfo
        and request.method != "TRACE"
        and (request.fields.is_plain or "cookie" not in request.fields.names)
    ):
        return straight(policies, engine, request, options)
    return Call(policies, engine, request.url.origin, options, streams).run(request)


async def straight(
    policies: Policies, engine: Engine, request: Request, options: SendOptions
) -> Response:
    """Send a request that no policy has to do with; only a redirect makes a `Call` of it."""
    started = monotonic()
    timeout = options.timeout
    due = NEVER if timeout.total is None else started + timeout.total
    limit = policies.max_body
    try:
        route = policies.routes.of(request.url)
        exchange = await engine.exchange(request, route, timeout, None, limit, due, started)
        head, content = exchange.final_head, exchange.take_content()
        if head.content_encoding and content:
            content = await _decode(engine, content, head, limit, exchange)
    except FastreqError as exc:
        exc.belongs_to(request, 1, monotonic() - started)
        raise
    response = Response.received(request, head, exchange, content)
    if head.sets_cookies:
        _keep_cookies(policies.cookies, response)
    if head.status in STATUSES and options.follow_redirects:
        call = Call(policies, engine, request.url.origin, options, False)
        call.attempts, call.started, call.due = 1, started, due + exchange.queued
        return await call.go_on(request, response)
    return response


def _keep_cookies(cookies: Cookies, response: Response) -> None:
    if response.sets_cookies:
        cookies.store(response.request.url, response.headers.get_list("set-cookie"))


async def _decode(
    engine: Engine, content: bytes, head: ResponseHead, limit: int | None, exchange: Exchange
) -> bytes:
    """Decode a body, letting others have their turn in a long one."""
    decoded, size = [], 0
    async with engine.decoding:
        exchange.breath_due = monotonic() + BREATH_SECONDS
        try:
            for piece in pieces(content, codings_of(head.content_encoding)):
                decoded.append(piece)
                size += len(piece)
                if limit is not None and size > limit:
                    raise BodyTooLarge(too_large(limit))
                if monotonic() >= exchange.breath_due:
                    await exchange.breathe()
        except FastreqError as exc:
            exc.phase = "body"
            raise
    return decoded[0] if len(decoded) == 1 else b"".join(decoded)


def _no_time(host: PacedHost, request: Request) -> FastreqError:
    """The error of a request that would have to wait for longer than there is time."""
    text = (
        f"no turn for {request.url.origin} for {host.wait():.1f} s, which is more than is left: "
        f"{host.reason()}; Timeout(total=...) moves it"
    )
    return TotalTimeout(text).at("pool")


class Call:
    """One call: what it may do, and how far it has come."""

    __slots__ = (
        "_at_home",
        "_engine",
        "_has_begun",
        "_home",
        "_options",
        "_policies",
        "_streams",
        "attempts",
        "due",
        "started",
    )

    def __init__(
        self,
        policies: Policies,
        engine: Engine | None,
        home: str,
        options: SendOptions,
        streams: bool,
    ) -> None:
        self._policies = policies
        self._engine = engine  # None: a transport stands in
        self._home = home  # the origin that was asked for
        self._options = options
        self._streams = streams
        self._at_home = True  # no redirect has left it
        self._has_begun = False  # something has been sent, or was about to be
        self.attempts = 0
        self.started = monotonic()
        timeout = options.timeout
        total = timeout.total_of_stream if streams else timeout.total
        self.due = NEVER if total is None else self.started + total

    async def run(self, request: Request) -> Response:
        """Give the response: of the last request, where it was redirected."""
        if request.url.userinfo and not self._options.auth_is_own:
            self._options = self._options._replace(auth=from_userinfo(request.url))
        try:
            response = await self._authorized(request)
        except FastreqError as exc:
            exc.belongs_to(request, self.attempts, monotonic() - self.started)
            raise
        return await self.go_on(request, response)

    async def go_on(self, request: Request, response: Response) -> Response:
        """Give the response to this one's request, or go where it leads."""
        if response.status in STATUSES and self._options.follow_redirects:
            try:
                response = await self._follow(request, response)
            except FastreqError as exc:
                exc.belongs_to(request, self.attempts, monotonic() - self.started)
                raise
        response.attempts = self.attempts
        return response

    async def _follow(self, request: Request, response: Response) -> Response:
        """Go where the server leads us, as far as it is allowed."""
        history: list[Response] = []
        hops = Hops(self._policies.max_redirects)
        try:
            while following := next_request(request, response, self._policies.sensitive):
                hops.add(response.request)
                self._at_home = self._at_home and same_origin(request.url, following.url)
                if not self._at_home and following.options is not None:
                    # Nor do they go there with who sends it once more, as `response.request`.
                    following.options = following.options._replace(auth=None, auth_is_own=True)
                await response.aclose()
                if (hooks := self._policies.hooks) is not None and hooks.redirect is not None:
                    told = hooks.redirect(RedirectFollowed(response, following))
                    if isinstance(told, Awaitable):  # a plain function may return what it likes
                        await told
                response.attempts, self.attempts = self.attempts, 0
                history.append(response)
                request = following
                response = await self._authorized(request)
        except BaseException as exc:
            if isinstance(exc, FastreqError):
                exc.request = exc.request or request
            await response.aclose()
            raise
        response.history = history
        return response

    # Each of these gives the awaitable of the next where there is nothing to do.

    def _authorized(self, request: Request) -> Exchanging:
        """Sign the request, and answer what the server asks, but only where the user sent us."""
        auth = self._options.auth
        if auth is None or not self._at_home:
            return self._retried(request)
        return self._sign(auth, request)

    async def _sign(self, auth: Auth, request: Request) -> Response:
        if auth.needs_body and not isinstance(request.body, bytes):
            raise StreamConsumed(f"{auth!r} signs the body, so it has to be bytes, and no stream")
        with closing(Rounds(auth, request)) as rounds:
            signed: Request | None = rounds.begin()
            while signed is not None:
                response = await self._retried(signed, rounds.again)
                try:
                    if rounds.needs_body_of_answer(response.request):
                        await response.aread()
                    signed = rounds.answer(response)
                except BaseException:
                    await response.aclose()
                    raise
                if signed is not None:
                    await response.aclose()
            return response

    def _retried(self, request: Request, again: Signing | None = None) -> Exchanging:
        """Try again what failed in passing, within the retries, the budget and the time; each time
        it is signed anew by `again`."""
        retry = self._options.retry
        return self._paced(request) if retry is None else self._retry(retry, request, again)

    async def _retry(self, retry: Retry, request: Request, again: Signing | None) -> Response:
        budget = self._policies.budgets.of(request.url.origin)
        budget.sent(monotonic())
        attempt = 0
        while True:
            attempt += 1
            response, error = None, None
            try:
                response = await self._paced(request)
            except FastreqError as exc:
                error = exc
                self.due += exc.queued  # as is done where there is a response
            delay = retries.delay(
                retry, attempt, response, error, request, time.time(), random.uniform
            )
            if (
                delay is None
                or not self._has_time_for(max(delay, self._wait(request)))
                or not budget.spend(retry.budget, monotonic())
            ):
                if error is not None:
                    raise error
                return cast(Response, response)
            if response is not None:
                await response.aclose()
            if (hooks := self._policies.hooks) is not None and hooks.retry is not None:
                hooks.retry(RetryScheduled(request, self.attempts, delay, response, error))
            async with self._policies.waits.until_closed("waited to be tried again"):
                await asyncio.sleep(delay)
            request = request if again is None else again(request)

    def _has_time_for(self, seconds: float) -> bool:
        return monotonic() + seconds < self.due

    def _host(self, request: Request) -> PacedHost | None:
        pacing = self._policies.pacing
        return pacing.host(request.url.origin) if pacing is not None else None

    def _wait(self, request: Request) -> float:
        """Seconds that the host's policy is known to keep this waiting, at the least."""
        host = self._host(request)
        return 0.0 if host is None else host.wait()

    def _paced(self, request: Request) -> Exchanging:
        """Keep to the host's pace, where there is a policy."""
        host = self._host(request)
        return self._with_cookies(request) if host is None else self._take_turn(host, request)

    async def _take_turn(self, host: PacedHost, request: Request) -> Response:
        """Wait for the host's turn; as any wait in line, it is not counted in `total`, but what
        was begun does not wait for what will not be in time."""
        if self._has_begun and not self._has_time_for(host.wait()):
            raise _no_time(host, request)
        began = monotonic()
        shares = self._engine is not None and self._policies.routes.is_shared(request.url)
        turn = await host.turn(self._policies.waits, self._options.timeout.pool, shares)
        self.due += monotonic() - began
        try:
            response = await self._with_cookies(request)
        except BaseException as exc:
            await leave(turn, exc)
            raise
        host.heard(response)
        await leave_with(turn, response)
        return response

    def _with_cookies(self, request: Request) -> Exchanging:
        """Send the cookies that belong there; with a TRACE goes no secret at all."""
        cookies, fields = self._policies.cookies, request.fields
        if request.method == "TRACE":
            return self._exchange(without_secrets(request, self._policies.sensitive))
        if cookies or "cookie" in fields.names:
            given = fields.get_list("cookie")
            # Not for a token that a scheme asks another origin for.
            unscoped = self._at_home and request.url.origin == self._home
            value = cookies.header_for(request.url, "; ".join(given), unscoped=unscoped)
            if value is not None and [value] != given:
                request = request.with_field("Cookie", value)
        return self._exchange(request)

    # ---- the exchange itself

    def _exchange(self, request: Request) -> Exchanging:
        """One request, and its response: whole, or up to the body of one that streams."""
        self.attempts += 1
        self._has_begun = True
        hooks = self._policies.hooks
        return self._answer(request) if hooks is None else self._trace(hooks, request)

    def _answer(self, request: Request) -> Exchanging:
        if self._engine is None:
            return self._ask_transport(request)
        if self._streams:
            return self._open(self._engine, request)
        return self._read(self._engine, request)

    async def _read(self, engine: Engine, request: Request) -> Response:
        policies, timeout = self._policies, self._options.timeout
        limit = policies.max_body
        route = policies.routes.of(request.url)
        exchange = await engine.exchange(
            request, route, timeout, None, limit, self.due, self.started, self.attempts
        )
        self.due += exchange.queued
        head, content = exchange.final_head, exchange.take_content()
        if head.content_encoding and content:
            content = await _decode(engine, content, head, limit, exchange)
        response = Response.received(request, head, exchange, content)
        _keep_cookies(policies.cookies, response)
        return response

    async def _open(self, engine: Engine, request: Request) -> Response:
        upgrades = not request.body and "upgrade" in request.fields.names
        routes = self._policies.routes
        route = (routes.past_forwarding if upgrades else routes.of)(request.url)
        body, timeout = StreamedBody(), self._options.timeout
        exchange = await engine.exchange(
            request, route, timeout, body, None, self.due, self.started, self.attempts
        )
        self.due += exchange.queued
        response = Response.received(request, exchange.final_head, exchange)
        response.attempts = self.attempts
        response.attach(exchange, self._policies.max_body)
        _keep_cookies(self._policies.cookies, response)
        return response

    async def _ask_transport(self, request: Request) -> Response:
        """Have the request answered by what stands in for pool and wire."""
        transport = cast(Transport, self._policies.transport)
        outgoing(request, encode_head(request))  # refuses what the wire would refuse
        seconds = None if self.due == NEVER else max(0.0, self.due - monotonic())

        def late() -> FastreqError:
            text = f"{transport!r} gave no answer in time; Timeout(total=...) moves it"
            return TotalTimeout(text).at("head")

        async with self._policies.waits.until_closed("was under way", seconds, late):
            response = await transport.send(request)
            if not isinstance(response, Response):
                raise TypeError(f"{transport!r} gave {response!r}; expected a fastreq.Response")
            if not self._streams:
                await self._read_whole(response)
        response.request = request
        _keep_cookies(self._policies.cookies, response)
        return response

    async def _read_whole(self, response: Response) -> None:
        """Have what a transport gave as it would be from the wire: with its body, if that fits."""
        limit = self._policies.max_body
        try:
            body = await response.aread()
            if limit is not None and len(body) > limit:
                raise BodyTooLarge(too_large(limit)).at("body")
        except BaseException:
            await response.aclose()
            raise

    async def _trace(self, hooks: Hooks, request: Request) -> Response:
        """The same, told to those who listen."""
        ended = hooks.response_end
        response = None
        try:
            if hooks.request_sent is not None and self._engine is None:  # which tells it else
                hooks.request_sent(RequestSent(request, self.attempts))
            response = await self._answer(request)
            if hooks.response_head is not None:
                hooks.response_head(ResponseHeadReceived(response))
        except BaseException as exc:
            if response is not None:
                await response.aclose()
            if ended is not None and isinstance(exc, Exception):  # else it is cancelled
                ended(ResponseEnded(request, exc))
            raise
        if ended is not None:
            try:
                response.when_ended(lambda error: ended(ResponseEnded(request, error)))
            except BaseException:
                await response.aclose()
                raise
        return response
