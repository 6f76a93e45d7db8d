"""Which proxy a request goes through: the one that was given, or the one the environment names.

`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` mean what they mean to curl, in lower case
or upper, and lower case counts more. `HTTP_PROXY` is not looked at in a CGI script, where anybody
can set it by sending a field `Proxy` (CVE-2016-5386); `http_proxy` nobody can.

`NO_PROXY` is a list of what goes past the proxy, with commas or blanks between. No name is looked
up for its entries, which are read as Go reads them, and a little more kindly:

    example.com                     the name, and all names below it
    .example.com  *.example.com     the names below it
    192.0.2.1  2001:db8::1          an address
    192.0.2.0/24  2001:db8::/32     a block of addresses
    fe80::1%eth0                    an address on one network interface; without a zone, on any
    example.com:8080  [::1]:443     any of these, on one port
    http://example.com              the same as its host
    *                               everything

There is no exception for this machine: if it is not to be asked for through a proxy, say
`NO_PROXY=localhost,127.0.0.1,::1`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from fastreq.errors import InvalidURL, ProxyError, UnsupportedProtocol, quoted
from fastreq.url import URL

PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""The kinds of proxies, and where they listen unless they say."""

MAX_SOCKS_TEXT: Final = 255
"""Bytes of a user name, a password and a host name in SOCKS (RFC 1928 and 1929)."""

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.ASCII)
_HALF_A_SCHEME = re.compile(r"(?:https?|socks5h?):.*@", re.ASCII | re.IGNORECASE | re.DOTALL)

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """A proxy, and who we are to it. Its text never has the user name and password.

    Attributes:
        scheme: "http", "https" (the way to it is TLS), "socks5" (names are looked up here) or
            "socks5h" (names are looked up by the proxy).
        host: as in a `URL`.
        port: a number; there is always one.
        username: None: it does not ask who we are.
        password: b"" where there is none.
    """

    scheme: str
    host: str
    port: int
    username: bytes | None = None
    password: bytes = b""

    @classmethod
    def of(cls, text: object) -> Proxy:
        """Read the URL of a proxy, such as "http://user:password@proxy.example:3128".

        Without a scheme it is "http"; the user name and the password are percent-encoded.

        Raises:
            InvalidURL: it is none. The text does not show the password.
            UnsupportedProtocol: its scheme is none of the four.
        """
        if not isinstance(text, (str, URL)):
            kind = type(text).__name__
            raise InvalidURL(f"the proxy is given as {kind}; expected its URL, as a str")
        given = text.given if isinstance(text, URL) else text
        scheme, separator, rest = given.partition("://")
        if not separator:
            scheme, rest = "http", given
        scheme = scheme.lower()
        # Something of a password may stand before "://", or behind "http:".
        if not _SCHEME.fullmatch(scheme) or (not separator and _HALF_A_SCHEME.match(given)):
            raise InvalidURL(
                "this is not the URL of a proxy; write http://user:password@host:port, with user "
                "name and password percent-encoded"
            )
        if scheme not in PORTS:
            raise UnsupportedProtocol(
                f"{quoted(scheme)} is no kind of proxy that we speak to: {', '.join(PORTS)}"
            )
        try:
            url = URL(f"http://{rest}")
            # A URL forgets the default port of its scheme, which means another thing here.
            port = url.port or URL(f"https://{rest}").port or PORTS[scheme]
        except InvalidURL as exc:
            raise InvalidURL(f"this is not the URL of a proxy: {exc}") from exc
        if url.target != b"/" or url.fragment:
            raise InvalidURL(f"{scheme}://{url.host}: nothing follows host and port of a proxy")
        if not url.userinfo:
            return cls(scheme, url.host, port)
        user, _, password = url.userinfo.partition(":")
        proxy = cls(scheme, url.host, port, unquote_to_bytes(user), unquote_to_bytes(password))
        _check_credentials(proxy)
        return proxy

    @property
    def forwards(self) -> bool:
        """Whether it speaks HTTP, so that it is sent the requests for http:// themselves."""
        return self.scheme in ("http", "https")

    @property
    def resolves(self) -> bool:
        """Whether it is the proxy that looks up names."""
        return self.scheme != "socks5"

    @property
    def authorization(self) -> str | None:
        """What `Proxy-Authorization` says to an HTTP proxy (RFC 7617)."""
        if self.username is None:
            return None
        return "Basic " + b64encode(self.username + b":" + self.password).decode("ascii")

    @property
    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self._address}"

    def __repr__(self) -> str:
        user = "" if self.username is None else "[secure]@"
        return f"<Proxy {self.scheme}://{user}{self._address}>"


def _check_credentials(proxy: Proxy) -> None:
    username, password = proxy.username or b"", proxy.password
    if _CONTROL.search(username) or _CONTROL.search(password):
        raise InvalidURL(f"{proxy}: a control character in its user name or password")
    if proxy.forwards and b":" in username:
        raise InvalidURL(f"{proxy}: a ':' in its user name, which would begin the password")
    if not proxy.forwards and max(len(username), len(password)) > MAX_SOCKS_TEXT:
        raise InvalidURL(
            f"{proxy}: user name and password have {MAX_SOCKS_TEXT} bytes at the most in SOCKS"
        )


class _Variable(NamedTuple):
    """A variable of the environment that is set."""

    name: str
    value: str


