"""Secrets that nobody else has, to be looked for where they do not belong.

secret = Secret()
await client.get(url, auth=(secret.user, secret.password))

assert secret.is_in(heard(origin))
assert not secret.is_in(heard(elsewhere))
"""

import base64
import secrets

from servers.scripted import Server


class Secret:
    """A user name and a password."""

    def __init__(self, user: str = "", password: str = "") -> None:
        self.user = user or f"user{secrets.token_hex(8)}"
        self.password = password or f"pass{secrets.token_hex(8)}"
        self.basic = base64.b64encode(f"{self.user}:{self.password}".encode())

    def is_in(self, data: object) -> bool:
        """Whether any of it can be read in bytes, or in the text of anything else."""
        raw = bytes(data) if isinstance(data, (bytes, bytearray)) else f"{data} {data!r}".encode()
        return any(form in raw for form in (self.user.encode(), self.password.encode(), self.basic))


def heard(*servers: Server) -> bytes:
    """All the requests that have reached these servers."""
    return b"".join(request for server in servers for request in server.requests)
