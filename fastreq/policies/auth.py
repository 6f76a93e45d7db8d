"""Who we are: the schemes that sign a request, and may answer when the server asks for more.

A client goes through the `Rounds` of a request to the origin of the URL that its user gave, and to
no other:

    rounds = Rounds(auth, request)
    signed = rounds.begin()
    while True:
        response = await exchange(signed)
        signed = rounds.answer(response)  # the server wants something else
        if signed is None:
            return response
"""

from __future__ import annotations

import copy
import os
import re
from base64 import b64encode
from collections.abc import Callable, Generator
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from fastreq.content.sources import replayable
from fastreq.errors import LocalProtocolError, StreamConsumed
from fastreq.messages import Request, Response
from fastreq.url import URL

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_TOKEN = re.compile(r"[\x21-\x7e]+")


class Auth:
    """The base of all schemes; a scheme of one's own is a subclass with its own `flow()`.

    One object may serve any number of requests at once.
    """

    needs_body: bool = False
    """The scheme signs the body, so that it has to be bytes and cannot be a stream."""

    needs_response_body: bool = False
    """The flow looks at the bodies of all answers, so that each is read before it is given, even
    where the caller wants a stream. That of a request to another origin or path than the
    caller's, such as one for a token, is read in any case."""

    def flow(self, request: Request) -> Generator[Request, Response, None]:
        """Yield the request to be sent; get its response; yield another to be sent, or return.

        What is given is a copy, free to change; so is what `request.with_field(name, value)` makes.
        The response of the last one sent is the caller's. A flow may be closed at any time, and
        is begun anew where its first request is tried again (`retry=`), to be signed anew.
        """
        yield request


class Basic(Auth):
    """User name and password, readable by all who see the request (RFC 7617): https only, then.

    Text is sent as UTF-8; bytes are sent as they are.

    Raises:
        LocalProtocolError: the user has a colon, or one of them a control character.
    """

    def __init__(self, user: str | bytes, password: str | bytes) -> None:
        name = octets("Basic", "user", user)
        if b":" in name:
            raise LocalProtocolError("Basic(user=...) has a ':', which would begin the password")
        pair = name + b":" + octets("Basic", "password", password)
        self._user = user
        self._value = f"Basic {b64encode(pair).decode('ascii')}"

    def __repr__(self) -> str:
        return f"<Basic user={self._user!r}>"

    def flow(self, request: Request) -> Generator[Request, Response, None]:
        yield signed(request, self._value)


class Bearer(Auth):
    """A token that whoever has it may use (RFC 6750).

    Raises:
        LocalProtocolError: it is empty, or has blanks or what is not ASCII.
    """

    def __init__(self, token: str) -> None:
        if not isinstance(token, str):
            raise TypeError(f"Bearer(token=...) is {type(token).__name__}; expected str")
        if not _TOKEN.fullmatch(token):
            raise LocalProtocolError(
                "Bearer(token=...) is empty, or has a blank, a control character or what is not "
                "ASCII; was it read from a file, with its newline?"
            )
        self._value = f"Bearer {token}"

    def __repr__(self) -> str:
        return "<Bearer>"

    def flow(self, request: Request) -> Generator[Request, Response, None]:
        yield signed(request, self._value)