class Proxies:
    """The proxies of a client."""

    def __init__(self, given: object = None, environ: Mapping[str, str] | None = None) -> None:
        """Choose for all requests, or read the environment: now, and not again later.

        Args:
            given: the URL of a proxy for every request, whatever the environment says.
            environ: what the environment is, where it counts.

        Raises:
            InvalidURL, UnsupportedProtocol: what was given is no proxy.
        """
        environ = environ if environ is not None and given is None else {}
        self._given = None if given is None else Proxy.of(given)
        everything = _variable(environ, "ALL_PROXY")
        self._named = {
            "http": _variable(environ, "HTTP_PROXY") or everything,
            "https": _variable(environ, "HTTPS_PROXY") or everything,
        }
        exempt = _variable(environ, "NO_PROXY")
        self._exempt = read_exemptions(exempt.value) if exempt is not None else ()

    def __repr__(self) -> str:
        if self._given is not None:
            return f"<Proxies {self._given}>"
        names = {variable.name for variable in self._named.values() if variable is not None}
        return f"<Proxies {' '.join(sorted(names))}>"

    def choose(self, url: URL) -> Proxy | None:
        """The proxy for a URL; None: none.

        Raises:
            ProxyError: the environment names what is no proxy.
        """
        if url.socket_path is not None:
            return None
        variable = self._named.get(url.scheme)
        if variable is None or any(exemption.holds(url) for exemption in self._exempt):
            return self._given
        try:
            return Proxy.of(variable.value)
        except (InvalidURL, UnsupportedProtocol) as exc:
            raise ProxyError(
                f"{variable.name} in the environment: {exc}; set it right, or pass "
                "Client(trust_env=False)"
            ).at("proxy") from exc


def _variable(environ: Mapping[str, str], name: str) -> _Variable | None:
    """A variable that says something; in lower case it hides the other, even if it is empty."""
    lower = name.lower()
    spelling = lower if lower in environ else name
    if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
        if os.name == "nt":  # where names have no case
            return None
        spelling = lower
    value = environ.get(spelling, "").strip()
    return _Variable(spelling, value) if value else None


# ---- NO_PROXY


class Exemption(NamedTuple):
    """An entry of NO_PROXY: either a block of addresses, or the end of a name, or neither: all."""

    block: _Network | None = None
    zone: str = ""  # of the block; "": any
    name: str = ""  # with a dot before it where the name itself does not count
    port: int | None = None  # None: on all

    def holds(self, url: URL) -> bool:
        """Whether a URL goes past the proxy."""
        if self.port is not None and self.port != url.effective_port:
            return False
        if self.block is not None:
            return url.is_ip and self._is_in(self.block, url.host.lower())
        if not self.name:
            return True
        if url.is_ip:  # whose zone may look like the end of a name (CVE-2025-22870)
            return False
        host = url.host.removesuffix(".")
        return host == self.name or host.endswith("." + self.name.removeprefix("."))

    def _is_in(self, block: _Network, address: str) -> bool:
        return self.zone in ("", address.partition("%")[2]) and _plain_address(address) in block


@lru_cache(maxsize=16)  # for each client reads it
def read_exemptions(text: str) -> tuple[Exemption, ...]:
    """Read NO_PROXY; what means nothing exempts nothing."""
    found = (_read_exemption(entry) for entry in re.split(r"[,\s]+", text.lower()) if entry)
    return tuple(exemption for exemption in found if exemption is not None)


def _read_exemption(entry: str) -> Exemption | None:
    _, is_url, rest = entry.partition("://")
    host, port = (rest.partition("/")[0] if is_url else entry.removesuffix("/")), None
    if _read_block(host) is None:  # its colons are not an address's
        before, _, digits = host.rpartition(":")
        if before and digits.isascii() and (digits.isdecimal() or not digits):
            host, port = before, int(digits) if digits else None
    if host == "*":
        return Exemption(port=port)
    if block := _read_block(host):
        return Exemption(*block, port=port)
    name = _in_ascii(host[host.startswith("*.") :].removesuffix("."))
    return Exemption(name=name, port=port) if name else None


def _in_ascii(name: str) -> str:
    """A name as it is in a URL; "" if it is in none."""
    if name.isascii():
        return name
    dot = "." if name.startswith(".") else ""
    try:
        return dot + URL(f"http://{name.removeprefix('.')}").host
    except InvalidURL:
        return ""


# Brackets may stand around the address, or around all of it.
_BLOCK = re.compile(r"\[?([0-9a-f.:]++)(?:%([^/\[\]]++))?\]?(/[0-9.]++)?\]?")


def _read_block(text: str) -> tuple[_Network, str] | None:
    """A block of addresses, of which an address alone is the smallest, and its zone."""
    match = _BLOCK.fullmatch(text)
    if match is None:
        return None
    address, zone, size = match.groups("")
    try:
        block = ipaddress.ip_network(address + size, strict=False)
    except ValueError:
        return None
    if isinstance(block, ipaddress.IPv6Network) and block.prefixlen >= 96:
        mapped = block.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, block.prefixlen - 96)), zone
    return block, zone


def _plain_address(host: str) -> _Address:
    """The address; an IPv4 address in the clothes of IPv6 is what is inside (RFC 4291, 2.5.5.2)."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
