"""URL → route: the pool's key, with everything that makes two connections interchangeable."""

from __future__ import annotations

from typing import Any

from fastreq.connect import Route
from fastreq.tls import check, server_name, ssl_context
from fastreq.url import URL

MAX_ROUTES = 4096
"""Origins whose route is remembered."""


class Routes:
    """The routes of a client."""

    def __init__(self, verify: Any, cert: Any, trust_env: bool) -> None:
        check(verify, cert, trust_env)
        self._tls = (verify, cert, trust_env)
        self._known: dict[str, Route] = {}  # by origin

    def __repr__(self) -> str:
        return f"<Routes known={len(self._known)}>"

    def of(self, url: URL) -> Route:
        """The route to the origin of a URL."""
        route = self._known.get(url.origin)
        if route is None:
            if len(self._known) >= MAX_ROUTES:
                self._known.clear()
            route = self._known[url.origin] = self._make(url)
        return route

    def _make(self, url: URL) -> Route:
        tls = url.scheme.startswith("https")
        return Route(
            scheme=url.scheme,
            host=url.host,
            port=url.effective_port,
            socket_path=url.socket_path,
            tls=ssl_context(*self._tls) if tls else None,
            server_hostname=server_name(url.host) if tls else None,
        )