class Netrc(Auth):
    """Passwords from a netrc file, each for exactly the host that it names.

    The file is `path`, else $NETRC, else ~/.netrc, which nobody else may be able to read; it is
    read once, here. Its `default` entry is not used: it would give a password to every host. A
    request with an Authorization, or to a Unix socket, is left as it is; a user name in the URL
    counts more than the file.

    Raises:
        OSError: there is no such file.
        ValueError: it is no netrc file, or others may read ~/.netrc.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        import netrc  # only whoever asks for it pays for it

        file = path if path is not None else os.environ.get("NETRC") or None
        try:
            hosts = netrc.netrc(None if file is None else os.fspath(file)).hosts
        except netrc.NetrcParseError as exc:
            where = f", {exc.filename} line {exc.lineno}" if exc.lineno is not None else ""
            raise ValueError(f"Netrc({path!r}): {exc.msg}{where}") from None
        self._hosts = {
            host.lower(): (login or "", password or "")
            for host, (login, _, password) in hosts.items()
            if host != "default"
        }

    def __repr__(self) -> str:
        return f"<Netrc hosts={len(self._hosts)}>"

    def flow(self, request: Request) -> Generator[Request, Response, None]:
        if "authorization" in request.fields.names:
            yield request
            return
        basic = from_userinfo(request.url) or self._of(request.url)
        yield from (basic or Auth()).flow(request)

    def _of(self, url: URL) -> Basic | None:
        entry = self._hosts.get(url.host) if url.socket_path is None else None
        return Basic(*entry) if entry else None


class _Function(Auth):
    """A function of the request that gives it back signed."""

    def __init__(self, function: Callable[[Request], Request]) -> None:
        self._function = function

    def __repr__(self) -> str:
        return f"<Auth {self._function!r}>"

    def flow(self, request: Request) -> Generator[Request, Response, None]:
        given: object = self._function(copy.copy(request))
        if not isinstance(given, Request):
            # Not the value itself, which may be a token.
            what = "None" if given is None else f"a {type(given).__name__}"
            raise TypeError(f"auth={self._function!r} gave {what}; expected the Request")
        yield given


AuthTypes: TypeAlias = tuple[str | bytes, str | bytes] | Auth | Callable[[Request], Request] | None


def to_auth(value: AuthTypes) -> Auth | None:
    """The scheme that `auth=` means: (user, password) is `Basic`.

    Raises:
        TypeError: it is none of those that can be given.
    """
    if value is None or isinstance(value, Auth):
        if isinstance(value, Auth) and type(value) is not Auth and _has_no_flow(value):
            raise TypeError(
                f"auth= is a {type(value).__name__}, which has no flow() of its own, and would "
                "sign nothing; httpx's auth_flow() is called so here"
            )
        return value
    if isinstance(value, tuple) and len(value) == 2:
        return Basic(*value)
    if callable(value) and not isinstance(value, type):
        return _Function(value)
    raise TypeError(  # without the value, which may be a secret
        f"auth= is {type(value).__name__}; expected (user, password), a fastreq.Auth such as "
        "Bearer(token), or a function of the request"
    )


def _has_no_flow(auth: Auth) -> bool:
    return getattr(auth.flow, "__func__", None) is Auth.flow


def from_userinfo(url: URL) -> Basic | None:
    """What stands before the "@" of a URL; None where nothing does."""
    if not url.userinfo:
        return None
    user, _, password = url.userinfo.partition(":")
    return Basic(unquote_to_bytes(user), unquote_to_bytes(password))


class Rounds:
    """One request and its flow: what is to be sent, round by round."""

    def __init__(self, auth: Auth, request: Request) -> None:
        self._auth = auth
        self._request = request
        self._flow: Generator[Request, Response, None] | None = None
        self._is_first = True  # no answer has been given to the flow
        self._sent: list[object] = []  # the bodies of what was answered

    def __repr__(self) -> str:
        return f"<Rounds {self._auth!r}>"

    def begin(self) -> Request:
        """The first request to be sent.

        Raises:
            TypeError: the flow is no generator, or yields no Request.
        """
        flow: object = self._auth.flow(copy.copy(self._request))
        if not isinstance(flow, Generator):
            kind = type(flow).__name__
            raise TypeError(f"{self._auth!r}: flow() gave {kind}; expected a generator (`yield`)")
        self._flow = flow
        return self._checked(next(flow, self._request))

    def again(self, sent: Request) -> Request:
        """The request for another try, signed anew: no answer, or one that does not count."""
        if self._is_first:
            self.close()
            return self.begin()
        return sent if sent.sign_again is None else sent.sign_again(sent)

    def needs_body_of_answer(self, sent: Request) -> bool:
        """Whether the flow may look at the body of what is answered to this: not of the caller's
        own, which may be a stream without an end, also where a signature was put into its query."""
        if isinstance(self._auth, _Function):  # it is shown no answer at all
            return False
        mine, url = self._request.url, sent.url
        return self._auth.needs_response_body or (url.origin, url.path) != (mine.origin, mine.path)

    def answer(self, response: Response) -> Request | None:
        """What is to be sent after this; None: this response is the caller's.

        Raises:
            StreamConsumed: it has a body that was sent before, and is a stream.
            TypeError: the flow yields no Request.
        """
        self._is_first = False
        if self._flow is None:
            return None
        self._sent.append(response.request.body)
        try:
            following = self._checked(self._flow.send(response))
        except StopIteration:
            return None
        body = following.body
        if any(body is sent for sent in self._sent) and not replayable(body):
            raise StreamConsumed(f"{response!r}: a body that was a stream is gone")
        return following

    def _checked(self, given: Any) -> Request:
        if not isinstance(given, Request):
            kind = type(given).__name__
            raise TypeError(f"{self._auth!r}: flow() yielded {kind}; expected a Request")
        return given

    def close(self) -> None:
        """The flow ends here."""
        if self._flow is not None:
            self._flow.close()


# ---- for schemes


def signed(request: Request, credentials: str) -> Request:
    """A copy of the request with this Authorization.

    A TRACE is left as it is, since the server sends it back (RFC 9110, section 9.3.8).
    """
    if request.method == "TRACE":
        return request
    return request.with_field("Authorization", credentials)


def octets(scheme: str, name: str, value: str | bytes) -> bytes:
    """User name or password as sent: in UTF-8, and without control characters.

    Raises:
        LocalProtocolError: it has some, or half a character. The text does not show it.
    """
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"{scheme}({name}=...) is {type(value).__name__}; expected str or bytes")
    try:
        raw = value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(
            f"{scheme}({name}=...): half a character at position {exc.start}"
        ) from None
    if bad := _CONTROL.search(raw):
        raise LocalProtocolError(
            f"{scheme}({name}=...): a control character at byte {bad.start()}; "
            "was it read from a file, with its newline?"
        )
    return raw
