"""C12, memory: bombs and promises cost next to nothing; C9, drips: the deadline is the end.

TRUST sections 0, 1b, 1e and 4.
"""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest
from servers.scripted import Connection, reply, scripted, serving

from fastreq import (
    BodyTooLarge,
    Client,
    DecodingError,
    IncompleteBody,
    RemoteProtocolError,
    Timeout,
    TotalTimeout,
    WriteTimeout,
)
from storms.child import child, said
from storms.storm import note, note_largest, sized

MIB = 2**20
BOMB = sized(32, 256) * MIB
PEAK = 8 * MIB
LARGEST = 256 * 1024
OK = b"HTTP/1.1 200 OK\r\n"


def bomb(coding: str) -> bytes:
    """So many zeros, in few bytes."""
    zeros = bytes(MIB)
    if coding == "br":
        compressor = pytest.importorskip("brotli").Compressor()
        return b"".join(compressor.process(zeros) for _ in range(BOMB // MIB)) + compressor.finish()
    if coding == "zstd":
        compressor = pytest.importorskip("backports.zstd").ZstdCompressor()
        parts = [compressor.compress(zeros) for _ in range(BOMB // MIB)]
        return b"".join(parts) + compressor.flush()
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    return b"".join(compressor.compress(zeros) for _ in range(BOMB // MIB)) + compressor.flush()


class Peak:
    """What Python had in use at the most, within a block, over what it had before."""

    def __enter__(self) -> "Peak":
        tracemalloc.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_bomb_in_a_stream(coding):
    """C12: it comes in small pieces, and nothing piles up."""
    packed = reply(bomb(coding), f"Content-Encoding: {coding}")
    size = largest = 0
    async with serving(packed) as server, Client() as client:
        with Peak() as peak:
            async with client.stream("GET", server.url()) as response:
                async for piece in response.iter_bytes():
                    size += len(piece)
                    largest = max(largest, len(piece))

    note("C12 memory", bombs=1, too_large_pieces=largest > LARGEST, over_8_MiB=peak.size > PEAK)
    note_largest("C12 memory", largest_piece=largest)
    assert size == BOMB
    assert LARGEST >= largest
    assert PEAK >= peak.size


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_bomb_in_a_body(coding):
    """C12: the cap holds, and little more than it is ever held."""
    packed = reply(bomb(coding), f"Content-Encoding: {coding}")
    async with serving(packed) as server, Client(max_body=MIB) as client:
        with Peak() as peak, pytest.raises(BodyTooLarge):
            await client.get(server.url())

    note("C12 memory", bombs=1, over_8_MiB=peak.size > PEAK)
    assert PEAK >= peak.size


async def test_a_bomb_in_bombs():
    """C12: five layers of gzip."""
    packed = bomb("gzip")
    for _ in range(4):
        packed = gzip.compress(packed)
    response = reply(packed, "Content-Encoding: " + ", ".join(["gzip"] * 5))
    async with serving(response) as server, Client() as client:
        with Peak() as peak:
            async with client.stream("GET", server.url()) as response:
                sizes = [len(piece) async for piece in response.iter_bytes()]

    note("C12 memory", bombs=1, over_8_MiB=peak.size > PEAK)
    assert sum(sizes) == BOMB
    assert LARGEST >= max(sizes)
    assert PEAK >= peak.size


async def test_members_without_end():
    """C12: a gzip body of so many members is refused."""
    members = gzip.compress(b"") * sized(100_000, 1_000_000)
    async with serving(reply(members, "Content-Encoding: gzip")) as server, Client() as client:
        with pytest.raises(DecodingError):
            await client.get(server.url())


async def test_chunks_of_one_byte():
    """C12: so many of them cost what their bytes cost, and some overhead each."""
    count = sized(50_000, 1_000_000)
    chunks = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    async with serving(chunks) as server, Client() as client:
        response = await client.get(server.url())

    assert b"x" * count == response.body


@pytest.mark.parametrize("status", [200, 206])
async def test_a_promise_is_not_paid_in_advance(status):
    """TRUST 1b: a Content-Length of 10^15 sets nothing aside."""
    head = b"HTTP/1.1 %d OK\r\nContent-Length: 1000000000000000\r\n\r\nhello" % status

    async def promise(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(head)

    async with scripted(promise) as server, Client(max_body=None) as client:
        with Peak() as peak:
            async with client.stream("GET", server.url()) as response:
                with pytest.raises(IncompleteBody):
                    await response.aread()
        assert MIB >= peak.size

    async with scripted(promise) as server, Client() as client:
        with pytest.raises(BodyTooLarge):
            await client.get(server.url())


async def test_a_hundred_thousand_fields():
    """C12: refused at 64 KiB."""
    head = OK + b"A: b\r\n" * 100_000 + b"\r\n"
    async with serving(head) as server, Client() as client:
        with pytest.raises(RemoteProtocolError):
            await client.get(server.url())


def test_under_a_cap():
    """C12: a process that may have 64 MiB more than it has reads a bomb of many times that."""
    code = """
import gzip
packed = gzip.compress(bytes(256 * 2**20))

async def main():
    async with serving(reply(packed, "Content-Encoding: gzip")) as server, Client() as client:
        async with client.stream("GET", server.url()) as response:
            async for piece in response.iter_bytes():
                break  # whatever is set aside once is set aside now
    size = 0
    async with serving(reply(packed, "Content-Encoding: gzip")) as server, Client() as client:
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 64 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        async with client.stream("GET", server.url()) as response:
            async for piece in response.iter_bytes():
                size += len(piece)
    print(size)

run(main())
"""
    assert [str(256 * MIB)] == said(child(code))


# ---- C9

DRIPS = {
    "a head": (b"", b"HTTP/1.1 200 OK\r\nA: bcdefghijklmnopqrstuvwxyz\r\n" * 20),
    "a body": (OK + b"Content-Length: 100000\r\n\r\n", b"x" * 1000),
    "a chunk line": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 15 + b"5;" + b"a" * 900),
    "a trailer": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: bcdefghijkl\r\n" * 60),
}


@pytest.mark.parametrize("name", DRIPS)
async def test_a_drip(name):
    """C9: a server that is never silent for long is stopped by `total`, wherever it drips."""
    begin, more = DRIPS[name]

    async def drip(conn: Connection) -> None:
        await conn.read_request()
        await conn.send(begin)
        for byte in more:
            await conn.send(bytes([byte]))
            await asyncio.sleep(0.01)

    async with scripted(drip) as server, Client() as client:
        with pytest.raises(TotalTimeout):
            await client.get(server.url(), timeout=Timeout(read=5, total=0.2))

    note("C9 drips", drips=1)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(MIB)


async def test_a_stalled_upload():
    """C9 and TRUST 1e: a peer that takes nothing ends in an error, with next to nothing held."""
    sent = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in endless():
            sent += len(piece)
            yield piece

    async def stall(conn: Connection) -> None:
        await conn.read_head()
        conn.writer.transport.pause_reading()
        await asyncio.Event().wait()

    async with scripted(stall) as server, Client() as client:
        with Peak() as peak, pytest.raises(WriteTimeout):
            await client.post(server.url(), content=counted(), timeout=Timeout(write=0.3))

    note("C9 drips", stalled_uploads=1)
    assert 32 * MIB > sent  # what the kernel took
    assert 4 * MIB > peak.size
