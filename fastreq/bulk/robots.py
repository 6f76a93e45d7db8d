"""robots.txt, as RFC 9309 has it: asked for once per origin, and kept to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any, Final, NamedTuple

from fastreq.errors import FastreqError
from fastreq.messages import Request, Response

AGENT: Final = "fastreq"
MAX_SIZE: Final = 500 * 1024  # bytes that are looked at (RFC 9309, section 2.5)
MAX_ORIGINS: Final = 10_000
PYTHON_WITH_WILDCARDS: Final = (3, 14)
"""Older ones' own parser does not understand `*` and `$` in a path."""


class RobotsDisallowed(FastreqError):
    """The site's robots.txt says no."""


class Rules(NamedTuple):
    """What a site allows."""

    allow: Callable[[str], bool]
    why: str = "does not allow it"  # where it does not


class Robots:
    """What sites allow. Each request is checked before it is sent, and each that a redirect asks
    for before it is followed; the latter by a hook:

        client = Client(hooks=Hooks(redirect=lambda event: robots.check(event.request)))
        robots = Robots(client.get)

    Raises:
        ImportError: protego is missing, and Python is older than 3.14.
    """

    def __init__(self, get: Callable[[str], Awaitable[Response]]) -> None:
        self._get = get
        self._rules: dict[str, asyncio.Task[Rules]] = {}
        self._asking: set[asyncio.Task[Any]] = set()  # those that are not done yet
        self._parse = _parser()

    async def check(self, request: Request) -> None:
        """Let a request pass.

        Raises:
            RobotsDisallowed: the site does not want it.
        """
        if asyncio.current_task() in self._asking:
            return  # where a robots.txt itself leads is followed (section 2.3.1.2)
        origin = request.url.origin
        known = self._rules.get(origin)
        if known is None:
            if len(self._rules) >= MAX_ORIGINS:
                del self._rules[next(iter(self._rules))]
            known = self._rules[origin] = asyncio.create_task(self._ask(origin))
            self._asking.add(known)
            known.add_done_callback(self._asking.discard)
        rules = await asyncio.shield(known)
        if not rules.allow(str(request.url)):
            error = RobotsDisallowed(f"{origin}/robots.txt {rules.why}").at("robots")
            error.request = request
            raise error

    async def close(self) -> None:
        """End what is under way."""
        for asking in self._asking:
            asking.cancel()
        if self._asking:
            await asyncio.wait(tuple(self._asking))

    async def _ask(self, origin: str) -> Rules:
        # Section 2.3.1.4: where it is unreachable, nothing is allowed.
        try:
            response = await self._get(f"{origin}/robots.txt")
        except FastreqError as exc:
            return Rules(_nothing, f"cannot be read, so nothing is asked for: {exc}")
        if response.status >= 500:
            return Rules(_nothing, f"cannot be read, so nothing is asked for: {response.status}")
        if response.status >= 400:
            return Rules(_everything)
        return Rules(self._parse(response.body[:MAX_SIZE].decode("utf-8", "replace")))


def _nothing(url: str) -> bool:
    return False


def _everything(url: str) -> bool:
    return True


def check_parser() -> None:
    """See that robots.txt can be read.

    Raises:
        ImportError: protego is missing, and Python is older than 3.14.
    """
    _parser()


def _parser() -> Callable[[str], Callable[[str], bool]]:
    try:
        protego = import_module("protego").Protego
    except ImportError as exc:
        if sys.version_info[:2] < PYTHON_WITH_WILDCARDS:
            raise ImportError("--robots needs pip install 'fastreq-http[crawl]'") from exc
        return _by_python

    def by_protego(text: str) -> Callable[[str], bool]:
        rules = protego.parse(text)
        return lambda url: bool(rules.can_fetch(url, AGENT))

    return by_protego


def _by_python(text: str) -> Callable[[str], bool]:
    from urllib.robotparser import RobotFileParser

    rules = RobotFileParser()
    rules.parse(text.splitlines())
    return lambda url: rules.can_fetch(AGENT, url)
