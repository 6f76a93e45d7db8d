"""Where cookies are kept (RFC 6265bis, section 5.7), so that finding and replacing some is quick.

Those of one domain stand on shelves, each of which goes to a request as a whole or not at all. So a
request looks at the shelves of its host, and at no cookie.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from heapq import nsmallest
from importlib import import_module
from typing import Final

from fastreq.policies.set_cookie import Cookie, SetCookie, parse_set_cookie, plain_domain
from fastreq.url import URL

MAX_PER_RESPONSE: Final = 50  # Set-Cookie fields; those after them are not looked at
MAX_PER_DOMAIN: Final = 180
MAX_COOKIES: Final = 3000
MAX_CHOSEN: Final = 300
"""Cookies that are chosen at once to go next, for which all of a full jar are looked at."""


class Shelf:
    """Cookies of one domain that go to the same requests, by name; oldest first."""

    __slots__ = ("cookies", "domain", "ends", "host_only", "path", "secure", "used", "version")

    def __init__(self, like: Cookie) -> None:
        self.domain = like.domain
        self.path = like.path
        self.host_only = like.host_only
        self.secure = like.secure
        self.cookies: dict[str, Cookie] = {}
        self.ends = math.inf  # none of them expires before
        self.used = 0  # when all of them were needed last; one of them may be younger
        self.version = 0  # which no other shelf has, nor this one with other cookies

    def __repr__(self) -> str:
        return f"<Shelf {self.domain}{self.path} cookies={len(self.cookies)}>"

    def age(self, cookie: Cookie) -> tuple[int, int]:
        """When a cookie of this shelf was needed last, and when it was made."""
        return max(cookie.used, self.used), cookie.created


class Domain:
    """The cookies of one domain, on shelves by their path."""

    __slots__ = ("count", "paths")

    def __init__(self) -> None:
        self.count = 0  # of cookies
        self.paths: dict[str, list[Shelf]] = {}

    def __repr__(self) -> str:
        return f"<Domain cookies={self.count}>"

    def all_shelves(self) -> Iterator[Shelf]:
        """All there are."""
        return (shelf for shelves in self.paths.values() for shelf in shelves)

    def shelves_for(self, path: str) -> list[Shelf]:
        """Those whose path is that of a request, or a folder above it."""
        paths = self.paths
        if len(paths) > 2 * path.count("/"):
            found = [above for above in _above(path) if above in paths]
        else:
            found = [above for above in paths if path_matches(path, above)]
        return [shelf for above in found for shelf in paths[above]]

    def shelf_of(self, cookie: Cookie) -> Shelf:
        """Where a cookie stands, or is to stand."""
        shelves = self.paths.setdefault(cookie.path, [])
        for shelf in shelves:
            if shelf.host_only == cookie.host_only and shelf.secure == cookie.secure:
                return shelf
        shelves.append(Shelf(cookie))
        return shelves[-1]


class CookieStore:
    """Cookies, found by the URL they go to, and kept by the rules and within the limits."""

    def __init__(
        self,
        public_suffixes: Callable[[str], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.public_suffixes = public_suffixes
        self.clock = clock
        self.changes = 0  # how often a cookie came or went
        self.domains: dict[str, Domain] = {}  # none is empty; "" has those for any host
        self.count = 0  # of cookies
        self._named: dict[str, dict[str, list[Cookie]]] = {}  # by name, then by domain
        self._backwards: list[str] = []  # the domains, sorted: what is below one stands behind it
        self._serial = 0  # of what happened last; it orders what was made and what was used
        self._ends = math.inf  # nothing expires before
        self._chosen: list[tuple[Cookie, tuple[int, int]]] = []  # who go next, the last first

    # ---- finding

    def shelves(self, url: URL) -> list[Shelf]:
        """Whose cookies go to `url`: of its host, and the domain cookies of those above it."""
        domain = host_of(url)
        found = self._shelves(domain, url)
        if _has_parents(url):
            _, _, domain = domain.partition(".")
            while domain:
                if domain in self.domains:
                    found += [s for s in self._shelves(domain, url) if not s.host_only]
                _, _, domain = domain.partition(".")
        return found

    def unscoped(self, url: URL) -> list[Shelf]:
        """Whose cookies go to `url` because they go to any host."""
        return self._shelves("", url)

    def _shelves(self, domain: str, url: URL) -> list[Shelf]:
        of_domain = self.domains.get(domain)
        if of_domain is None:
            return []
        secure = url.scheme.startswith("https")
        found = [s for s in of_domain.shelves_for(url.path) if secure or not s.secure]
        now = self.clock()
        for shelf in found:
            if shelf.ends <= now:
                self._drop_expired([shelf], now)
        return [shelf for shelf in found if shelf.cookies]

    def select(
        self, name: str | None = None, domain: str | None = None, path: str | None = None
    ) -> list[Cookie]:
        """Those of a name, a domain and a path, oldest first; what has expired goes."""
        now = self.clock()
        found = self._find(name, None if domain is None else plain_domain(domain))
        self.drop([cookie for cookie in found if cookie.expires <= now])
        found = [c for c in found if c.expires > now and path in (None, c.path)]
        return sorted(found, key=lambda cookie: cookie.created)

    def _find(self, name: str | None, domain: str | None) -> list[Cookie]:
        if name is not None:
            by_domain = self._named.get(name, {})
            lists = by_domain.values() if domain is None else [by_domain.get(domain, [])]
            return [cookie for cookies in lists for cookie in cookies]
        shelves = self._all_shelves(self.domains if domain is None else [domain])
        return [cookie for shelf in shelves for cookie in shelf.cookies.values()]

    def _all_shelves(self, domains: Iterable[str]) -> Iterator[Shelf]:
        kept = self.domains
        return (shelf for name in domains if name in kept for shelf in kept[name].all_shelves())

    # ---- keeping

    def receive(self, url: URL, fields: Iterable[str]) -> None:
        """Keep what the Set-Cookie fields of one response say; what breaks a rule is ignored."""
        now = self.clock()
        changed: set[str] = set()
        for _, field in zip(range(MAX_PER_RESPONSE), fields, strict=False):
            said = parse_set_cookie(field, now)
            cookie = None if said is None else self._admit(said, url)
            if cookie is None:
                continue
            if cookie.expires > now:
                self.put(cookie)
                changed.add(cookie.domain)
            else:
                self.drop([cookie])
        for domain in changed:
            self._trim_domain(domain, now)
        self.trim()

    def _admit(self, said: SetCookie, url: URL) -> Cookie | None:
        """The cookie to keep, or None; the steps are those of section 5.7."""
        host, over_tls = host_of(url), url.scheme.startswith("https")
        domain, host_only = said.domain or host, not said.domain
        # Steps 8 to 10. An address or a socket has no domain above it.
        if domain != host and not host.endswith(f".{domain}"):
            return None
        if not host_only and (not _has_parents(url) or self.is_public_suffix(domain)):
            if domain != host:
                return None
            host_only = True
        path = said.path or default_path(url.path)  # step 11
        if said.secure and not over_tls:  # steps 12 and 13
            return None
        # Step 16: http neither replaces a Secure cookie nor stands in its way.
        if not over_tls and self._overlays(said.name, domain, path):
            return None
        # Steps 20 to 22. Where there is no name, a server takes the value for one.
        prefix = prefix_of(said.name or said.value)
        if prefix and not (said.name and said.secure):
            return None
        if prefix == "__host-" and not (host_only and said.path == "/"):
            return None
        return Cookie(
            said.name,
            said.value,
            domain=domain,
            path=path,
            host_only=host_only,
            secure=said.secure,
            http_only=said.http_only,
            same_site=said.same_site,
            expires=said.expires,
        )

    def _overlays(self, name: str, domain: str, path: str) -> bool:
        """Whether a Secure cookie of this name, of the domain or one above or below it, goes where
        one of this path would."""
        by_domain = self._named.get(name, {})
        return any(
            cookie.secure and path_matches(path, cookie.path)
            for other in self._around(domain, by_domain)
            for cookie in by_domain[other]
        )

    def _around(self, domain: str, those: Collection[str]) -> list[str]:
        """The domain, and of those the ones above and below it."""
        found = []
        above = domain
        while above:
            found.append(above)
            _, _, above = above.partition(".")
        # "/" is what comes after ".", so that all between these two end in ".domain".
        first = bisect_left(self._backwards, _backwards(f".{domain}"))
        end = bisect_left(self._backwards, _backwards(f"/{domain}"))
        if end - first < len(those):
            found += [_backwards(below) for below in self._backwards[first:end]]
        else:
            found += [below for below in those if below.endswith(f".{domain}")]
        return [other for other in found if other in those]

    def is_public_suffix(self, domain: str) -> bool:
        """Whether anybody can have a name under this one; without a dot inside, it is so."""
        name = domain.strip(".")
        return "." not in name or (self.public_suffixes or _installed_suffixes())(name)

    def put(self, cookie: Cookie) -> None:
        """Keep a cookie in place of the one it replaces, whose age it takes (step 23)."""
        old = self._like(cookie)
        if old is not None and old.expires <= self.clock():
            self._remove(old)
            old = None
        self._serial += 1
        cookie.used = self._serial
        cookie.created = cookie.used if old is None else old.created
        self._ends = min(self._ends, cookie.expires)
        if old is not None and old.secure == cookie.secure:
            self._replace(old, cookie)
            return
        if old is not None:
            self._remove(old)
        if cookie.domain not in self.domains:
            self.domains[cookie.domain] = Domain()
            insort(self._backwards, _backwards(cookie.domain))
        of_domain = self.domains[cookie.domain]
        shelf = of_domain.shelf_of(cookie)
        shelf.cookies[cookie.name] = cookie
        shelf.ends = min(shelf.ends, cookie.expires)
        if old is not None:
            by_age = sorted(shelf.cookies.items(), key=lambda pair: pair[1].created)
            shelf.cookies = dict(by_age)
        self._named.setdefault(cookie.name, {}).setdefault(cookie.domain, []).append(cookie)
        of_domain.count += 1
        self.count += 1
        self._note(shelf)

    def _replace(self, old: Cookie, cookie: Cookie) -> None:
        """Put a cookie exactly where another was."""
        named = self._named[old.name][old.domain]
        named[named.index(old)] = cookie
        shelf = self.domains[old.domain].shelf_of(old)
        shelf.cookies[old.name] = cookie
        shelf.ends = min(shelf.ends, cookie.expires)
        self._note(shelf)

    def _like(self, cookie: Cookie) -> Cookie | None:
        """The cookie that has the name, the domain and the path of this one."""
        for other in self._named.get(cookie.name, {}).get(cookie.domain, ()):
            if other.path == cookie.path and other.host_only == cookie.host_only:
                return other
        return None

    def _note(self, shelf: Shelf) -> None:
        self.changes += 1
        shelf.version = self.changes

    def use(self, shelves: Iterable[Shelf]) -> None:
        """Note that their cookies are needed: what was not needed for longest goes first."""
        self._serial += 1
        for shelf in shelves:
            shelf.used = self._serial

    def drop(self, cookies: Iterable[Cookie]) -> None:
        """Remove those that have the name, domain and path of one of these."""
        for cookie in cookies:
            if (kept := self._like(cookie)) is not None:
                self._remove(kept)

    def _remove(self, cookie: Cookie) -> None:
        by_domain = self._named[cookie.name]
        by_domain[cookie.domain].remove(cookie)
        if not by_domain[cookie.domain]:
            del by_domain[cookie.domain]
        if not by_domain:
            del self._named[cookie.name]
        of_domain = self.domains[cookie.domain]
        shelf = of_domain.shelf_of(cookie)
        del shelf.cookies[cookie.name]
        of_domain.count -= 1
        self.count -= 1
        self._note(shelf)
        if not shelf.cookies:
            self._take_down(of_domain, shelf)

    def _take_down(self, of_domain: Domain, shelf: Shelf) -> None:
        """Forget a shelf that is empty, and what is empty without it."""
        of_domain.paths[shelf.path].remove(shelf)
        if not of_domain.paths[shelf.path]:
            del of_domain.paths[shelf.path]
        if not of_domain.paths:
            del self.domains[shelf.domain]
            del self._backwards[bisect_left(self._backwards, _backwards(shelf.domain))]

    def _drop_expired(self, shelves: Iterable[Shelf], now: float) -> None:
        for shelf in tuple(shelves):
            for cookie in tuple(shelf.cookies.values()):
                if cookie.expires <= now:
                    self._remove(cookie)
            shelf.ends = min((c.expires for c in shelf.cookies.values()), default=math.inf)

    # ---- limits (the end of section 5.7)

    def _trim_domain(self, domain: str, now: float) -> None:
        """Keep the limit of one domain: first goes what has expired, then what is not Secure."""
        of_domain = self.domains.get(domain)
        if of_domain is None or of_domain.count <= MAX_PER_DOMAIN:
            return
        ranked = [
            ((cookie.expires > now, shelf.secure, *shelf.age(cookie)), cookie)
            for shelf in of_domain.all_shelves()
            for cookie in shelf.cookies.values()
        ]
        too_many = of_domain.count - MAX_PER_DOMAIN
        self.drop(cookie for _, cookie in nsmallest(too_many, ranked, key=lambda pair: pair[0]))

    def trim(self) -> None:
        """Keep the limit of all cookies: first goes what has expired."""
        if self.count > MAX_COOKIES and self._ends <= (now := self.clock()):
            self._drop_expired(self._all_shelves(self.domains), now)
            shelves = self._all_shelves(self.domains)
            self._ends = min((shelf.ends for shelf in shelves), default=math.inf)
        while self.count > MAX_COOKIES:
            self._chosen = self._chosen or self._choose()
            cookie, age = self._chosen.pop()
            # It may have gone meanwhile, or been needed.
            if self._like(cookie) is cookie and age == self._age(cookie):
                self._remove(cookie)

    def _age(self, cookie: Cookie) -> tuple[int, int]:
        return self.domains[cookie.domain].shelf_of(cookie).age(cookie)

    def _choose(self) -> list[tuple[Cookie, tuple[int, int]]]:
        """Who go next. Others are not needed for less long, whatever happens until these are gone:
        a use only makes a cookie younger."""
        ranked = [
            (cookie, shelf.age(cookie))
            for shelf in self._all_shelves(self.domains)
            for cookie in shelf.cookies.values()
        ]
        return nsmallest(MAX_CHOSEN, ranked, key=lambda pair: pair[1])[::-1]


def path_matches(path: str, cookie_path: str) -> bool:
    """Whether a cookie's path is a request's, or a folder above it (section 5.1.4)."""
    return path.startswith(cookie_path) and (
        cookie_path.endswith("/") or path[len(cookie_path) : len(cookie_path) + 1] in ("", "/")
    )


def default_path(path: str) -> str:
    """The path of a cookie that names none: the request's up to its last slash (section 5.1.4)."""
    return path[: path.rfind("/")] or "/"


def prefix_of(name: str) -> str:
    """The prefix of a name that promises something, in lower case; or ""."""
    lowered = name[:9].lower()
    return next((prefix for prefix in ("__secure-", "__host-") if lowered.startswith(prefix)), "")


def host_of(url: URL) -> str:
    """Whose cookies go to a URL: those of its host, or of its Unix socket."""
    return url.host if url.socket_path is None else url.origin.partition("//")[2]


def _above(path: str) -> Iterator[str]:
    """The paths of cookies that go to this one."""
    if not path.endswith("/"):
        yield path
    slash = path.rfind("/")
    while slash >= 0:
        yield path[: slash + 1]
        yield path[:slash]
        slash = path.rfind("/", 0, slash)


def _backwards(domain: str) -> str:
    return domain[::-1]


def _has_parents(url: URL) -> bool:
    return not url.is_ip and url.socket_path is None


@cache
def _installed_suffixes() -> Callable[[str], bool]:
    """What the optional package knows."""
    try:
        suffixes = import_module("publicsuffixlist").PublicSuffixList()
    except ImportError:
        return lambda domain: False
    is_public: Callable[[str], bool] = suffixes.is_public
    return is_public
