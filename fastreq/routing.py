"""URL → route: the pool's key, with everything that makes two connections interchangeable."""

from __future__ import annotations

import os
from typing import Any

from fastreq.connect import Route
from fastreq.policies.proxies import Proxies, Proxy
from fastreq.tls import check, server_name, ssl_context
from fastreq.url import URL

MAX_ROUTES = 4096
"""Origins whose route is remembered."""


class Routes:
    """The routes of a client."""

    def __init__(self, verify: Any, cert: Any, trust_env: bool, proxy: object = None) -> None:
        """Settle what all routes have in common; the environment is read here, and not again.

        Raises:
            InvalidURL, UnsupportedProtocol: `proxy` is none.
            ValueError, OSError, ImportError: as `tls.check()`.
        """
        check(verify, cert, trust_env)
        self._tls = (verify, cert, trust_env)
        # Who is trusted is the same for proxies; who we are to origins is nothing to them.
        self._tls_to_proxies = (verify, None, trust_env)
        self._proxies = Proxies(proxy, os.environ if trust_env else None)
        self._known: dict[str, Route] = {}  # by origin

    def __repr__(self) -> str:
        return f"<Routes known={len(self._known)}>"

    def of(self, url: URL) -> Route:
        """The route to the origin of a URL, or to the proxy that is sent the request for it.

        Raises:
            ProxyError: the environment names what is no proxy.
        """
        route = self._known.get(url.origin)
        if route is None:
            if len(self._known) >= MAX_ROUTES:
                self._known.clear()
            route = self._known[url.origin] = self._make(url)
        return route

    def past_forwarding(self, url: URL) -> Route:
        """The same, but through a tunnel where a proxy would send the request on: it passes on no
        Upgrade (RFC 9110, section 7.8; RFC 6455, section 4.1)."""
        route = self.of(url)
        return route if route.proxy is None else self._to_origin(url, route.proxy)

    def is_shared(self, url: URL) -> bool:
        """Whether a proxy is sent the request, on connections that carry those of all hosts.

        Raises:
            ProxyError: as `of()`.
        """
        return self.of(url).proxy is not None

    def _make(self, url: URL) -> Route:
        proxy = self._proxies.choose(url)
        if proxy is not None and proxy.forwards and not url.scheme.startswith("https"):
            return self._to_proxy(proxy)
        return self._to_origin(url, proxy)

    def _to_origin(self, url: URL, proxy: Proxy | None) -> Route:
        tls = url.scheme.startswith("https")
        return Route(
            scheme=url.scheme,
            host=url.host,
            port=url.effective_port,
            socket_path=url.socket_path,
            tls=ssl_context(*self._tls) if tls else None,
            server_hostname=server_name(url.host) if tls else None,
            via=self._to_proxy(proxy) if proxy is not None else None,
        )

    def _to_proxy(self, proxy: Proxy) -> Route:
        """The way to a proxy: its certificate has to be for its own name."""
        tls = proxy.scheme == "https"
        return Route(
            scheme=proxy.scheme,
            host=proxy.host,
            port=proxy.port,
            tls=ssl_context(*self._tls_to_proxies) if tls else None,
            server_hostname=server_name(proxy.host) if tls else None,
            proxy=proxy,
        )
