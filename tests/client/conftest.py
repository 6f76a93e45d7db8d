"""What the tests of the whole client have in common."""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from servers.certs import Certificates

from fastreq import Client, resolve

Names = dict[str, str | list[str] | Callable[[], list[str]]]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Names of this test, and their addresses: one, several, or what gives them at each lookup.

    Nothing is remembered from one lookup to the next. Other names are the system's to know.
    """
    names: Names = {}
    ask = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: object, **options: object) -> object:
        if host not in names:
            return ask(host, port, *args, **options)  # type: ignore[arg-type]
        given = names[host]
        addresses = given() if callable(given) else [given] if isinstance(given, str) else given
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, 1, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(resolve, "CACHE_SECONDS", 0.0)
    return names


@dataclass(frozen=True)
class Wire:
    """Plain or TLS: what makes a server speak it, and a client trust it."""

    tls: ssl.SSLContext | None
    verify: str | bool

    def client(self, **options: Any) -> Client:
        return Client(verify=self.verify, **options)


@pytest.fixture(params=["plain", "tls"])
def wire(request: pytest.FixtureRequest) -> Wire:
    if request.param == "plain":
        return Wire(None, True)
    certs: Certificates = request.getfixturevalue("certs")
    return Wire(certs.good, certs.ca_file)
