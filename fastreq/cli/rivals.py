"""Other clients under the same load, each in a process of its own, one after the other.

    python -m fastreq.cli.rivals httpx < order.json

gives the tally as JSON. A client is imported in its own process alone, so that it costs nobody
else, and is used as it comes, but for what the load asks: so many connections, the same request.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import fastreq
from fastreq.cli.child import run_module
from fastreq.cli.load import Ask, Crew, Load, Tally, allow_files

TIMEOUT = 300.0
"""Seconds for a request, where none are given; what fastreq has by itself."""

PARENT_EVERY = 1.0
"""Seconds between two looks at whether somebody still waits for the tally."""


class Order(NamedTuple):
    """The load, and the request."""

    load: Load
    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes | None
    timeout: float | None
    verify: bool | str  # as of `Client(verify=)`
    follow: bool  # redirects

    def dump(self) -> bytes:
        body = None if self.body is None else b64encode(self.body).decode()
        return json.dumps(self._replace(body=body)).encode()  # type: ignore[arg-type]

    @classmethod
    def load_from(cls, dumped: bytes) -> Order:
        load, method, url, headers, body, *rest = json.loads(dumped)
        fields = [(name, value) for name, value in headers]
        return cls(Load(*load), method, url, fields, body and b64decode(body), *rest)

    def tls(self) -> ssl.SSLContext:
        """Whom to trust, for clients that take Python's own."""
        if isinstance(self.verify, str) and os.path.isdir(self.verify):
            return ssl.create_default_context(capath=self.verify)
        if isinstance(self.verify, str):
            return ssl.create_default_context(cafile=self.verify)
        context = ssl.create_default_context(cafile=import_module("certifi").where())
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


# ---- in the process that asks for it


class LeftOut(Exception):
    """A client that cannot be compared; the text says why."""


def check(name: str) -> None:
    """Raises:
    LeftOut: it is not installed.
    """
    if find_spec(name) is None:
        raise LeftOut(f"it is not installed; pip install {name}")


async def tally_of(name: str, order: Order) -> tuple[str, Tally]:
    """Have a client carry the load in a process of its own; gives its version and its tally.

    Cancelling ends the process.

    Raises:
        LeftOut: it failed as a whole.
    """
    given = order.dump()
    ended = await run_module(
        "fastreq.cli.rivals", name, given=given, catch_errors=True, own_group=True
    )
    if ended.code:
        said = ended.errors.decode(errors="replace").strip().splitlines()
        raise LeftOut(said[-1] if said else f"it ended with {ended.code}")
    found = json.loads(ended.out)
    return found["version"], Tally.load(found["tally"])


# ---- in the process of its own


@asynccontextmanager
async def _httpx(order: Order) -> AsyncIterator[Ask]:
    httpx = import_module("httpx")
    connections = order.load.connections
    async with httpx.AsyncClient(
        verify=order.tls(),
        timeout=order.timeout or TIMEOUT,
        limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        follow_redirects=order.follow,
    ) as client:
        request = client.build_request(
            order.method, order.url, headers=order.headers, content=order.body
        )

        async def ask() -> tuple[int, int]:
            response = await client.send(request)
            return response.status_code, len(response.content)

        yield ask


@asynccontextmanager
async def _aiohttp(order: Order) -> AsyncIterator[Ask]:
    aiohttp, yarl = import_module("aiohttp"), import_module("yarl")
    url = yarl.URL(order.url, encoded=True)  # as it is: it has been normalised
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=order.load.connections, ssl=order.tls()),
        timeout=aiohttp.ClientTimeout(total=order.timeout or TIMEOUT),
        headers=order.headers,
        trust_env=True,
    ) as session:

        async def ask() -> tuple[int, int]:
            async with session.request(
                order.method, url, data=order.body, allow_redirects=order.follow
            ) as response:
                return response.status, len(await response.read())

        yield ask


CLIENTS: dict[str, Callable[[Order], AbstractAsyncContextManager[Ask]]] = {
    "httpx": _httpx,
    "aiohttp": _aiohttp,
}


async def carry(name: str, order: Order) -> dict[str, Any]:
    """Carry the load by this client."""
    tally = Tally()
    watching = asyncio.create_task(_end_with_parent())
    try:
        async with CLIENTS[name](order) as ask:
            await Crew(order.load, ask, tally).work()
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return {"version": version(name), "tally": tally.dump()}


async def _end_with_parent() -> None:
    """End this process when the one that asked has been killed."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_EVERY)
    os._exit(1)


if __name__ == "__main__":
    asked = Order.load_from(sys.stdin.buffer.read())
    allow_files(asked.load.connections)
    print(json.dumps(fastreq.run(carry(sys.argv[1], asked))))
