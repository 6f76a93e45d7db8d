"""C3, floods: a server that never stops is stopped within 512 KiB, however it cuts its bytes.

TRUST sections 0, 1b and 4. Counted is what the connection took, whatever the kernel holds.
"""

import asyncio

import pytest
from servers.scripted import Connection

from fastreq import Client, RemoteProtocolError, Timeout
from fastreq.protocol import HTTPProtocol
from storms.storm import FULL, elsewhere, note, run

LIMIT = 512 * 1024
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

# How each begins, and what is then said for ever.
FLOODS = {
    "a status line": (b"HTTP/1.1 200 ", b"x" * 1000),
    "a field": (OK + b"A: ", b"x" * 1000),
    "fields": (OK, b"A: b\r\n" * 150),
    "1xx": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 30),
    "a chunk extension": (CHUNKED + b"1;a=", b"x" * 1000),
    "chunk extensions": (CHUNKED, b"1;a=bcdefghijklmnopq\r\nx\r\n" * 30),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n" * 150),
    "zeros before a chunk size": (CHUNKED, b"0" * 1000),
}

STEPS = {"whole": None, "bytes": 1 if FULL else 37}


@pytest.fixture
def taken(monkeypatch):
    """How many bytes the connections have taken."""
    counts = []
    update = HTTPProtocol.buffer_updated

    def counted(self: HTTPProtocol, nbytes: int) -> None:
        counts.append(nbytes)
        update(self, nbytes)

    monkeypatch.setattr(HTTPProtocol, "buffer_updated", counted)
    return counts


@pytest.mark.parametrize("cut", STEPS)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", FLOODS)
def test_flood(loop_factory, certs, taken, name, tls, cut):
    """C3: an error, after 512 KiB at the most."""
    begin, more = FLOODS[name]

    async def flood(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(begin)
        while not conn.writer.is_closing():
            await conn.send(more, step=STEPS[cut])
            await asyncio.sleep(0)

    async def ask(url: str) -> None:
        async with Client(verify=certs.ca_file, timeout=Timeout(read=10)) as client:
            with pytest.raises(RemoteProtocolError):
                await client.get(url)

    with elsewhere(flood, certs.good if tls else None) as there:
        run(loop_factory, ask(there.url()))

    note("C3 floods", floods=1, stopped=sum(taken) <= LIMIT)
    assert LIMIT >= sum(taken)
