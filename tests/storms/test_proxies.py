"""C17, the proxies of Debian under the faults of C1: exact bodies or typed errors, and no secret.

A proxy may answer for an origin that fails it, and may turn a reset into an end; so any typed error
will do for a fault. What is no fault has its exact body all the same. TRUST section 4.
"""

import random
from collections import Counter
from typing import NamedTuple

import pytest
from servers.proxies import USER
from servers.scripted import Connection
from servers.secrets import Secret

from fastreq import FastreqError, Response
from storms.faults import BODY, FAULTS, LATE_408, Asked
from storms.storm import note, run, seeded, show, sized
from storms.test_faults import Storm, fault_storm


class Way(NamedTuple):
    """Through which proxy, and whether a tunnel or the proxy itself carries the messages."""

    fixture: str
    tls: bool  # to the origin: then HTTP proxies open a tunnel
    scheme: str = ""
    user: bool = False

    @property
    def forwards(self) -> bool:
        return not self.tls and self.fixture in ("tinyproxy", "squid")


WAYS = {
    "tinyproxy, forwarding": Way("tinyproxy", False),
    "tinyproxy, tunnel": Way("locked_tinyproxy", True, user=True),
    "squid, forwarding": Way("squid", False, user=True),
    "squid, tunnel in TLS": Way("squid", True, scheme="https", user=True),
    "dante": Way("dante", True),
    "microsocks": Way("microsocks", True, user=True),
}


class ProxyStorm(Storm):
    def __init__(self, rng: random.Random, way: Way, secret: Secret) -> None:
        super().__init__(rng, way.tls)
        self.way = way
        self.secret = secret
        self.told = 0  # heads at the origin that say who we are to the proxy
        if not way.tls:
            # Without TLS nobody can tell an end that a proxy made of a reset from a true one.
            self.cases = [case for case in self.cases if case.name != "until_close_reset"]

    async def serve(self, conn: Connection) -> None:
        read_head = conn.read_head

        async def looked_at() -> bytes:
            head = await read_head()
            self.told += b"proxy-auth" in head.lower() or self.secret.is_in(head)
            return head

        conn.read_head = looked_at  # type: ignore[method-assign]
        await super().serve(conn)

    def judge(self, asked: Asked, method: str, result: Response | FastreqError) -> None:
        case = FAULTS[asked.fault]
        if isinstance(result, FastreqError):
            self.seen["errors"] += 1
            kind = type(result).__name__
            right = kind in case.outcomes or BODY not in case.outcomes or method == "POST"
        elif result.status == 408 and LATE_408.endswith(result.body):
            self.seen["late_408"] += 1
            right = True
        elif result.status >= 500 and self.way.forwards:
            self.seen["proxys_answers"] += 1
            right = True  # of its connections to the origin, which other requests' faults break
        else:
            self.seen["bodies"] += 1
            right = BODY in case.outcomes and result.body == asked.body
        if self.secret.is_in(result):
            self.wrong.append(f"a secret in {result!r}")
        if not right:
            self.wrong.append(f"{method} {asked}: {show(result)[:300]}")


@pytest.mark.parametrize("name", WAYS)
def test_proxy_storm(loop_factory, certs, name, request):
    """C17: nothing wrong, no POST twice, and the proxy's password is the proxy's alone."""
    way = WAYS[name]
    proxy = request.getfixturevalue(way.fixture)
    secret = Secret(USER, proxy.password(USER))
    known = {"user": secret.user, "password": secret.password} if way.user else {}
    url = proxy.url(scheme=way.scheme, **known)
    count = sized(60, 20_000)
    storm = ProxyStorm(seeded("proxies", name), way, secret)

    run(loop_factory, fault_storm(storm, certs, way.tls, count, proxy=url))

    twice = sum(times > 1 for times in storm.posts.values())
    seen: Counter[str] = storm.seen
    note("C17 proxies", requests=count, wrong=len(storm.wrong), posts_twice=twice)
    note("C17 proxies", **+seen, secrets_at_the_origin=storm.told)
    assert [] == storm.wrong[:20]
    assert 0 == twice
    assert 0 == storm.told
