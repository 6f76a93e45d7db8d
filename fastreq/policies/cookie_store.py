"""Where cookies are kept (RFC 6265bis, section 5.7): by domain, so that finding some is quick."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from functools import cache
from heapq import nsmallest
from importlib import import_module
from typing import Final, TypeAlias

from fastreq.policies.set_cookie import Cookie, SetCookie, parse_set_cookie
from fastreq.url import URL

MAX_PER_RESPONSE: Final = 50  # Set-Cookie fields; those after them are not looked at
MAX_PER_DOMAIN: Final = 180
MAX_COOKIES: Final = 3000

_Key: TypeAlias = tuple[str, str, bool]  # name, path, host_only


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
        self.domains: dict[str, dict[_Key, Cookie]] = {}  # none is empty; "" has those for any host
        self.count = 0  # of cookies
        self._serial = 0  # of what happened last; it orders what was made and what was used

    # ---- finding

    def matching(self, url: URL) -> list[Cookie]:
        """The cookies that go to `url`: of its host, and the domain cookies of those above it."""
        domain = host_of(url)
        found = self._live(domain, url)
        if _has_parents(url):
            _, _, domain = domain.partition(".")
            while domain:
                found += [cookie for cookie in self._live(domain, url) if not cookie.host_only]
                _, _, domain = domain.partition(".")
        return found

    def unscoped(self, url: URL) -> list[Cookie]:
        """The cookies that go to `url` because they go to any host."""
        return self._live("", url)

    def _live(self, domain: str, url: URL) -> list[Cookie]:
        if domain not in self.domains:
            return []
        now, path, secure = self.clock(), url.path, url.scheme.startswith("https")
        found = [
            cookie
            for cookie in self.domains[domain].values()
            if (secure or not cookie.secure) and path_matches(path, cookie.path)
        ]
        if any(cookie.expires <= now for cookie in found):
            self.drop([cookie for cookie in found if cookie.expires <= now])
            found = [cookie for cookie in found if cookie.expires > now]
        return found

    def select(
        self, name: str | None = None, domain: str | None = None, path: str | None = None
    ) -> list[Cookie]:
        """Those of a name, a domain and a path, oldest first; what has expired goes."""
        now = self.clock()
        if domain is None:
            found = [c for cookies in self.domains.values() for c in cookies.values()]
        else:
            found = list(self.domains.get(domain.lower().removeprefix("."), {}).values())
        self.drop([cookie for cookie in found if cookie.expires <= now])
        found = [
            cookie
            for cookie in found
            if cookie.expires > now and name in (None, cookie.name) and path in (None, cookie.path)
        ]
        return sorted(found, key=lambda cookie: cookie.created)

    # ---- keeping

    def receive(self, url: URL, fields: Iterable[str]) -> None:
        """Keep what the Set-Cookie fields of one response say; what breaks a rule is ignored."""
        now = self.clock()
        changed: set[str] = set()
        secure: dict[str, list[Cookie]] = {}  # which http must not touch, by domain
        for _, field in zip(range(MAX_PER_RESPONSE), fields, strict=False):
            said = parse_set_cookie(field, now)
            cookie = None if said is None else self._admit(said, url, secure)
            if cookie is None:
                continue
            if cookie.expires > now:
                self.put(cookie)
                changed.add(cookie.domain)
            else:
                self.drop([cookie])
        for domain in changed:
            self._evict(self.domains.get(domain, {}).values(), MAX_PER_DOMAIN, insecure_first=True)
        self.trim()

    def _admit(self, said: SetCookie, url: URL, secure: dict[str, list[Cookie]]) -> Cookie | None:
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
        if not over_tls:  # step 16: http neither replaces a Secure cookie nor stands in its way
            if domain not in secure:
                secure[domain] = self._secure_around(domain)
            if any(c.name == said.name and path_matches(path, c.path) for c in secure[domain]):
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

    def _secure_around(self, domain: str) -> list[Cookie]:
        """The Secure cookies of a domain, and of those above and below it."""
        return [
            cookie
            for other, cookies in self.domains.items()
            if other == domain or f".{domain}".endswith(f".{other}") or other.endswith(f".{domain}")
            for cookie in cookies.values()
            if cookie.secure
        ]

    def is_public_suffix(self, domain: str) -> bool:
        """Whether anybody can have a name under this one; without a dot inside, it is so."""
        name = domain.strip(".")
        return "." not in name or (self.public_suffixes or _installed_suffixes())(name)

    def put(self, cookie: Cookie) -> None:
        """Keep a cookie in place of the one it replaces, whose age it takes (step 23)."""
        cookies = self.domains.setdefault(cookie.domain, {})
        old = cookies.pop(_key(cookie), None)
        self.use([cookie])
        cookie.created = cookie.used if old is None else old.created
        cookies[_key(cookie)] = cookie
        self.count += old is None
        self.changes += 1

    def use(self, cookies: Iterable[Cookie]) -> None:
        """Note that these are needed: what was not needed for longest goes first."""
        self._serial += 1
        for cookie in cookies:
            cookie.used = self._serial

    def drop(self, cookies: Iterable[Cookie]) -> None:
        """Remove those that have the name, domain and path of one of these."""
        for cookie in cookies:
            of_domain = self.domains.get(cookie.domain, {})
            if of_domain.pop(_key(cookie), None) is not None:
                self.count -= 1
                self.changes += 1
            if cookie.domain in self.domains and not of_domain:
                del self.domains[cookie.domain]

    def trim(self) -> None:
        """Keep the limit of all cookies."""
        if self.count > MAX_COOKIES:
            everything = [c for cookies in self.domains.values() for c in cookies.values()]
            self._evict(everything, MAX_COOKIES)

    def _evict(
        self, cookies: Collection[Cookie], limit: int, *, insecure_first: bool = False
    ) -> None:
        """Make room as the end of section 5.7 has it: first goes what has expired."""
        if len(cookies) <= limit:
            return
        now = self.clock()

        def rank(cookie: Cookie) -> tuple[bool, bool, int]:
            return cookie.expires > now, insecure_first and cookie.secure, cookie.used

        self.drop(nsmallest(len(cookies) - limit, cookies, key=rank))


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


def _has_parents(url: URL) -> bool:
    return not url.is_ip and url.socket_path is None


def _key(cookie: Cookie) -> _Key:
    return cookie.name, cookie.path, cookie.host_only


@cache
def _installed_suffixes() -> Callable[[str], bool]:
    """What the optional package knows."""
    try:
        suffixes = import_module("publicsuffixlist").PublicSuffixList()
    except ImportError:
        return lambda domain: False
    is_public: Callable[[str], bool] = suffixes.is_public
    return is_public
