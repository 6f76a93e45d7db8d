"""A transport that answers requests without a socket, to test one's own code with."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Callable

from fastreq.http1.request import OutgoingBody, encode_head
from fastreq.messages import Request, Response


class MockTransport:
    """Has every request answered by a function.

        def handler(request: fastreq.Request) -> fastreq.Response:
            return fastreq.Response(200, json={"path": request.url.path})

        client = fastreq.Client(transport=fastreq.testing.MockTransport(handler))

    Redirects, cookies, auth, retries and hooks work over it as over the network. `requests` keeps
    what was asked, in its order, with its whole body as `content`, also where that is a stream. A
    handler may give the same response again and again: each request gets a copy. What it gives may
    be of a real client, and may stream; that is handed on, and so not to be given twice.
    """

    def __init__(self, handler: Callable[[Request], Response | Awaitable[Response]]) -> None:
        self.requests: list[Request] = []
        self._handler = handler

    def __repr__(self) -> str:
        return f"<MockTransport {self._handler!r}>"

    async def send(self, request: Request) -> Response:
        """Answer a request with what the handler gives, plain or async.

        Raises:
            LocalProtocolError: the body is not as long as was said.
            TypeError: the handler gave no Response.
        """
        if not isinstance(request.body, bytes):
            request = await _received(request)
        self.requests.append(request)
        given = self._handler(request)
        response = await given if inspect.isawaitable(given) else given
        if not isinstance(response, Response):
            raise TypeError(f"{self._handler!r} gave {response!r}; expected a fastreq.Response")
        return copy.copy(response) if response.is_read else response

    async def aclose(self) -> None:
        """Nothing is open."""


async def _received(request: Request) -> Request:
    """The request as who is sent it has it: with a body that is there."""
    content = await OutgoingBody(request, encode_head(request)).content()
    received = Request(request.method, request.url, request.fields, content, len(content))
    received.options = request.options
    return received
