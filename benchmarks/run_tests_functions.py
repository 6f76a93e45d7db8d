"""The benchmark of aioreq, which fastreq grew out of: 200 requests at once, and 100 chunked ones.

    pip install '.[benchmarks]'
    cd benchmarks
    python run_tests_functions.py                             # a local server, over TLS
    python run_tests_functions.py https://www.github.com      # any other

Asynchronous libraries send all requests at once, synchronous ones one after the other. The time is
that of making a client, the requests, and closing it; imports are done before. Redirects are not
followed. The libraries take turns; one that is not installed is left out. On loopback, where a
request takes no time, most of an asynchronous library's is that of its 100 TLS handshakes.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from time import perf_counter

import fastreq
from fastreq.testing import Server

SECONDS = 60  # one request may take, waiting for a connection included


async def with_fastreq(url: str, count: int, ca_file: str | None) -> list[int]:
    async with fastreq.Client(verify=ca_file or True, timeout=SECONDS) as client:
        requests = [client.get(url, follow_redirects=False) for _ in range(count)]
        return [response.status for response in await asyncio.gather(*requests)]


async def with_httpx(url: str, count: int, ca_file: str | None) -> list[int]:
    import httpx

    verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
    async with httpx.AsyncClient(verify=verify, timeout=SECONDS) as client:
        requests = [client.get(url, follow_redirects=False) for _ in range(count)]
        return [response.status_code for response in await asyncio.gather(*requests)]


def with_requests(url: str, count: int, ca_file: str | None) -> list[int]:
    import requests

    verify = ca_file or True
    with requests.Session() as session:
        responses = [
            session.get(url, verify=verify, allow_redirects=False, timeout=SECONDS)
            for _ in range(count)
        ]
        return [response.status_code for response in responses]


# What gives the statuses of so many requests: (url, count, ca_file).
ASYNC: dict[str, Callable[[str, int, str | None], Coroutine[None, None, list[int]]]] = {
    "fastreq": with_fastreq,
    "httpx": with_httpx,
}
SYNC: dict[str, Callable[[str, int, str | None], list[int]]] = {"requests": with_requests}


def compare(
    libraries: list[str], url: str, count: int, sync_count: int, ca_file: str | None
) -> bool:
    """Print what each library takes; whether each request of each was answered."""
    print("========================")
    print("Benchmark settings")
    print(f"\tUrl: {url}")
    print(f"\tAsync lib test requests count: {count}")
    print(f"\tSync lib test requests count: {sync_count}")
    print("========================")
    failed = [name for name in libraries if not measure(name, url, count, sync_count, ca_file)]
    return not failed


def measure(name: str, url: str, count: int, sync_count: int, ca_file: str | None) -> bool:
    """Print what one library takes; whether each request was answered."""
    started = perf_counter()
    try:
        if name in ASYNC:
            with asyncio.Runner(loop_factory=fastreq.new_event_loop) as runner:
                statuses = runner.run(ASYNC[name](url, count, ca_file))
        else:
            statuses = SYNC[name](url, sync_count, ca_file)
    except Exception as error:  # each library has its own; the others go on
        print(f"Function test for {name} failed: {type(error).__name__}: {error}")
        return False
    seconds = perf_counter() - started
    print(f"Function test for {name} completed. Total time: {seconds:.6f}")
    print(f"Received statuses\n\t{dict(Counter(statuses))}")
    return True


def installed(names: list[str]) -> list[str]:
    """Import these libraries; those that there are."""
    found = []
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"{name} is left out: {error}")
        else:
            found.append(name)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare fastreq, httpx and requests.")
    parser.add_argument("url", nargs="?", help="by default, a server of our own")
    parser.add_argument("--count", type=int, help="requests of asynchronous libraries [200]")
    parser.add_argument("--sync-count", type=int, help="of synchronous ones [as many]")
    parser.add_argument("--ca-file", help="what to trust for the url, instead of certifi")
    parser.add_argument(
        "--only", action="append", choices=[*ASYNC, *SYNC], help="a library; may be repeated"
    )
    options = parser.parse_args()
    libraries = installed(options.only or [*ASYNC, *SYNC])

    def run(url: str, default: int, ca_file: str | None) -> bool:
        count = default if options.count is None else options.count
        sync_count = count if options.sync_count is None else options.sync_count
        return compare(libraries, url, count, sync_count, ca_file)

    if options.url:
        return 0 if run(options.url, 200, options.ca_file) else 1
    with Server(tls="auto") as server:
        if server.tls_url is None:
            print("TLS is left out: trustme is not installed")
        base = server.tls_url or server.url
        print("\nWith Content-Length")
        good = run(base + "/moved", 200, server.ca_file)
        print("\nWith Transfer-Encoding: chunked")
        good &= run(base + "/chunked/10000", 100, server.ca_file)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
