"""httpbin under waitress: it echoes what it is sent, and has a page for most of what HTTP does.

    async def test_echo(httpbin):
        response = await client.post(httpbin.url("/post"), content=b"a")
        assert "a" == response.json()["data"]

It runs in a thread, once for all tests.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from servers.require import missing_server


@dataclass(frozen=True)
class Httpbin:
    port: int

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@pytest.fixture(scope="session")
def httpbin() -> Iterator[Httpbin]:
    try:
        from httpbin import app
        from waitress import create_server
    except ImportError as exc:
        missing_server(f"httpbin cannot be imported: {exc}")

    server = create_server(app, host="127.0.0.1", port=0, threads=8)
    thread = threading.Thread(target=server.run, name="httpbin", daemon=True)
    thread.start()
    yield Httpbin(server.effective_port)
    server.close()
    thread.join(5)
