"""The cookies of a client, as its users see them."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar, overload

from fastreq.errors import LocalProtocolError, quoted
from fastreq.headers import TOKEN_CHARACTER
from fastreq.messages import Response
from fastreq.policies.cookie_file import read_cookie_file, write_cookie_file
from fastreq.policies.cookie_store import CookieStore, Shelf, prefix_of
from fastreq.policies.set_cookie import SESSION, Cookie, plain_domain
from fastreq.url import URL

MAX_SENT: Final = 150  # in one Cookie field, which has at most
MAX_SENT_BYTES: Final = 8190
MAX_FIELDS: Final = 64  # Cookie fields that are kept as they were put together

# What may be sent when it was given by hand (RFC 6265, section 4.1.1): a token, then cookie-octets,
# with or without quotes around them.
_NAME = re.compile(f"{TOKEN_CHARACTER}+")
_VALUE = re.compile(r'("?)[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*\1')
_NOT_IN_VALUE = re.compile(r"[^\x21-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]")
_DOMAIN = re.compile(r"(?=.)(?:[a-z0-9_:-]+(?:\.[a-z0-9_:-]+)*\.?)?(?:%[A-Za-z0-9_:.%~-]+)?")
_PATH = re.compile(r"/[\x21-\x3a\x3c-\x7e]*")

_T = TypeVar("_T")


class Cookies(MutableMapping[str, str]):
    """The cookies of a client, and whose they are.

    What servers set is sent back to them alone, as RFC 6265bis says: by domain, path, Secure, the
    prefixes `__Secure-` and `__Host-`, and until it expires. SameSite is kept and has no effect:
    this is no browser, and knows no site that a request came from.

    To those who look at it, it is a dict of names and values; of several cookies of one name it
    shows the newest. `all()` shows all there is to each, and `repr()` no value.

    A cookie that is set by name alone, as in `cookies["a"] = "b"` or `Client(cookies={"a": "b"})`,
    has no scope. It replaces all others of its name, and goes along with every request that you
    ask for, whatever the host, but never to another origin that a redirect leads to; what a server
    sets under its name is newer, and is sent to that server in its place. Where one client talks to
    many hosts, say whose it is: `cookies.set("a", "b", domain="api.example.com")`.

    Args:
        cookies: a mapping, a list of (name, value), or other `Cookies`, which are copied.
        public_suffixes: tells whether a domain is one under which anybody can have a name, like
            "co.uk", so that no cookie may be set for all of it. By default the package
            publicsuffixlist says it (pip install 'fastreq-http[cookies]'; it is loaded with the
            first cookie that has a Domain, in about 100 ms). Without it, only what has no dot
            inside is known to be one: "uk" is, and "co.uk" is not.
        clock: gives seconds since the epoch.
    """

    def __init__(
        self,
        cookies: CookieTypes | None = None,
        *,
        public_suffixes: Callable[[str], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = CookieStore(public_suffixes, clock)
        self._view: dict[str, Cookie] = {}  # the newest by name
        self._view_changes = 0  # the store's, when the view was made
        self._view_ends = math.inf  # when one of it expires
        self._fields: dict[tuple[Any, ...], str] = {}  # put together before; the newest last
        if cookies is not None:
            self.update(cookies)

    # ---- for the client

    def header_for(self, url: URL, given: str = "", *, unscoped: bool = True) -> str | None:
        """The value of the one Cookie field of a request to `url`, or None.

        Args:
            url: where the request goes.
            given: a value that was set by hand. It comes first, whole, and its names win.
            unscoped: whether cookies without a domain go along: not once a redirect has left the
                origin that was asked for, and not if a later one leads back to it.
        """
        if not self:
            return given or None
        scoped = self._store.shelves(url)
        anywhere = self._store.unscoped(url) if unscoped else []
        self._store.use(scoped)
        self._store.use(anywhere)
        key = given, *[shelf.version for shelf in scoped], 0, *[s.version for s in anywhere]
        field = self._fields.pop(key, None)
        if field is None:
            field = _field(scoped, anywhere, given)
            if len(self._fields) >= MAX_FIELDS:
                del self._fields[next(iter(self._fields))]
        self._fields[key] = field
        return field or None

    def store(self, url: URL, set_cookie_values: Iterable[str]) -> None:
        """Keep what the Set-Cookie fields of a response from `url` say, each for itself.

        One that breaks a rule is ignored; nothing is raised.
        """
        self._store.receive(url, set_cookie_values)

    # ---- for everybody

    def set(
        self,
        name: str,
        value: str,
        domain: str = "",
        path: str = "/",
        *,
        secure: bool = False,
        expires: float | None = None,
    ) -> None:
        """Set a cookie for a host, "example.com", or with its subdomains, ".example.com".

        Without a domain it has no scope, as the docstring of the class says. `expires` is in
        seconds since the epoch. The prefixes `__Secure-` and `__Host-` make it secure.

        Raises:
            LocalProtocolError: it cannot be sent, or is for everybody under a public suffix.
        """
        _check_pair(name, value)
        host, host_only = plain_domain(domain), not domain.startswith(".")
        if domain and (not _DOMAIN.fullmatch(host) or host.count(":") == 1):  # a port
            raise LocalProtocolError(f"cookie {quoted(name)}: domain {quoted(domain)} is no host")
        if not host_only and self._store.is_public_suffix(host):
            raise LocalProtocolError(
                f"cookie {quoted(name)}: anybody can have a host under {quoted(domain)}"
            )
        if not _PATH.fullmatch(path):
            raise LocalProtocolError(f"cookie {quoted(name)}: path {quoted(path)}; expected '/...'")
        prefix = prefix_of(name)
        if prefix == "__host-" and (path != "/" or not host_only):
            raise LocalProtocolError(f"cookie {quoted(name)}: __Host- means one host, and path '/'")
        if not domain:
            self._store.drop(self._store.select(name))
        secure = secure or bool(prefix)
        end = SESSION if expires is None else float(expires)
        self._store.put(Cookie(name, value, host, path, host_only, secure, expires=end))
        self._store.trim()

    @overload
    def get(
        self, name: str, default: None = None, domain: str | None = None, path: str | None = None
    ) -> str | None: ...
    @overload
    def get(
        self, name: str, default: str | _T, domain: str | None = None, path: str | None = None
    ) -> str | _T: ...
    def get(
        self, name: str, default: Any = None, domain: str | None = None, path: str | None = None
    ) -> Any:
        """The value of the newest cookie of this name, and of this domain and path if given."""
        found = self._store.select(name, domain, path)
        return found[-1].value if found else default

    def delete(self, name: str, domain: str | None = None, path: str | None = None) -> None:
        """Delete every cookie of this name, and of this domain and path if given.

        Raises:
            KeyError: there is none.
        """
        found = self._store.select(name, domain, path)
        if not found:
            raise KeyError(name)
        self._store.drop(found)
        self._fields.clear()

    def clear(self, domain: str | None = None, path: str | None = None) -> None:
        """Delete all cookies, or those of a domain and of a path."""
        self._store.drop(self._store.select(None, domain, path))
        self._fields.clear()  # what was secret is not kept longer than its cookies

    def all(self) -> list[Cookie]:
        """Copies of all cookies with all that is known of them, oldest first."""
        return [replace(cookie) for cookie in self._store.select()]

    def update(self, cookies: CookieTypes = (), /, **named: str) -> None:  # type: ignore[override]
        """Set cookies by name alone; those of other `Cookies` keep their scope."""
        if isinstance(cookies, Cookies):
            for cookie in cookies.all():
                self._store.put(cookie)
            self._store.trim()
        else:
            for name, value in [*_pairs(cookies), *named.items()]:
                self.set(name, value)

    def copy(self) -> Cookies:
        """The same cookies, free to change."""
        store = self._store
        return Cookies(self, public_suffixes=store.public_suffixes, clock=store.clock)

    __copy__ = copy

    def load(self, path: str | os.PathLike[str]) -> None:
        """Add the cookies of a Netscape cookies.txt, as curl and browser extensions write it.

        Left out is what no server may set: a cookie for all under a public suffix, and one whose
        prefix `__Secure-` or `__Host-` promises what the line does not keep.

        Raises:
            OSError: the file cannot be read.
            ValueError: a line of it is no cookie; then none of them is added.
        """
        for cookie in read_cookie_file(path):
            if _keeps_its_prefix(cookie) and (
                cookie.host_only or not self._store.is_public_suffix(cookie.domain)
            ):
                self._store.put(cookie)
        self._store.trim()

    def save(self, path: str | os.PathLike[str], *, session: bool = False) -> None:
        """Write a Netscape cookies.txt that its owner alone can read (mode 0600), in one step.

        Cookies that end with the session are left out unless `session=True`; those without a
        domain always are, as the file has no place for them.

        Raises:
            OSError: the file cannot be written; what was there before is there still.
        """
        kept = [c for c in self.all() if c.domain and (session or c.expires != SESSION)]
        write_cookie_file(path, kept)

    def __getitem__(self, name: str) -> str:
        found = self._store.select(name)
        if not found:
            raise KeyError(name)
        return found[-1].value

    def __setitem__(self, name: str, value: str) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._newest())

    def __len__(self) -> int:
        return len(self._newest())

    def __bool__(self) -> bool:
        return bool(self._store.domains)  # asked for every request, so no more than this

    def __repr__(self) -> str:
        names = ", ".join(self)  # the values are secret
        return f"<Cookies {names}>" if names else "<Cookies>"

    def __getstate__(self) -> dict[str, Any]:
        """A pickle has the cookies that there are, and nothing of those that have gone."""
        return {
            **vars(self),
            "_store": self.copy()._store,
            "_view_changes": -1,
            "_view": {},
            "_fields": {},
        }

    def _newest(self) -> dict[str, Cookie]:
        """The newest cookie of each name, found once for as long as it is true."""
        if self._view_changes != self._store.changes or self._store.clock() >= self._view_ends:
            self._view = {cookie.name: cookie for cookie in self._store.select()}
            self._view_ends = min((c.expires for c in self._view.values()), default=math.inf)
            self._view_changes = self._store.changes
        return self._view


def _keeps_its_prefix(cookie: Cookie) -> bool:
    prefix = prefix_of(cookie.name or cookie.value)
    if prefix == "__host-" and not (cookie.host_only and cookie.path == "/"):
        return False
    return not prefix or bool(cookie.name and cookie.secure)


def _field(scoped: list[Shelf], anywhere: list[Shelf], given: str) -> str:
    """The value of a Cookie field: what was given, and of these shelves what there is room for."""
    names = {pair.partition("=")[0].strip(" \t") for pair in given.split(";")} if given else set()
    pairs, size = [given] if given else [], len(given)
    rest = (c for c in _in_order(scoped, anywhere) if c.name not in names)
    for cookie in islice(rest, MAX_SENT):
        pair = f"{cookie.name}={cookie.value}" if cookie.name else cookie.value
        size += len(pair) + (2 if pairs else 0)
        if size > MAX_SENT_BYTES:
            break
        pairs.append(pair)
    return "; ".join(pairs)


def _in_order(scoped: list[Shelf], anywhere: list[Shelf]) -> Iterator[Cookie]:
    """Section 5.8.3: longer paths first, and of equal ones the older. What has a scope is newer
    than what has none and the same name, which is left out."""
    by_length = sorted([*scoped, *anywhere], key=lambda shelf: -len(shelf.path))
    for _, shelves in groupby(by_length, key=lambda shelf: len(shelf.path)):
        for cookie in merge(*(s.cookies.values() for s in shelves), key=attrgetter("created")):
            if cookie.domain or not any(cookie.name in shelf.cookies for shelf in scoped):
                yield cookie


def _jar_of(url: URL, set_cookie_values: Iterable[str]) -> Cookies:
    jar = Cookies()
    jar.store(url, set_cookie_values)
    return jar


Response.jar = _jar_of  # what `response.cookies` gives

CookieTypes: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]] | Cookies


def cookie_header(cookies: CookieTypes, url: URL) -> str:
    """The value of the Cookie field for the cookies of one request to `url`, or "".

    Of a jar, those are taken that may go there.

    Raises:
        LocalProtocolError: a name or a value cannot be sent.
        TypeError: one is not text.
    """
    if isinstance(cookies, Cookies):
        return cookies.header_for(url) or ""
    pairs = list(_pairs(cookies))
    for name, value in pairs:
        _check_pair(name, value)
    return "; ".join(f"{name}={value}" for name, value in pairs)


def _pairs(cookies: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(cookies, Mapping):
        return cookies.items()
    if isinstance(cookies, (str, bytes)) or not isinstance(cookies, Iterable):
        raise TypeError(
            f"cookies= is a {type(cookies).__name__}; expected a mapping, a list of (name, value), "
            "or Cookies"
        )
    return map(_pair, cookies)


def _pair(given: Any) -> tuple[Any, Any]:
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return given[0], given[1]
    raise TypeError(f"cookies= holds a {type(given).__name__}; expected (name, value) in it")


def _check_pair(name: Any, value: Any) -> None:
    for part in (name, value):
        if not isinstance(part, str):
            raise TypeError(f"cookie {quoted(str(name))}: expected str, got {type(part).__name__}")
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(
            f"cookie name {quoted(name)} is not a token: letters, digits and !#$%&'*+-.^_`|~ only"
        )
    if not _VALUE.fullmatch(value):
        bad = _NOT_IN_VALUE.search(value)  # the value itself may be secret
        raise LocalProtocolError(
            f"cookie {quoted(name)}: {bad[0] if bad else chr(34)!r} cannot stand in its value; "
            "percent-encode it"
        )
