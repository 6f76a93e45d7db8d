"""TRUST 1a: whatever a caller puts in, and wherever, one well-formed request goes out, or none.

Counted is what a server reads off the wire; its reading is strict.
"""

import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from servers.received import parse
from servers.scripted import CLIENT_WENT_AWAY, Connection, reply, scripted

from fastreq import Bearer, Client, FastreqError
from storms.storm import FULL, note, note_largest

EVIL = "\r\nX-Evil: 1"
BAD = [
    *["\r", "\n", "\0", EVIL, EVIL.replace("\r", ""), "\r\n\r\nGET /evil HTTP/1.1\r\n\r\n"],
    *[" ", "\t", "\x0b", "\x7f", "\x85", "\u2028", "\u010d\u010aX-Evil: 1", "\ud800", "\uff11"],
    *['"', "\\", ";", ",", ":", "%0d%0a"],
]
if FULL:
    BAD += [chr(number) for number in range(256)]

NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

Point = Callable[[str, str], tuple[str, str, dict[str, Any]]]

# Of a server's URL and what is bad: method, URL, and options.
POINTS: dict[str, Point] = {
    "method": lambda url, bad: (f"G{bad}T", url, {}),
    "path": lambda url, bad: ("GET", f"{url}a{bad}b", {}),
    "query": lambda url, bad: ("GET", f"{url}?a{bad}b", {}),
    "fragment": lambda url, bad: ("GET", f"{url}#a{bad}b", {}),
    "name of a parameter": lambda url, bad: ("GET", url, {"params": {f"a{bad}b": "c"}}),
    "value of a parameter": lambda url, bad: ("GET", url, {"params": {"a": f"b{bad}c"}}),
    "text of the parameters": lambda url, bad: ("GET", url, {"params": f"a=b{bad}c"}),
    "scheme": lambda url, bad: ("GET", url.replace("http", f"ht{bad}tp"), {}),
    "host": lambda url, bad: ("GET", url.replace(".0.1", f".0.1{bad}"), {}),
    "port": lambda url, bad: ("GET", url[:-1] + f"{bad}/", {}),
    "user in the URL": lambda url, bad: ("GET", url.replace("://", f"://a{bad}b:c@"), {}),
    "password in the URL": lambda url, bad: ("GET", url.replace("://", f"://a:b{bad}c@"), {}),
    "Host": lambda url, bad: ("GET", url, {"headers": {"Host": f"a{bad}b"}}),
    "name of a field": lambda url, bad: ("GET", url, {"headers": {f"A{bad}B": "c"}}),
    "value of a field": lambda url, bad: ("GET", url, {"headers": {"A": f"b{bad}c"}}),
    "Content-Length": lambda url, bad: (
        *("POST", url),
        {"content": b"body", "headers": {"Content-Length": f"4{bad}"}},
    ),
    "Transfer-Encoding": lambda url, bad: (
        *("POST", url),
        {"content": b"body", "headers": {"Transfer-Encoding": f"chunked{bad}"}},
    ),
    "Content-Type": lambda url, bad: (
        *("POST", url),
        {"json": {}, "headers": {"Content-Type": f"a/b{bad}c"}},
    ),
    "Connection": lambda url, bad: ("GET", url, {"headers": {"Connection": f"a{bad}b", "TE": "a"}}),
    "name of a cookie": lambda url, bad: ("GET", url, {"cookies": {f"a{bad}b": "c"}}),
    "value of a cookie": lambda url, bad: ("GET", url, {"cookies": {"a": f"b{bad}c"}}),
    "user": lambda url, bad: ("GET", url, {"auth": (f"a{bad}b", "c")}),
    "password": lambda url, bad: ("GET", url, {"auth": ("a", f"b{bad}c")}),
    "token": lambda url, bad: ("GET", url, {"auth": Bearer(f"a{bad}b")}),
    "name of a form's field": lambda url, bad: ("POST", url, {"data": {f"a{bad}b": "c"}}),
    "value of a form's field": lambda url, bad: ("POST", url, {"data": {"a": f"b{bad}c"}}),
    "name of a part": lambda url, bad: ("POST", url, {"files": {f"a{bad}b": b"c"}}),
    "file name of a part": lambda url, bad: ("POST", url, {"files": {"a": (f"b{bad}c", b"d")}}),
    "type of a part": lambda url, bad: (
        *("POST", url),
        {"files": {"a": ("b", b"c", f"text/{bad}plain")}},
    ),
}


class Wire:
    """What went over it, and what of that was no request."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.rest: list[bytes] = []

    async def serve(self, conn: Connection) -> None:
        try:
            while True:
                self.requests.append(await conn.read_request())
                await conn.send(reply())
        except CLIENT_WENT_AWAY as exc:
            if partial := getattr(exc, "partial", b""):
                self.rest.append(partial)

    def take(self) -> list[bytes]:
        taken, self.requests = self.requests, []
        return taken


def malformed(requests: list[bytes]) -> Iterator[str]:
    """What is wrong with what one call has sent."""
    if len(requests) > 1:
        yield f"{len(requests)} requests"
    for raw in requests:
        try:
            request = parse(raw)
        except (AssertionError, ValueError) as exc:
            yield f"{exc!r}: {raw!r}"
            continue
        if not all(
            NAME.fullmatch(name) and VALUE.fullmatch(value) for name, value in request.fields
        ):
            yield f"a field that is none: {raw!r}"
        if "x-evil" in dict(request.fields) or b"\nx-evil" in request.body.lower():
            yield f"a field that nobody set: {raw!r}"
        if "multipart" in (kind := dict(request.fields).get("content-type", "")):
            boundary = kind.partition("boundary=")[2].encode()
            if 2 != request.body.count(b"--" + boundary):
                yield f"more than one part: {raw!r}"


def no_such_host(*args: object, **options: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def test_injections(monkeypatch):
    """1a: at each point a typed error, or a request that is what it should be."""
    wire = Wire()
    wrong = []
    sent = refused = 0
    async with scripted(wire.serve) as server:
        monkeypatch.setattr(socket, "getaddrinfo", no_such_host)
        async with Client(trust_env=False) as client:
            for name, point in POINTS.items():
                for bad in BAD:
                    try:
                        method, url, options = point(server.url("/"), bad)
                        await client.request(method, url, **options)
                        sent += 1
                    except (FastreqError, TypeError, ValueError):
                        refused += 1
                    wrong += [f"{name}, {bad!r}: {what}" for what in malformed(wire.take())]

    wrong += [f"after the last: {rest!r}" for rest in wire.rest]
    note_largest("1a injections", points=len(POINTS))
    note("1a injections", sent=sent, refused=refused, malformed=len(wrong))
    assert [] == wrong
    assert sent
    assert refused


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nX-Evil: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\nX-Evil: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n\r\n",
    ],
)
def test_the_wire_is_read_strictly(raw):
    assert list(malformed([raw]))
