"""Secrets that must stay with the origins they are meant for, and one look at who saw them.

    async def test_key_stays(canary):
        async with serving(MOVED) as a, serving(reply()) as b:
            key = canary.secret("X-Api-Key", a.url(""))         # for this origin, and no other
            await client.get(a.url("/"), headers={"X-Api-Key": key})
            canary.check(a, b)                                  # a saw it, b did not

Each secret is of its own, so that whoever has seen it is known. They are found as they were given,
percent-encoded, in base64 and in hexadecimal, wherever in a request they stand. The fixture checks
once more, after the test, what has reached the scripted servers of the test, all of them, and those
that it was shown; a test that lets a secret get to nobody fails as well.

    FASTREQ_CANARY=1 pytest -q tests/client tests/proxy | grep Leaked

has every request of every test carry one: each that has no credentials is given some, for the
origin of its URL. Tests that compare requests to the byte fail then, which says nothing; a test at
whose end a secret is at another origin ends with an error of its own, `Leaked` (TRUST, C18).
"""

import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from secrets import token_hex
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from fastreq.building import Builder
from fastreq.messages import Request
from servers.scripted import WATCHERS

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{20,}")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_HEX = re.compile(rb"[0-9A-Fa-f]{20,}")
_HOST = re.compile(rb"^Host: *([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class Watched(Protocol):
    """A server that logs what it gets, as `servers.scripted.Server` does."""

    requests: list[bytes]

    def url(self, path: str = "/", *, host: str = "127.0.0.1") -> str: ...


class Canary:
    """The secrets of one test."""

    def __init__(self) -> None:
        self._meant_for: dict[bytes, tuple[str, frozenset[str]]] = {}  # name, origins
        self._servers: list[Watched] = []

    def secret(self, name: str, *origins: str) -> str:
        """A new secret for these origins; `name` is what a failure calls it."""
        secret = f"canary{token_hex(12)}"
        self._meant_for[secret.encode()] = name, frozenset(map(_origin, origins))
        return secret

    def watch(self, *servers: Watched) -> None:
        """Check these servers at the end of the test."""
        self._servers += [server for server in servers if server not in self._servers]

    def seen(self, *servers: Watched) -> dict[str, set[str]]:
        """For each secret, by its name, the origins that have seen it."""
        names = {name for name, _ in self._meant_for.values()}
        seen: dict[str, set[str]] = {name: set() for name in names}
        for secret, origin in self._sightings(servers):
            seen[self._meant_for[secret][0]].add(origin)
        return seen

    def leaks(self) -> list[str]:
        """What a secret has reached that it was not meant for.

        A server may go by another name (Host set by hand), and be reached through TLS to a proxy.
        """
        return [
            f"{name} reached {origin}; it is for {sorted(origins)}"
            for server in self._servers
            for secret, origin in self._sightings([server])
            for name, origins in [self._meant_for[secret]]
            if not origins & {origin, origin.replace("https", "http", 1), _origin(server.url(""))}
        ]

    def check(self, *servers: Watched) -> None:
        """Fail if a secret reached an origin that it was not meant for, or none that it was."""
        self.watch(*servers)
        reached: set[bytes] = set()
        for secret, origin in self._sightings(self._servers):
            name, origins = self._meant_for[secret]
            if origin not in origins:
                pytest.fail(f"{name} reached {origin}; it is for {sorted(origins) or 'nobody'}")
            reached.add(secret)
        missing = [n for s, (n, origins) in self._meant_for.items() if origins and s not in reached]
        if missing:
            pytest.fail(f"no server got {missing}: what was tested?")

    def _sightings(
        self, servers: tuple[Watched, ...] | list[Watched]
    ) -> Iterator[tuple[bytes, str]]:
        for server in servers:
            for request in server.requests:
                origin = _origin(server.url(""), request)
                for view in _views(request):
                    for secret in re.findall(rb"canary[0-9a-f]{24}", view):
                        if secret in self._meant_for:
                            yield secret, origin


def _origin(url: str, request: bytes = b"") -> str:
    """The origin of a URL; of a request, its Host names the host that was meant."""
    parts = urlsplit(url)
    host = _HOST.search(request)
    if host is None or "unix" in parts.scheme:
        return f"{parts.scheme}://{parts.netloc.lower()}"
    return f"{parts.scheme}://{host[1].decode('latin-1').lower()}"


def _views(request: bytes) -> Iterator[bytes]:
    """The request, and what is encoded in it."""
    yield request
    yield unquote_to_bytes(request)
    for match in _HEX.findall(request):
        for start in (0, 1):
            yield bytes.fromhex(match[start : start + (len(match) - start) // 2 * 2].decode())
    for match in _BASE64.findall(request.translate(_URL_SAFE)):
        for start in range(4):  # what stands before it may look like base64, too
            length = (len(match) - start) // 4 * 4
            yield b64decode(match[start : start + length])
            with suppress(ValueError):
                yield b64decode(match[start:] + b"=" * (-(len(match) - start) % 4))


@pytest.fixture
def canary() -> Iterator[Canary]:
    """The secrets of the test, looked for once more at its end."""
    canary = Canary()
    WATCHERS.append(canary.watch)
    try:
        yield canary
    finally:
        WATCHERS.remove(canary.watch)
    canary.check()


class Leaked(AssertionError):
    """Credentials were seen where they do not belong."""


def credentialed(canary: Canary, build: Any) -> Any:
    """`Builder.build()`, which gives each request credentials of its own, unless it has some."""

    def build_with_secret(
        self: Builder, method: str, url: Any, options: Mapping[str, Any]
    ) -> Request:
        request: Request = build(self, method, url, options)
        sent = request.options or self.defaults
        has_its_own = sent.auth or request.url.userinfo or "authorization" in request.fields.names
        if not has_its_own and request.method not in ("TRACE", "CONNECT"):
            secret = canary.secret(f"that of {request}", request.url.origin)
            request.headers["Authorization"] = f"Bearer {secret}"
        return request

    return build_with_secret


if os.environ.get("FASTREQ_CANARY"):

    @pytest.fixture(autouse=True)
    def everywhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Every request carries a secret, which may reach its own origin and no other."""
        canary = Canary()
        WATCHERS.append(canary.watch)
        monkeypatch.setattr(Builder, "build", credentialed(canary, Builder.build))
        try:
            yield
        finally:
            WATCHERS.remove(canary.watch)
        if leaks := canary.leaks():
            raise Leaked("; ".join(leaks))
