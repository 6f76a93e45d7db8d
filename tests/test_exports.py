"""What `from fastreq import ...` gives. Names are added here, never taken away or renamed."""

import ast
import inspect
from pathlib import Path

import pytest
from tables import each_row

import fastreq
from fastreq import cluster

PUBLIC = set(
    """
    Client StreamClient ByteStream Request Response Headers URL Cookies ServerSentEvent
    Timeout Limits Retry Policy Address Timings PoolStats OriginStats Cookie Transport Upgraded
    Auth Basic Bearer Digest Netrc
    run new_event_loop install
    request get head options delete post put patch query gather
    Result Results Progress fan_out FanOutReport

    Hooks NameResolved ConnectionOpened ConnectionReused ConnectionClosed
    RequestSent ResponseHeadReceived ResponseEnded RedirectFollowed RetryScheduled

    FastreqError InvalidURL UnsupportedProtocol
    TransportError ProxyError
    NetworkError ConnectError DNSError TLSError BlockedAddress ReadError WriteError
    TimeoutException PoolTimeout ConnectTimeout WriteTimeout ReadTimeout TotalTimeout
    ProtocolError LocalProtocolError RemoteProtocolError IncompleteBody
    HTTPStatusError TooManyRedirects DecodingError BodyTooLarge StreamConsumed ClientClosed
    """.split()
)

# Keyword → default; ... where the default is for us to choose.
KEYWORDS = {
    "Client": {
        "base_url": "",
        "headers": None,
        "params": None,
        "cookies": None,
        "auth": None,
        "timeout": fastreq.Timeout(),
        "limits": fastreq.Limits(),
        "retry": 0,
        "follow_redirects": True,
        "max_redirects": 10,
        "verify": True,
        "cert": None,
        "proxy": None,
        "trust_env": True,
        "max_body": 256 * 2**20,
        "sensitive_headers": ...,
        "allow": None,
        "policy": None,
        "hooks": None,
        "transport": None,
    },
    "Client.request": {
        "params": None,
        "headers": None,
        "cookies": None,
        "content": None,
        "data": None,
        "json": None,
        "files": None,
        "auth": ...,
        "timeout": ...,
        "follow_redirects": ...,
        "retry": ...,
    },
    "Client.send": {"stream": False},
    "Timeout": {"connect": 10, "read": 30, "write": 30, "pool": None, "total": 300},
    "Limits": {
        "max_connections": 500,
        "max_per_host": 100,
        "max_keepalive": None,
        "keepalive_expiry": 15,
        "max_age": 3600,
    },
    "Retry": {
        "total": 3,
        "statuses": {429, 502, 503, 504},
        "methods": ...,
        "backoff": 0.2,
        "max_backoff": 30,
        "jitter": True,
        "respect_retry_after": True,
        "budget": 0.2,
    },
    "Policy": {
        "rate": None,
        "burst": 1,
        "max_connections": None,
        "limiter": None,
        "obey_server": True,
    },
    "run": {"debug": None},
}

COROUTINES = ["aclose", "request", "send", "get", "head", "options", "delete", "post", "put"]
COROUTINES += ["patch", "query"]


def test_the_public_names():
    assert PUBLIC == set(fastreq.__all__)
    assert len(PUBLIC) == len(fastreq.__all__)


@each_row("name", sorted(PUBLIC))
def test_each_is_there_and_says_what_it_is(name):
    assert getattr(fastreq, name).__doc__


@each_row(
    ("path", "keyword", "default"),
    [(path, *item) for path, items in KEYWORDS.items() for item in items.items()],
)
def test_keywords(path, keyword, default):
    """Each pinned parameter can be given by keyword, and has its pinned default."""
    found = fastreq
    for name in path.split("."):
        found = getattr(found, name)
    parameter = inspect.signature(found).parameters[keyword]

    assert parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    assert default in (parameter.default, ...)


@pytest.mark.parametrize("name", COROUTINES)
def test_methods_are_native_coroutines(name):
    """So `asyncio.run` and `create_task` take what they return."""
    assert inspect.iscoroutinefunction(getattr(fastreq.Client, name))


@each_row("name", sorted(PUBLIC))
def test_errors_are_one_tree(name):
    thing = getattr(fastreq, name)
    if isinstance(thing, type) and issubclass(thing, Exception):
        assert issubclass(thing, fastreq.FastreqError)


def test_types_are_shipped():
    assert (Path(fastreq.__file__).parent / "py.typed").exists()


def test_a_type_checker_sees_through_the_names():
    """Where a module has a `__getattr__`, every misspelt name of it would do."""
    tree = ast.parse(Path(fastreq.__file__).read_text())

    assert "__getattr__" not in [getattr(statement, "name", "") for statement in tree.body]
    assert fastreq.fan_out is cluster.fan_out
    with pytest.raises(AttributeError, match="nope"):
        fastreq.nope  # noqa: B018
