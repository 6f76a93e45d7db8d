"""A user name and a password that nobody else has, to be looked for where they do not belong.

    of_proxy = Secret.of(canary, "the proxy's", proxy.url())
    await client.get(url, auth=of_proxy.pair)

    canary.check(proxy, origin)
    assert not of_proxy.is_in(client)

The canary looks at what servers were sent, and `is_in()` at anything that can be read.
"""

import base64
import secrets

from servers.canary import Canary
from servers.scripted import Server


class Secret:
    """A user name and a password."""

    def __init__(self, user: str = "", password: str = "") -> None:
        self.user = user or f"user{secrets.token_hex(8)}"
        self.password = password or f"pass{secrets.token_hex(8)}"
        self.basic = base64.b64encode(f"{self.user}:{self.password}".encode())

    @classmethod
    def of(cls, canary: Canary, name: str, *origins: str) -> "Secret":
        """One that is looked for in all servers, and meant for these alone."""
        return cls(canary.secret(f"{name} user", *origins), canary.secret(f"{name} word", *origins))

    @property
    def pair(self) -> tuple[str, str]:
        """What `auth=` takes."""
        return self.user, self.password

    def is_in(self, data: object) -> bool:
        """Whether any of it can be read in bytes, or in the text of anything else."""
        raw = bytes(data) if isinstance(data, (bytes, bytearray)) else f"{data} {data!r}".encode()
        return any(form in raw for form in (self.user.encode(), self.password.encode(), self.basic))


def heard(*servers: Server) -> bytes:
    """All the requests that have reached these servers."""
    return b"".join(request for server in servers for request in server.requests)
