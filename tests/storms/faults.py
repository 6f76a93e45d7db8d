"""The faults of the fault storm, and what each has to come to; docs/faults.md is made of them.

PYTHONPATH=tests python -m storms.faults > docs/faults.md
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from servers.scripted import Connection

from storms.storm import body_of

BODY = "the body"  # the exact one, and the right status

LATE_408 = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlate"


class Asked(NamedTuple):
    """A request, as its path tells it: what is to go wrong, and what the right body is."""

    fault: str
    framing: str  # "length" or "chunked"
    size: int
    number: int

    @property
    def path(self) -> str:
        return "/" + "/".join(map(str, self))

    @classmethod
    def of(cls, head: bytes) -> "Asked":
        _, fault, framing, size, number = head.split(b" ", 2)[1].decode().split("/")
        return cls(fault, framing, int(size), int(number))

    @property
    def body(self) -> bytes:
        return body_of(self.number, self.size)

    def head(self, *fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
        """The head, with the framing that was asked for."""
        framing = (
            "Transfer-Encoding: chunked"
            if self.framing == "chunked"
            else f"Content-Length: {self.size if length is None else length}"
        )
        return "\r\n".join([f"HTTP/1.1 {status}", *fields, framing, "", ""]).encode()

    def coded(self, body: bytes | None = None) -> bytes:
        """The body, as it stands behind that head."""
        body = self.body if body is None else body
        if self.framing == "length":
            return body
        third = len(body) // 3 + 1
        pieces = [body[start : start + third] for start in range(0, len(body), third)]
        return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"

    def whole(self, *fields: str) -> bytes:
        return self.head(*fields) + self.coded()

    def half(self) -> bytes:
        """A response that is cut in the middle of its body, though never at its end."""
        coded = self.coded()
        return self.head() + coded[: len(coded) // 2]


class Fault(NamedTuple):
    """What a server does, and what its client has to make of it."""

    name: str
    says: str
    outcomes: tuple[str, ...]
    act: Callable[[Connection, Asked], Awaitable[bool]]  # whether the connection goes on
    method: str = "GET"
    status: int = 200
    tls_only: bool = False
    reads_body: bool = True


FAULTS: dict[str, Fault] = {}


def fault(says: str, *outcomes: str, **how: object):  # type: ignore[no-untyped-def]
    """Make a fault of a function; its name is the fault's."""

    def add(act: Callable[[Connection, Asked], Awaitable[bool]]):  # type: ignore[no-untyped-def]
        name = act.__name__
        FAULTS[name] = Fault(name, says, outcomes, act, **how)  # type: ignore[arg-type]
        return act

    return add


async def shut(conn: Connection) -> None:
    """Send EOF, unless the client has gone already."""
    with suppress(OSError):
        await conn.half_close()


@fault("answers as it should", BODY)
async def none(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole())
    return True


@fault("resets the connection instead of an answer", "ReadError")
async def reset_before(conn: Connection, asked: Asked) -> bool:
    await conn.reset()
    return False


@fault("resets the connection in the head", "ReadError", "RemoteProtocolError")
async def reset_in_head(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.head()[:20])
    await conn.reset()
    return False


@fault("resets the connection in the body", "ReadError", "IncompleteBody")
async def reset_in_body(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.half())
    await conn.reset()
    return False


@fault("resets the connection after the answer", BODY, "ReadError")
async def reset_after(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole())
    await conn.reset()
    return False


@fault("closes the connection instead of an answer", "ReadError")
async def close_before(conn: Connection, asked: Asked) -> bool:
    return False


@fault("closes the connection in the head", "RemoteProtocolError")
async def close_in_head(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.head()[:20])
    return False


@fault("closes the connection in the body, or in a chunk", "IncompleteBody")
async def close_in_body(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.half())
    return False


@fault("closes the connection one byte before the end", "IncompleteBody")
async def close_at_last_byte(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole()[:-1])
    return False


@fault("closes the connection between two chunks", "IncompleteBody")
async def close_between_chunks(conn: Connection, asked: Asked) -> bool:
    coded = asked.coded()
    await conn.send(asked.head() + coded[: -len(b"0\r\n\r\n")])
    return False


@fault("closes the connection after the answer, unannounced", BODY)
async def close_after(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole())
    return False


@fault("closes the connection while it is idle", BODY)
async def close_idle(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole())
    for _ in range(5):
        await asyncio.sleep(0)
    return False


@fault("announces the close, then closes", BODY)
async def close_announced(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole("Connection: close"))
    return False


@fault("closes its own side after the answer, and goes on reading", BODY)
async def half_close(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole("Connection: close"))
    await shut(conn)
    await conn.wait_closed()
    return False


@fault("sends what is no HTTP", "RemoteProtocolError")
async def garbage(conn: Connection, asked: Asked) -> bool:
    await conn.send(b"\x00\xff\r\n" * 20)
    return True


@fault("sends its answer byte by byte", BODY)
async def drip(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole(), step=1 if asked.size < 200 else 101)
    return True


@fault("says nothing", "ReadTimeout")
async def silence(conn: Connection, asked: Asked) -> bool:
    await conn.wait_closed()
    return False


@fault("falls silent in the body", "ReadTimeout")
async def silence_in_body(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.half())
    await conn.wait_closed()
    return False


@fault("sends a second response behind the one that was asked for", BODY)
async def extra_response(conn: Connection, asked: Asked) -> bool:
    wrong = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    await conn.send(asked.whole() + wrong)
    return True


