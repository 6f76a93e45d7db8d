"""URLs, read by RFC 3986, and only where no other client could read another host out of them.

Where browsers repair a text (WHATWG: backslashes, blanks, tabs, missing slashes, numbers as IPv4
addresses, percent-encoded hosts), it is refused instead: a repair that one parser makes and the
next does not is how requests are led to the wrong host.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import quote, unquote

from .errors import InvalidURL, UnsupportedProtocol, quoted

MAX_LENGTH: Final = 64 * 1024  # as given, and as normalised (docs/limits.md)
MAX_CACHED_LENGTH: Final = 2048  # so that the cache holds a few MiB
MAX_HOST_LENGTH: Final = 253  # RFC 1035 says 255 octets, two of which are not in the text
MAX_SOCKET_PATH: Final = 107  # bytes; Linux's sun_path without its closing NUL
DEFAULT_PORTS: Final = {"http": 80, "https": 443, "http+unix": 80, "https+unix": 443}

# RFC 3986, appendix B, but with the scheme as section 3.1 has it. It matches every text.
_PARTS = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL
)
_HOST_PORT = re.compile(r"(\[.*\]|[^:\[\]]*)(?::([0-9]*))?", re.DOTALL)
_LONG_VALUE = re.compile(r"=[^&#]{12}")
_SECRET = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)?(//)?.*@", re.DOTALL)

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SURROGATE = re.compile("[\ud800-\udfff]")

# Sections 3.3 to 3.5: pchar, "/" and "?". A "%" is left as it is even where no hex follows.
_SAFE = "!$&'()*+,;=:@/?%"
_LEGAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*")
_DOT_SEGMENT = re.compile(r"(?:\.|%2[eE]){1,2}")

_LABELS = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_NOT_IN_HOST = re.compile(r"[^A-Za-z0-9_.-]")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
_LAST_IS_NUMBER = re.compile(r"(?:\A|\.)(?:[0-9]+|0x[0-9a-f]*)\.?\Z")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]{2,45}")
_ZEROS = re.compile(r"\b0(?::0)+\b")
_SOCKET = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_ZONE = re.compile(r"[A-Za-z0-9._~-]{1,32}")
# The second is what CPython 3.13's punycode makes of a number that is too large for its own error.
_NO_NAME = (UnicodeError, OverflowError)

_set = object.__setattr__


class URL:
    """A URL, checked and normalised when made; it does not change, and may be a dict's key.

    Two are equal if their normalised texts are, which `str()` gives. What is not legal in userinfo,
    path, query or fragment is percent-encoded; what is encoded already stays as it is.

    Attributes:
        given: the text as the caller wrote it, password and all.
        scheme: "http", "https", "http+unix", "https+unix"; "" in a relative URL.
        userinfo: what stands before "@", percent-encoded; `username` and `password` are decoded.
        host: in lower-case ASCII, without brackets; a zone id follows as in "fe80::1%eth0".
        port: None where it is absent, or the scheme's default.
        path: begins with "/", and has no dot segments, unless the URL is relative.
        query: without "?".
        fragment: without "#".
        origin: "https://host", with ":port" if that is not the default; "" in a relative URL.
        target: path and query as the request line has them; b"" with `whole_server()`.
        host_field: the value of the Host field.
        effective_port: the port, or the scheme's default; 0 where there is neither.
        is_ip: the host is an IP address.
        socket_path: the path of the Unix socket ("/run/docker.sock"), or None.

    Raises:
        InvalidURL: the text is no URL, or one that clients are known to read in two ways.
        UnsupportedProtocol: its scheme is none of the four.
    """

    given: str
    scheme: str
    userinfo: str
    host: str
    port: int | None
    path: str
    query: str
    fragment: str
    origin: str
    target: bytes
    host_field: bytes
    effective_port: int
    is_ip: bool
    socket_path: str | None
    _head: str  # scheme and authority, as they stand in _text
    _text: str
    __slots__ = tuple(__annotations__)

    def __init__(self, text: object) -> None:
        given = as_text(text)
        try:
            self._read(given)
        except InvalidURL as exc:
            raise InvalidURL(f"{_shown(given)}: {exc}") from exc.__cause__
        if isinstance(text, URL) and text.is_whole_server:
            self._leave_out_target()

    def _read(self, given: str) -> None:
        _check_text(given)
        scheme, authority, path, query, fragment = _PARTS.match(given).groups()  # type: ignore[union-attr]
        scheme = _check_scheme(given, scheme, authority)
        userinfo, server = _read_authority(scheme, authority)
        path = _read_path(path, relative=not scheme)
        written = f"{userinfo}@{server.written}" if userinfo else server.written
        head = f"{scheme}://{written}" if scheme else f"//{written}" if written else ""
        target = path if query is None else f"{path}?{_encoded(query)}"
        text = head + target if fragment is None else f"{head}{target}#{_encoded(fragment)}"
        if len(text) > MAX_LENGTH:
            raise InvalidURL(f"longer than {MAX_LENGTH:,} characters when percent-encoded")
        _set(self, "given", given)
        _set(self, "scheme", scheme)
        _set(self, "userinfo", userinfo)
        _set(self, "host", server.host)
        _set(self, "port", server.port)
        _set(self, "path", path)
        _set(self, "query", target[len(path) + 1 :])
        _set(self, "fragment", text[len(head) + len(target) + 1 :])
        _set(self, "origin", f"{scheme}://{server.written}" if scheme else "")
        _set(self, "target", target.encode("ascii"))
        _set(self, "host_field", server.host_field)
        _set(self, "effective_port", server.port or DEFAULT_PORTS.get(scheme, 0))
        _set(self, "is_ip", server.is_ip)
        _set(self, "socket_path", server.socket_path)
        _set(self, "_head", head)
        _set(self, "_text", text)

    @property
    def is_absolute(self) -> bool:
        """The URL has a scheme and a host, so that it can be requested."""
        return bool(self.scheme)

    @property
    def is_whole_server(self) -> bool:
        """Made by `whole_server()`: it stands for the server, and for nothing on it."""
        return not self.target and bool(self.scheme)

    def whole_server(self) -> URL:
        """This URL's server as a whole, about which only OPTIONS can ask, as `OPTIONS *`.

        Of path, query and fragment nothing is kept (RFC 9112, section 3.2.4).

        Raises:
            InvalidURL: the URL is relative.
        """
        if not self.scheme:
            raise InvalidURL(f"{_shown(self._text)} has no scheme, and so no server")
        whole = URL(self._head)
        whole._leave_out_target()
        return whole

    def _leave_out_target(self) -> None:
        _set(self, "target", b"")
        _set(self, "_text", self._head)  # RFC 9110, section 4.2.3: for OPTIONS, "/" is another

    @property
    def username(self) -> str:
        """The user name, decoded: any character may be in it."""
        return unquote(self.userinfo.partition(":")[0])

    @property
    def password(self) -> str:
        """The password, decoded: any character may be in it."""
        return unquote(self.userinfo.partition(":")[2])

    @property
    def redacted(self) -> str:
        """The normalised text without userinfo, for errors and logs."""
        return self._text.replace(f"{self.userinfo}@", "", 1) if self.userinfo else self._text

    def join(self, other: object) -> URL:
        """Resolve a reference against this URL (RFC 3986, section 5.2, strict).

        A fragment is the reference's own, or none; userinfo stays as long as the authority does.

        Raises:
            InvalidURL: `other` is no reference, or both are relative.
            UnsupportedProtocol: `other` has a scheme that is none of ours.
        """
        reference = other if isinstance(other, URL) else URL(other)
        if reference.scheme:
            return reference
        if not self.scheme:
            raise InvalidURL(f"{_shown(self._text)} has no scheme, so nothing can be joined to it")
        if reference._head:
            base = f"{self.scheme}:"
        elif reference.path.startswith("/"):
            base = self._head
        elif reference.path:
            base = self._head + self.path[: self.path.rindex("/") + 1]
        elif reference._text.startswith("?"):
            base = self._head + self.path
        else:
            base = self._text.partition("#")[0]
        return URL(base + reference._text)

    def with_query(self, query: str) -> URL:
        """This URL with another query, of which "#" and the like are percent-encoded; "" is none.

        Raises:
            InvalidURL: the query holds a control character or a lone surrogate, or is too long;
                or the URL is a `whole_server()`, which has none.
        """
        if self.is_whole_server:
            raise InvalidURL(f"{self.redacted} stands for a whole server, which has no query")
        _check_characters(query)
        before = self._head + self.path + (f"?{_encoded(query)}" if query else "")
        return URL(f"{before}#{self.fragment}" if self.fragment else before)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        user, colon, _ = self.userinfo.partition(":")
        if not colon:
            return f"URL({self._text!r})"
        return f"URL({self._text.replace(f'{self.userinfo}@', f'{user}:[secure]@', 1)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, URL):
            return NotImplemented
        return self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.is_whole_server:
            return URL.whole_server, (URL(self.given),)
        return URL, (self.given,)

    def _refuse_change(self, *_: object) -> NoReturn:
        raise AttributeError("a URL does not change; make another")

    __setattr__ = __delattr__ = _refuse_change


def parse_url(url: object) -> URL:
    """An absolute URL out of a text, a URL, or whatever has a sane `str()`.

    Raises:
        InvalidURL, UnsupportedProtocol: as `URL` does, and if there is no scheme.
    """
    if (
        type(url) is str  # a subclass may have its own hash
        and len(url) <= MAX_CACHED_LENGTH
        and "@" not in url  # no password is remembered, and nothing as long as a token
        and not ("=" in url and _LONG_VALUE.search(url))
    ):
        return _parse_short(url)
    return _absolute(url if isinstance(url, URL) else URL(url))


@lru_cache(maxsize=4096)
def _parse_short(text: str) -> URL:
    return _absolute(URL(text))


def _absolute(url: URL) -> URL:
    if not url.scheme:
        raise InvalidURL(f"{_shown(url.given)} has no scheme; write 'https://...'")
    return url


def as_text(value: object) -> str:
    """What a caller wrote: a text, that of a URL, or whatever has a sane `str()`.

    Raises:
        InvalidURL: bytes, numbers and None have none.
    """
    if isinstance(value, URL):
        return value.given
    if value is None or isinstance(value, (bytes, bytearray, memoryview, int, float)):
        raise InvalidURL(f"{quoted(repr(value))}: expected a str or a URL")
    return str(value)


def _shown(text: str) -> str:
    """The text as errors show it: cut, and with nothing that may be a password."""
    return quoted(_SECRET.sub(r"\1\2[secure]@", text, count=1) if "@" in text else text)


def _check_text(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise InvalidURL(f"{len(text):,} characters; at most {MAX_LENGTH:,} are read")
    _check_characters(text)
    if text.startswith(" ") or text.endswith(" "):
        raise InvalidURL("a blank at its start or end; strip() it")


def _check_characters(text: str) -> None:
    if text.isascii() and text.isprintable():
        return
    if bad := _CONTROL.search(text):
        code = f"%{ord(bad[0]):02X}"
        raise InvalidURL(f"{bad[0]!r} at position {bad.start()}; remove it, or write {code}")
    if bad := _SURROGATE.search(text):
        raise InvalidURL(f"{bad[0]!r} at position {bad.start()}: half a character; remove it")


def _check_scheme(given: str, scheme: str | None, authority: str | None) -> str:
    if scheme is None:
        return ""
    if scheme.lower() not in DEFAULT_PORTS:
        hint = "" if authority is not None else "; if it is a host, write 'http://' before it"
        raise UnsupportedProtocol(
            f"{_shown(given)}: {quoted(scheme)} is none of {', '.join(DEFAULT_PORTS)}{hint}"
        )
    if authority is None:
        raise InvalidURL(f"no '//' after '{scheme}:'; write '{scheme}://host/path'")
    return scheme.lower()


def _encoded(part: str) -> str:
    """Percent-encode what RFC 3986 does not allow; "?" and "/" are legal where we call this."""
    return part if _LEGAL.fullmatch(part) else quote(part, safe=_SAFE)


def _read_path(path: str, *, relative: bool) -> str:
    if "\\" in path:
        raise InvalidURL("a backslash in the path; write '/', or %5C if it belongs to a name")
    path = _encoded(path)
    if relative:
        return path  # its dots mean something only after it is joined
    if "/." in path or "/%2" in path:
        return _without_dots(path)
    return path or "/"


def _without_dots(path: str) -> str:
    """Remove dot segments (section 5.2.4); like browsers, take "%2e" for a dot."""
    kept: list[str] = []
    for segment in path[1:].split("/"):
        is_dots = _DOT_SEGMENT.fullmatch(segment)
        dots = len(segment) - 2 * segment.count("%") if is_dots else 0
        if dots == 2 and kept:
            kept.pop()
        if not dots:
            kept.append(segment)
    if dots:
        kept.append("")  # a dot segment at the end leaves its slash
    return "/" + "/".join(kept)


class _Server(NamedTuple):
    """What stands between userinfo and path."""

    host: str
    port: int | None
    is_ip: bool
    socket_path: str | None
    written: str  # as in the normalised URL: brackets, zone id, port unless default
    host_field: bytes


_NO_SERVER = _Server("", None, False, None, "", b"")


def _read_authority(scheme: str, text: str | None) -> tuple[str, _Server]:
    if text is None:
        return "", _NO_SERVER
    if "@" not in text:
        return "", _read_server(scheme, text)
    # The authority ends at the first "/", "?" or "#", as for everybody. Which "@" counts if there
    # are two is where parsers differ, and what brackets and backslashes mean before it.
    userinfo, _, server = text.rpartition("@")
    if any(char in userinfo for char in "@[]\\ "):
        raise InvalidURL(
            "'@', '[', ']', a backslash or a blank before the host's '@'; "
            "percent-encode user name and password"
        )
    return _encoded(userinfo), _read_server(scheme, server)


@lru_cache(maxsize=1024)  # millions of URLs have few hosts; what can be read is short
def _read_server(scheme: str, text: str) -> _Server:
    if scheme.endswith("+unix"):
        return _read_socket(text)
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise InvalidURL("after the host, only ':' and a port in digits; [] around IPv6 addresses")
    host, is_ip = _read_host(match[1])
    port = _read_port(match[2])
    if port == DEFAULT_PORTS.get(scheme):
        port = None
    suffix = "" if port is None else f":{port}"
    if ":" not in host:
        written = host + suffix
        return _Server(host, port, is_ip, None, written, written.encode("ascii"))
    address, percent, zone = host.partition("%")
    written = f"[{address}%25{zone}]{suffix}" if percent else f"[{address}]{suffix}"
    # A zone id means something on this machine only (RFC 6874, section 4).
    return _Server(host, port, True, None, written, f"[{address}]{suffix}".encode("ascii"))


def _read_port(digits: str | None) -> int | None:
    if not digits:
        return None  # "host:" is "host" (section 3.2.3)
    if len(digits) > 5 or not 0 < int(digits) <= 65535:
        raise InvalidURL("the port is not a number from 1 to 65535")
    return int(digits)


def _read_socket(text: str) -> _Server:
    """Read the authority of http+unix: the percent-encoded path of a socket."""
    try:
        path = unquote(text, errors="strict") if len(text) <= 3 * MAX_SOCKET_PATH else ""
    except UnicodeDecodeError:
        path = ""
    legal = _SOCKET.fullmatch(text) and path.startswith("/") and not _CONTROL.search(path)
    if not legal or len(path.encode()) > MAX_SOCKET_PATH:
        raise InvalidURL(
            "expected the percent-encoded path of a socket, as in http+unix://%2Frun%2Fa.sock/, "
            f"of at most {MAX_SOCKET_PATH} bytes"
        )
    return _Server("localhost", None, False, path, quote(path, safe=""), b"localhost")


def _read_host(text: str) -> tuple[str, bool]:
    """The host, and whether it is an IP address."""
    if text.startswith("["):
        return _read_ipv6(text[1:-1]), True
    if not text:
        raise InvalidURL("the host is missing")  # RFC 9110, section 4.2.1
    _check_host_length(text)  # before IDNA, which takes its time
    host = text.lower() if text.isascii() else _to_ascii(text)
    _check_labels(host)
    if not _LAST_IS_NUMBER.search(host):
        return host, False
    if host != text or not _IPV4.fullmatch(host):
        raise InvalidURL("the host ends in a number; write IPv4 addresses as four plain decimals")
    return host, True


def _check_host_length(host: str) -> None:
    if len(host) - host.endswith(".") > MAX_HOST_LENGTH:
        raise InvalidURL(f"the host is longer than {MAX_HOST_LENGTH} characters")


def _check_labels(host: str) -> None:
    if bad := _NOT_IN_HOST.search(host):
        raise InvalidURL(f"{bad[0]!r} in the host; it takes letters, digits, '-', '_' and '.'")
    if not _LABELS.fullmatch(host):
        raise InvalidURL("between the dots of a host stand 1 to 63 characters")
    _check_host_length(host)
    if "xn--" in host:
        _check_a_labels(host)


def _check_a_labels(host: str) -> None:
    """Refuse what looks encoded and is not (RFC 5891, section 5.4)."""
    for label in host.split("."):
        if label.startswith("xn--") and not _is_honest(label):
            raise InvalidURL(f"{label!r} in the host encodes no international name")


def _is_honest(label: str) -> bool:
    """Whether a label encodes a name, and in the one way there is; without `idna`, whether it
    encodes anything that can be read."""
    try:
        import idna
    except ImportError:
        return _is_punycode(label[4:])
    try:
        return idna.alabel(idna.ulabel(label)).decode() == label
    except _NO_NAME:
        return False


def _is_punycode(text: str) -> bool:
    """RFC 3492, and more than ASCII in it, of which all can be seen."""
    try:
        name = text.encode("ascii").decode("punycode")
        same = name.encode("punycode").decode("ascii") == text
    except _NO_NAME:
        return False
    return same and not name.isascii() and name.isprintable()


def _to_ascii(host: str) -> str:
    try:
        import idna
    except ImportError:
        raise InvalidURL(
            "the host is not ASCII; pip install 'fastreq-http[idna]', or write it as xn--..."
        ) from None
    if "ẞ" in host:  # UTS 46 made it "ss" up to Unicode 15.0, and makes it "ß" since
        raise InvalidURL("'ẞ' in the host is read in two ways; write 'ss' or 'ß'")
    try:
        return idna.encode(host, uts46=True, transitional=False, std3_rules=True).decode()
    except _NO_NAME as exc:
        what = exc if isinstance(exc, UnicodeError) else "its punycode is too large a number"
        raise InvalidURL(f"the host is no valid international name: {what}") from exc


def _read_ipv6(text: str) -> str:
    address, percent, zone = text.partition("%25")
    if not _IPV6.fullmatch(address) or (percent and not _ZONE.fullmatch(zone)):
        raise InvalidURL("in [] stands an IPv6 address, after it perhaps %25 and a zone id")
    try:
        packed = IPv6Address(address).packed
    except ValueError:
        raise InvalidURL("what stands in [] is no IPv6 address") from None
    return f"{_compressed(packed)}%{zone}" if percent else _compressed(packed)


def _compressed(packed: bytes) -> str:
    """Write an IPv6 address as RFC 5952 does; `str(IPv6Address)` differs between Pythons."""
    text = ":".join(f"{group:x}" for group in struct.unpack("!8H", packed))
    longest = max(_ZEROS.finditer(text), key=lambda zeros: len(zeros[0]), default=None)
    if longest is None:
        return text
    return f"{text[: longest.start()].rstrip(':')}::{text[longest.end() :].lstrip(':')}"
