"""Waiting for a host's turn: its policy, on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any

from fastreq.messages import Response
from fastreq.policies.hosts import HostPace, Policy, check_policies, policy_for

MAX_HOSTS = 4096
"""Hosts whose pace is remembered, of those that have nothing to remember."""


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
            host = self._hosts[origin] = PacedHost(policy)
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
    """A host, and those who wait for it."""

    def __init__(self, policy: Policy) -> None:
        self.limiter: AbstractAsyncContextManager[Any] | None = policy.limiter
        self._pace = HostPace(policy)
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # that the lock belongs to

    def is_idle(self, now: float) -> bool:
        """Whether it may be forgotten."""
        return self._pace.is_idle(now) and not self._lock.locked()

    async def turn(self) -> None:
        """Wait until a request may start; first come, first served. Cancelling costs no turn."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the client has come to another
            self._loop, self._lock = loop, asyncio.Lock()
        since = monotonic()
        async with self._lock:
            while seconds := self._pace.reserve(monotonic(), since):
                await asyncio.sleep(seconds)

    def heard(self, response: Response) -> None:
        """Obey what a response says of the pace."""
        self._pace.heard(response, monotonic(), time.time())
