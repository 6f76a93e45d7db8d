"""One request with a client of its own: `await fastreq.get(url)`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastreq.building import URLTypes, split_options
from fastreq.client import Client
from fastreq.messages import Request, Response


async def request(method: str, url: URLTypes, **options: Any) -> Response:
    """Send one request with a client of its own, which is closed afterwards.

    Takes the options of `Client()` and of `Client.request()`. For more than one request, a
    `Client` keeps its connections.

    Raises:
        FastreqError: as `Client.request()`.
    """
    of_client, of_request = split_options("request()", options)
    async with Client(**of_client) as client:
        return await client.request(method, url, **of_request)


async def get(url: URLTypes, **options: Any) -> Response:
    """`request("GET", ...)`."""
    return await request("GET", url, **options)


async def head(url: URLTypes, **options: Any) -> Response:
    """`request("HEAD", ...)`."""
    return await request("HEAD", url, **options)


async def options(url: URLTypes, **options: Any) -> Response:
    """`request("OPTIONS", ...)`."""
    return await request("OPTIONS", url, **options)


async def delete(url: URLTypes, **options: Any) -> Response:
    """`request("DELETE", ...)`."""
    return await request("DELETE", url, **options)


async def post(url: URLTypes, **options: Any) -> Response:
    """`request("POST", ...)`."""
    return await request("POST", url, **options)


async def put(url: URLTypes, **options: Any) -> Response:
    """`request("PUT", ...)`."""
    return await request("PUT", url, **options)


async def patch(url: URLTypes, **options: Any) -> Response:
    """`request("PATCH", ...)`."""
    return await request("PATCH", url, **options)


async def query(url: URLTypes, **options: Any) -> Response:
    """`request("QUERY", ...)`."""
    return await request("QUERY", url, **options)


async def gather(
    requests: Iterable[URLTypes | Request],
    *,
    concurrency: int = 100,
    return_exceptions: bool = False,
    **options: Any,
) -> list[Any]:
    """Send a small list of requests with a client of their own; their responses, in order.

    For a long list, or one that need not be held, `Client.map()`.

    Args:
        requests: URLs to get, or Requests.
        concurrency: requests at once.
        return_exceptions: errors stand in the list in place of responses; else the first is raised,
            and what is under way is cancelled.
        options: of `Client()` and of `Client.request()`.

    Raises:
        FastreqError: as `Client.request()`.
    """
    of_client, of_request = split_options("gather()", options)
    gathered: list[Any] = []
    async with Client(**of_client) as client:
        results = client.map(requests, concurrency=concurrency, ordered=True, **of_request)
        async with results:
            async for result in results:
                if result.error is not None and not return_exceptions:
                    raise result.error
                gathered.append(result.error or result.response)
    return gathered