@fault("sends stray bytes behind the response", BODY)
async def extra_bytes(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole() + b"\r\n")
    return True


@fault("sends 1xx responses before the response", BODY)
async def interim(conn: Connection, asked: Asked) -> bool:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    await conn.send(early + asked.whole())
    return True


@fault("sends a hundred 1xx responses before the response", "RemoteProtocolError")
async def endless_interim(conn: Connection, asked: Asked) -> bool:
    await conn.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100 + asked.whole())
    return True


@fault("gives no length, and ends the body by closing", BODY)
async def until_close(conn: Connection, asked: Asked) -> bool:
    await conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + asked.body)
    return False


@fault("gives no length, and resets in the body", "ReadError", "IncompleteBody")
async def until_close_reset(conn: Connection, asked: Asked) -> bool:
    await conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + asked.body[: asked.size // 2])
    await conn.reset()
    return False


@fault("cuts a gzip body short, under an honest length", "DecodingError")
async def cut_gzip(conn: Connection, asked: Asked) -> bool:
    packed = gzip.compress(asked.body)[:-6]
    head = asked.head("Content-Encoding: gzip", length=len(packed))
    await conn.send(head + asked.coded(packed))
    return True


@fault("sends bytes behind the end of a gzip body", "DecodingError")
async def long_gzip(conn: Connection, asked: Asked) -> bool:
    packed = gzip.compress(asked.body) + b"more"
    head = asked.head("Content-Encoding: gzip", length=len(packed))
    await conn.send(head + asked.coded(packed))
    return True


@fault("sends a chunk size that is no number, or two lengths", "RemoteProtocolError")
async def bad_framing(conn: Connection, asked: Asked) -> bool:
    if asked.framing == "chunked":
        await conn.send(asked.head() + b"0x5\r\nhello\r\n0\r\n\r\n")
    else:
        await conn.send(asked.head(f"Content-Length: {asked.size + 1}") + asked.body)
    return True


@fault("sends more than a chunk's size, or both framings", "RemoteProtocolError")
async def two_framings(conn: Connection, asked: Asked) -> bool:
    if asked.framing == "chunked":
        await conn.send(asked.head() + b"%x\r\n" % asked.size + asked.body + b"!!!!\r\n0\r\n\r\n")
    else:
        await conn.send(asked.head("Transfer-Encoding: chunked") + asked.body)
    return True


@fault("announces more than it sends, and closes", "IncompleteBody")
async def long_length(conn: Connection, asked: Asked) -> bool:
    if asked.framing == "chunked":
        await conn.send(asked.head() + b"ffffff\r\n" + asked.body)
    else:
        await conn.send(asked.head(length=asked.size + 10) + asked.body)
    return False


@fault("sends 408 on the connection that has become idle, and closes it", BODY)
async def idle_408(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.whole())
    for _ in range(3):
        await asyncio.sleep(0)
    await conn.send(LATE_408)
    return False


@fault("answers 413 before the body has come", BODY, method="POST", status=413, reads_body=False)
async def early_413(conn: Connection, asked: Asked) -> bool:
    head = asked.head("Connection: close", status="413 Content Too Large")
    await conn.send(head + asked.coded())
    await conn.wait_closed()
    return False


@fault("cuts TLS without its closure alert, in a body of known length", "IncompleteBody")
async def cut(conn: Connection, asked: Asked) -> bool:
    await conn.send(asked.half())
    await shut(conn)
    await conn.wait_closed()
    return False


@fault(
    "cuts TLS without its closure alert, in a body that only closing ends",
    "IncompleteBody",
    tls_only=True,
)
async def tls_cut(conn: Connection, asked: Asked) -> bool:
    await conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + asked.body)
    await shut(conn)
    await conn.wait_closed()
    return False


@fault("sends bytes that are no TLS on a TLS connection", "ReadError", tls_only=True)
async def tls_garbage(conn: Connection, asked: Asked) -> bool:
    with suppress(OSError), conn._socket() as sock:
        sock.send(b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
    await conn.wait_closed()
    return False


# ---- docs/faults.md

PAGE = """\
# What happens when

Each row is a case of the fault storm (`tests/storms/test_faults.py`), which runs them by the
thousand, mixed, over plain TCP and TLS, with a tenth of the requests cancelled. This page is
made from them: `PYTHONPATH=tests python -m storms.faults > docs/faults.md`.

*The body* is exactly what the server meant for this request. All errors are `FastreqError`s.

| the server … | the client gets |
| --- | --- |
{rows}

Where a connection was used before, and not one byte of an answer comes, a request that may be
sent twice (GET, HEAD, OPTIONS, TRACE, PUT, DELETE, or any with `Idempotency-Key`) is sent once
more, on a new connection; so an idle connection that the server closes costs nobody an error. A
POST is never sent twice.

One thing no client can tell: a server that gives up an idle connection with `408` while the next
request is on its way. That request gets the `408`, as `response.status`.
"""


def page() -> str:
    """The text of docs/faults.md."""
    rows = []
    for case in FAULTS.values():
        outcomes = [
            (f"status {case.status}, and the body" if case.status != 200 else BODY)
            if what == BODY
            else f"`{what}`"
            for what in case.outcomes
        ]
        only = " (TLS)" if case.tls_only else ""
        rows.append(f"| {case.says}{only} | {', or '.join(outcomes)} |")
    return PAGE.format(rows="\n".join(rows))


if __name__ == "__main__":
    print(page(), end="")
