"""URL and options → Request, with what the client adds to each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias, TypedDict

from fastreq.content.encode import (
    Encoded,
    JSONDumps,
    compressed,
    encode_body,
    encode_params,
    merge_query,
    to_json,
)
from fastreq.content.sources import sent_once
from fastreq.errors import InvalidURL, LocalProtocolError
from fastreq.headers import Headers, HeaderTypes, field_value
from fastreq.http1.request import check_method
from fastreq.messages import BodyTypes, Request
from fastreq.options import OF_CLIENT, UNSET, Timeout, Unset, check_flag, unknown_keyword
from fastreq.policies.auth import Auth, AuthTypes, to_auth
from fastreq.policies.cookies import CookieTypes, cookie_header
from fastreq.policies.retries import Retry
from fastreq.url import URL, as_text, parse_url

URLTypes: TypeAlias = str | URL


class RequestOptions(TypedDict, total=False):
    """What may be said for one request; see `Client.request()`."""

    params: Any
    headers: HeaderTypes | None
    cookies: CookieTypes | None
    content: BodyTypes | None
    data: Any
    json: Any
    files: Any
    auth: AuthTypes | Unset
    timeout: float | Timeout | Unset | None
    follow_redirects: bool | Unset
    retry: int | Retry | Unset
    compress: Literal["gzip", "deflate"] | None


class SendOptions(NamedTuple):
    """How a request is sent, where that may be said for each."""

    timeout: Timeout
    follow_redirects: bool
    retry: Retry | None
    auth: Auth | None
    auth_is_own: bool = False  # said for this request, and not for all: before a user in its URL


REQUEST_OPTIONS: Final[Mapping[str, Any]] = {
    name: UNSET if name in SendOptions._fields else None for name in RequestOptions.__annotations__
}
"""The options of a request, each with the value that means that it was not said."""


class Builder:
    """Makes the requests of a client."""

    def __init__(
        self,
        base_url: URLTypes,
        headers: Headers,
        params: Any,
        defaults: SendOptions,
        json_dumps: JSONDumps | None,
    ) -> None:
        self.base_url = URL(base_url)
        self.headers = headers
        self.params = params
        self.defaults = defaults
        if json_dumps is not None and not callable(json_dumps):
            raise TypeError(
                f"json_dumps={json_dumps!r} is no function; give one, such as orjson.dumps"
            )
        self._json_dumps = json_dumps or to_json
        self._last_typed = (headers, "", headers)  # see `_typed()`
        self._joins = bool(self.base_url.given)
        if self._joins and not self.base_url.is_absolute:
            raise InvalidURL(
                f"base_url={self.base_url.redacted!r} is no URL to add to; write 'https://...'"
            )
        encode_params(params or {})  # refused here, rather than at each request

    def __repr__(self) -> str:
        return f"<Builder base_url={self.base_url.redacted!r}>"

    def build(self, method: str, url: URLTypes, options: Mapping[str, Any]) -> Request:
        """Make a request.

        Raises:
            InvalidURL, LocalProtocolError, TypeError, ValueError: it cannot be sent.
        """
        target = self._join(url) if self._joins else parse_url(url)
        request = Request(check_method(method), target, self.headers.snapshot())
        if self.params:
            request.url = target.with_query(_both(encode_params(self.params), target.query))
        if options:
            self._apply(request, options)
        return request

    def _join(self, url: URLTypes) -> URL:
        """A relative URL is added to the path of `base_url`, as httpx does it, and its query to
        the query. It is never another host: what begins with "//" is a path, too."""
        base, text = self.base_url, as_text(url)
        given = URL("/" + text.lstrip("/") if text.startswith("//") else url)
        if given.is_absolute:
            return given
        query, fragment = _both(base.query, given.query), given.fragment
        whole = f"{base.scheme}://{base.userinfo}{'@' if base.userinfo else ''}"
        whole += base.origin.partition("://")[2]
        whole += base.path.rstrip("/") + "/" + given.path.lstrip("/")
        return URL(whole + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else ""))

    def _apply(self, request: Request, options: Mapping[str, Any]) -> None:
        """Do what was said for this request alone."""
        option = {**REQUEST_OPTIONS, **options}
        if len(option) > len(REQUEST_OPTIONS):
            check_options("request()", options)
        if option["params"]:
            request.url = request.url.with_query(merge_query(request.url.query, option["params"]))
        if option["headers"] is not None:
            own = Headers(option["headers"])
            request.fields = request.fields.merged(own)
            if "authorization" in own and option["auth"] is UNSET:
                option["auth"] = None  # it was said for this request alone, and the rest was not
            if len(given := request.fields.get_list("cookie")) > 1:  # RFC 6265, section 5.4
                request.headers["Cookie"] = "; ".join(given)
        self._add_body(request, option)
        if option["cookies"] is not None:
            _add_cookies(request, option["cookies"])
        request.options = self._send_options(option)

    def _add_body(self, request: Request, option: Mapping[str, Any]) -> None:
        content, files, compress = option["content"], option["files"], option["compress"]
        encoded = encode_body(content, option["data"], option["json"], files, self._json_dumps)
        if compress is not None:
            encoded = _compress(request, encoded, compress)
        request.body, request.length = sent_once(encoded.body), encoded.length
        if encoded.content_type is None:
            return
        if "content-type" not in request.fields.names:
            request.fields = self._typed(request.fields, encoded.content_type)
        elif files:
            raise LocalProtocolError("files= has a Content-Type with a boundary; leave yours out")

    def _typed(self, fields: Headers, content_type: str) -> Headers:
        """The fields with a Content-Type; the same ones as the last time, where nothing else is
        (benchmark: post)."""
        before, same_type, typed = self._last_typed
        if before is fields and same_type == content_type:
            return typed
        kind = field_value("Content-Type", content_type)
        typed = fields.with_one_more(b"Content-Type", kind)
        if fields is self.headers.snapshot():  # and no request's own
            self._last_typed = fields, content_type, typed
        return typed

    def _send_options(self, option: Mapping[str, Any]) -> SendOptions:
        usual = self.defaults
        auth, timeout, retry = option["auth"], option["timeout"], option["retry"]
        follow = option["follow_redirects"]
        if timeout is auth is retry is follow is UNSET:
            return usual
        return SendOptions(
            usual.timeout if timeout is UNSET else Timeout.of(timeout),
            usual.follow_redirects if follow is UNSET else check_flag("follow_redirects", follow),
            usual.retry if retry is UNSET else to_retry(retry),
            usual.auth if auth is UNSET else to_auth(auth),
            auth is not UNSET,
        )


def _both(one: str, other: str) -> str:
    """Two queries as one."""
    return f"{one}&{other}" if one and other else one or other


def check_options(
    call: str, options: Iterable[str], known: Collection[str] = REQUEST_OPTIONS.keys()
) -> None:
    """Refuse what is no option of a call.

    Raises:
        TypeError: there is one; the text says what was meant.
    """
    for name in options:
        if name not in known:
            raise unknown_keyword(call, name, known)


def split_options(call: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of `Client()` alone, and those of its requests, for a call that takes both.

    Raises:
        TypeError: one is neither; the text says what was meant.
    """
    check_options(call, options, OF_CLIENT | REQUEST_OPTIONS.keys())
    of_client = {name: value for name, value in options.items() if name in OF_CLIENT}
    of_request = {name: value for name, value in options.items() if name not in OF_CLIENT}
    return of_client, of_request


def to_retry(value: int | Retry) -> Retry | None:
    """What `retry=` means; None: once, and no more."""
    retry = Retry.of(value)
    return retry if retry.total else None


def _compress(request: Request, encoded: Encoded, coding: str) -> Encoded:
    packed = compressed(encoded, coding)
    if packed is not encoded:
        before = request.fields.get_list("content-encoding")
        request.headers["Content-Encoding"] = ", ".join([*before, coding])
    return packed


def _add_cookies(request: Request, cookies: CookieTypes) -> None:
    value = cookie_header(cookies, request.url)
    if value and request.method != "TRACE":  # which is sent back (RFC 9110, section 9.3.8)
        given = request.fields.get_list("cookie")
        request.headers["Cookie"] = "; ".join([*given, value])
