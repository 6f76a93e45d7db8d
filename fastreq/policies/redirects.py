"""Where a redirect leads, and what goes along (RFC 9110, section 15.4)."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Final, TypeVar

from fastreq.content.sources import replayable
from fastreq.errors import (
    FastreqError,
    InvalidURL,
    RemoteProtocolError,
    StreamConsumed,
    TooManyRedirects,
    UnsupportedProtocol,
    quoted,
)
from fastreq.messages import Request, Response
from fastreq.url import URL

_E = TypeVar("_E", bound=FastreqError)

STATUSES: Final = frozenset({301, 302, 303, 307, 308})

DEFAULT_SENSITIVE: Final = frozenset(
    """
    api-key apikey auth-token job-token openai-api-key private-token deploy-token circle-token
    cf-access-client-id cf-access-client-secret cf-access-jwt-assertion cf-access-token
    dd-api-key dd-application-key fastly-key ocp-apim-subscription-key
    x-access-token x-amz-security-token x-api-key x-api-secret x-api-token x-apikey x-app-key
    x-application-key x-auth x-auth-email x-auth-key x-auth-token x-authorization
    x-aws-ec2-metadata-token x-buildkite-token x-client-secret x-consul-token x-csrf-token
    x-csrftoken x-elastic-apikey x-figma-token x-forwarded-access-token x-functions-key
    x-gitlab-token x-goog-api-key x-goog-iam-authorization-token x-goog-iap-jwt-assertion
    x-hasura-admin-secret x-honeycomb-team x-insert-key x-mbx-apikey x-ms-token-aad-access-token
    x-n8n-api-key x-newrelic-api-key x-nomad-token x-parse-master-key x-parse-rest-api-key
    x-parse-session-token x-postmark-server-token x-query-key x-rapidapi-key
    x-rapidapi-proxy-secret x-registry-auth x-rollbar-access-token x-secret x-session-id
    x-session-token x-shopify-access-token x-shopify-storefront-access-token x-sourcegraph-token
    x-subscription-token x-token x-trackertoken x-typesense-api-key x-user-token x-vault-token
    x-webhook-secret x-xsrf-token
    """.split()
)
"""Names under which secrets travel, beside those that always stay with their origin."""

_SECRET = frozenset({"authorization", "cookie", "cookie2", "proxy-authorization"})
_OF_ORIGIN = _SECRET | {"host", "origin"}
_OF_BODY = frozenset(
    {"digest", "expect", "last-modified", "repr-digest", "trailer", "transfer-encoding"}
)


def next_request(
    request: Request, response: Response, sensitive: Iterable[str] = DEFAULT_SENSITIVE
) -> Request | None:
    """The request that a redirect asks for, or None if the response is none.

    Give it the request as its caller made it, without the jar's cookies and what auth added, and
    do so for the next request as well. What is dropped here then stays away, wherever later
    redirects lead. When the origin (scheme, host, port) changes these are dropped: Authorization,
    Cookie, Proxy-Authorization, Host, Origin, every name in `sensitive`, and a Referer with a
    password. A redirect from https to http is refused: what was asked for in private would be
    answered in public, and by anybody.

    Raises:
        RemoteProtocolError: the Location is no URL that a server may send us to.
        StreamConsumed: the body has to be sent again, and is gone.
    """
    location = _location(request, response) if response.status in STATUSES else ""
    if not location:
        return None
    following = copy.copy(request)
    following.sign_again = None  # of who is asked here, if it is a request that was sent before
    following.url = _target(request, response, location)
    fields = following.fields
    dropped: set[str] = set()
    if response.status == 303 or (response.status in (301, 302) and request.method == "POST"):
        following.method = "HEAD" if request.method == "HEAD" else "GET"
        following.body, following.length = b"", None
        dropped |= {name for name in fields.names if name.startswith("content-")} | _OF_BODY
    elif not replayable(request.body):
        raise _named(
            request,
            StreamConsumed(
                f"{response.status} from {request.url.redacted}: the body is to be sent once more, "
                "but was a stream; give it as bytes, or send it to where this leads"
            ),
        )
    if not same_origin(request.url, following.url):
        dropped |= _OF_ORIGIN.union(map(str.lower, sensitive))
        if "@" in fields.get("referer", ""):
            dropped.add("referer")
    for name in fields.names & dropped:
        del fields[name]
    return following


def without_secrets(request: Request, sensitive: Iterable[str] = DEFAULT_SENSITIVE) -> Request:
    """The request without what must stay between us and its origin; itself, if it has none.

    A TRACE is sent so: whoever answers it sends back what it was sent (RFC 9110, section 9.3.8).
    """
    secrets = request.fields.names & _SECRET.union(map(str.lower, sensitive))
    if not secrets:
        return request
    twin = copy.copy(request)
    for name in secrets:
        del twin.headers[name]
    return twin


def field_names(names: Iterable[str]) -> set[str]:
    """The names of `Client(sensitive_headers=...)`.

    Raises:
        TypeError: they are one text, or none.
    """
    given = [names] if isinstance(names, (str, bytes)) else list(names)
    if isinstance(names, (str, bytes)) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"sensitive_headers={names!r}: expected names, as in ['X-Api-Key']")
    return set(given)


def same_origin(one: URL, other: URL) -> bool:
    """Whether two URLs have the same scheme, host and port, or Unix socket."""
    return one.origin == other.origin


class Hops:
    """The requests of one chain that were redirected: counted, and none of them twice."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._seen: dict[tuple[str, bytes], str] = {}  # how to show each, in their order

    def add(self, sent: Request) -> None:
        """Note a request that was redirected, as it was sent: with all its cookies.

        With other cookies, the same URL may well have another answer, as after a login.

        Raises:
            TooManyRedirects: it was so before, which makes a loop, or there were too many.
        """
        url = str(sent.url).partition("#")[0]
        key = f"{sent.method} {url}", sent.fields.block
        if key in self._seen:
            shown = list(self._seen.values())[list(self._seen).index(key) :]
            loop = " -> ".join([*shown, shown[0]])
            raise _named(sent, TooManyRedirects(f"redirects lead in a circle: {loop}"))
        if len(self._seen) >= self.limit:
            raise _named(
                sent,
                TooManyRedirects(
                    f"more than {self.limit} redirects, the last from {_shown(sent)}; "
                    "max_redirects= allows more"
                ),
            )
        self._seen[key] = _shown(sent)


