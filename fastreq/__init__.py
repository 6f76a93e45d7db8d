"""fastreq: a strict, fast HTTP/1.1 client for asyncio, in plain Python."""

from typing import TYPE_CHECKING, Any

from fastreq import http as http  # `fastreq.http.Client()`, as aioreq spells it
from fastreq.bulk.crew import Result, Results
from fastreq.bulk.progress import Progress
from fastreq.call import Transport
from fastreq.client import Client, Upgraded
from fastreq.content.events import ServerSentEvent
from fastreq.errors import (
    BlockedAddress,
    BodyTooLarge,
    ClientClosed,
    ConnectError,
    ConnectTimeout,
    DecodingError,
    DNSError,
    FastreqError,
    HTTPStatusError,
    IncompleteBody,
    InvalidURL,
    LocalProtocolError,
    NetworkError,
    PoolTimeout,
    ProtocolError,
    ProxyError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    StreamConsumed,
    TimeoutException,
    TLSError,
    TooManyRedirects,
    TotalTimeout,
    TransportError,
    UnsupportedProtocol,
    WriteError,
    WriteTimeout,
)
from fastreq.headers import Headers
from fastreq.loop import install, new_event_loop, run
from fastreq.messages import Request, Response, Timings
from fastreq.oneshot import delete, gather, get, head, options, patch, post, put, query, request
from fastreq.options import VERSION, Limits, Timeout
from fastreq.policies.auth import Auth, Basic, Bearer, Netrc
from fastreq.policies.cookies import Cookies
from fastreq.policies.guard import Address
from fastreq.policies.hosts import Policy
from fastreq.policies.retries import Retry
from fastreq.policies.set_cookie import Cookie
from fastreq.pool import OriginStats, PoolStats
from fastreq.streaming import ByteStream, StreamClient
from fastreq.trace import (
    ConnectionClosed,
    ConnectionOpened,
    ConnectionReused,
    Hooks,
    NameResolved,
    RedirectFollowed,
    RequestSent,
    ResponseEnded,
    ResponseHeadReceived,
    RetryScheduled,
)
from fastreq.url import URL

if TYPE_CHECKING:
    from fastreq.cluster import FanOutReport, fan_out
    from fastreq.policies.digest import Digest

__version__ = VERSION

__all__ = [
    "URL",
    "Address",
    "Auth",
    "Basic",
    "Bearer",
    "BlockedAddress",
    "BodyTooLarge",
    "ByteStream",
    "Client",
    "ClientClosed",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionReused",
    "Cookie",
    "Cookies",
    "DNSError",
    "DecodingError",
    "Digest",
    "FanOutReport",
    "FastreqError",
    "HTTPStatusError",
    "Headers",
    "Hooks",
    "IncompleteBody",
    "InvalidURL",
    "Limits",
    "LocalProtocolError",
    "NameResolved",
    "Netrc",
    "NetworkError",
    "OriginStats",
    "Policy",
    "PoolStats",
    "PoolTimeout",
    "Progress",
    "ProtocolError",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RedirectFollowed",
    "RemoteProtocolError",
    "Request",
    "RequestSent",
    "Response",
    "ResponseEnded",
    "ResponseHeadReceived",
    "Result",
    "Results",
    "Retry",
    "RetryScheduled",
    "ServerSentEvent",
    "StreamClient",
    "StreamConsumed",
    "TLSError",
    "Timeout",
    "TimeoutException",
    "Timings",
    "TooManyRedirects",
    "TotalTimeout",
    "Transport",
    "TransportError",
    "UnsupportedProtocol",
    "Upgraded",
    "WriteError",
    "WriteTimeout",
    "delete",
    "fan_out",
    "gather",
    "get",
    "head",
    "install",
    "new_event_loop",
    "options",
    "patch",
    "post",
    "put",
    "query",
    "request",
    "run",
]


if not TYPE_CHECKING:  # to a type checker, a module with a __getattr__ has every name there is

    def __getattr__(name: str) -> Any:
        """What few need is imported by those who do (benchmark: import)."""
        if name in ("FanOutReport", "fan_out"):
            from fastreq import cluster as room
        elif name == "Digest":
            from fastreq.policies import digest as room
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(room, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
