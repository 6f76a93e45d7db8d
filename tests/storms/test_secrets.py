"""C18, secrets: however a chain of redirects runs, a secret is seen by its own origin alone.

TRUST sections 0, 1d and 4. Each request has secrets that nobody else has; all servers keep what
they get, and are searched at the end.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

from servers.canary import Canary
from servers.scripted import Connection, Server, reply, scripted

from fastreq import Bearer, Client, Digest, FastreqError
from storms.storm import body_of, note, outcome, run, seeded, sized

ORIGINS = 4
CONCURRENCY = 20
FIELDS = ["Authorization", "Cookie", "X-Api-Key", "X-Auth-Token", "Proxy-Authorization", "X-Ours"]


async def lead_on(conn: Connection) -> None:
    """Send a client along: /number/status,URL,status,URL… says where to."""
    while True:
        request = await conn.read_request()
        target = request.split(b" ", 2)[1].decode()
        _, number, *steps = target.split("~")
        if not steps:
            await conn.send(reply(body_of(int(number), 100), "Set-Cookie: seen=1"))
            continue
        status, where, *rest = steps
        location = "~".join([f"{where}/", number, *rest])
        await conn.send(reply(b"", f"Location: {location}", status=f"{status} Elsewhere"))


class Chains:
    """Requests that are led from origin to origin, and the secrets that they carry."""

    def __init__(self, rng: random.Random, servers: list[Server]) -> None:
        self.rng = rng
        self.servers = servers
        self.canary = Canary()
        self.origins = [
            server.url("", host=host) for server in servers for host in ("127.0.0.1", "localhost")
        ]
        self.meant: dict[str, str] = {}  # the name of each secret → its origin
        self.wrong: list[str] = []
        self.errors = 0

    def secret(self, kind: str, number: int, origin: str) -> str:
        name = f"{kind} of {number}"
        self.meant[name] = origin
        return self.canary.secret(name, origin)

    def draw(self, number: int) -> tuple[str, str, dict[str, Any]]:
        """Method, URL and options: secrets wherever a caller may put them."""
        rng = self.rng
        first = rng.choice(self.origins)
        steps: list[str] = []
        for _ in range(rng.randint(1, 4)):
            where = rng.choice([*self.origins, ""])  # "" is where we are
            steps += [rng.choice(["301", "302", "303", "307", "308"]), where]
        headers = [
            (field, self.value(field, number, first))
            for field in rng.choices(FIELDS, k=rng.randint(1, 3))
        ]
        options: dict[str, Any] = {"headers": headers}
        credentials = [self.secret(kind, number, first) for kind in ("user", "password")]
        origin = first
        match rng.choice(["url", "basic", "bearer", "digest", "cookie"]):
            case "url":
                origin = first.replace("://", "://{}:{}@".format(*credentials))
            case "basic":
                options["auth"] = (credentials[0], credentials[1])
            case "bearer":
                options["auth"] = Bearer(credentials[0])
            case "digest":
                options["auth"] = Digest(credentials[0], credentials[1])
            case "cookie":
                options["cookies"] = {"session": credentials[0]}
        method = rng.choice(["GET", "POST", "PUT"])
        if method != "GET":
            options["content"] = b"body"
        return method, "~".join([f"{origin}/", str(number), *steps]), options

    def value(self, field: str, number: int, origin: str) -> str:
        secret = self.secret(field, number, origin)
        return f"session={secret}" if field == "Cookie" else secret

    async def send(self, client: Client, number: int) -> None:
        method, url, options = self.draw(number)
        result = await outcome(client.request(method, url, **options))
        if isinstance(result, FastreqError):
            self.errors += 1
        elif result.body != body_of(number, 100):
            self.wrong.append(f"{method} {url}: {result.body[:60]!r}")

    def seen_elsewhere(self) -> dict[str, set[str]]:
        """The secrets that strangers have, and which."""
        seen = self.canary.seen(*self.servers)
        foreign = {name: origins - {self.meant[name]} for name, origins in seen.items()}
        return {name: origins for name, origins in foreign.items() if origins}

    def seen_at_all(self) -> int:
        return sum(bool(origins) for origins in self.canary.seen(*self.servers).values())


async def storm(rng: random.Random, count: int) -> Chains:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(scripted(lead_on)) for _ in range(ORIGINS)]
        client = Client(trust_env=False)
        client.sensitive_headers.add("X-Ours")
        await stack.enter_async_context(client)
        chains = Chains(rng, servers)
        numbers = iter(range(1, count + 1))

        async def work() -> None:
            for number in numbers:
                await chains.send(client, number)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    return chains


def test_secrets(loop_factory):
    """C18: no origin gets another's secret, and each gets its own."""
    count = sized(300, 50_000)

    chains = run(loop_factory, storm(seeded("secrets"), count))

    foreign = chains.seen_elsewhere()
    keys = sum(name.startswith("X-Api-Key") for name in foreign)
    note(
        "C18 secrets",
        requests=count,
        secrets=len(chains.meant),
        seen=chains.seen_at_all(),
        at_foreign_origins=len(foreign),
        foreign_x_api_key=keys,
        wrong=len(chains.wrong),
        errors=chains.errors,
    )
    assert {} == foreign
    assert [] == chains.wrong[:20]
    assert chains.seen_at_all() > count