def _shown(request: Request) -> str:
    return f"{request.method} {quoted(request.url.redacted)}"


def _location(request: Request, response: Response) -> str:
    """The one Location there is, or ""; an empty one leads nowhere, and counts as none."""
    values = set(response.headers.get_list("location"))
    if len(values) > 1:
        raise _refused(request, response, f"{len(values)} Location fields that differ")
    return values.pop() if values else ""


def _target(request: Request, response: Response, location: str) -> URL:
    """The URL to go to, once it is sure that one may go there."""
    base = request.url
    try:
        reference = URL(_as_text(location))
        url = base.join(reference)
        if base.fragment and "#" not in location:  # RFC 9110, section 10.2.2
            url = URL(f"{url}#{base.fragment}")
    except (InvalidURL, UnsupportedProtocol) as exc:
        raise _refused(request, response, f"the Location leads nowhere: {exc}") from exc
    if reference.userinfo:  # section 4.2.4
        raise _refused(request, response, "the Location has a user name or a password")
    if url.scheme not in ("http", "https") and not same_origin(base, url):
        raise _refused(
            request, response, f"the Location {quoted(location)} is a socket of this machine"
        )
    if base.scheme.startswith("https") and not url.scheme.startswith("https"):
        raise _refused(
            request,
            response,
            f"the Location {quoted(location)} leads from https to http, which anybody can read and "
            "answer; request it yourself if you mean it",
        )
    return url


def _as_text(location: str) -> str:
    """The bytes of the field as the UTF-8 that servers send; others are percent-encoded."""
    raw = location.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return re.sub(r"[\x80-\xff]", lambda match: f"%{ord(match[0]):02X}", location)


def _refused(request: Request, response: Response, what: str) -> RemoteProtocolError:
    text = f"{response.status} from {request.url.redacted}: {what}"
    return _named(request, RemoteProtocolError(text))


def _named(request: Request, error: _E) -> _E:
    error.request = request
    return error
