"""What a server of the tests received, read by rules that are not the client's.

request = received(server)          # the last; received(server, 0): the first
assert "POST" == request.method
assert b"hello" == request.body
"""

from dataclasses import dataclass

from servers.scripted import Server


@dataclass(frozen=True)
class Received:
    """A request, whose body is taken out of its chunks."""

    raw: bytes
    method: str
    target: str
    fields: list[tuple[str, str]]  # names in lower case
    body: bytes
    chunks: list[bytes] | None  # None where the body has a length

    def all(self, name: str) -> list[str]:
        return [value for own, value in self.fields if own == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a field that must not be there twice."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is there {len(values)} times: {values}"
        return values[0] if values else None


def received(server: Server, number: int = -1) -> Received:
    """A request that a scripted server has read."""
    return parse(server.requests[number])


def parse(raw: bytes) -> Received:
    """Read a request strictly: a line that is not as it should be fails the test."""
    head, _, framed = raw.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    method, target, version = line.decode("ascii").split(" ")
    assert "HTTP/1.1" == version
    fields = []
    for field in lines:
        name, colon, value = field.decode("latin-1").partition(": ")
        assert colon and name.isascii() and " " not in name and value == value.strip(), field
        fields.append((name.lower(), value))
    names = [name for name, _ in fields]
    assert "host" == names[0], "RFC 9110, section 7.2: Host comes first"
    assert 1 == names.count("host")
    lengths = names.count("content-length") + names.count("transfer-encoding")
    assert lengths == (1 if framed else lengths) <= 1, "a body has one length"
    chunks = dechunked(framed) if "transfer-encoding" in names else None
    body = framed if chunks is None else b"".join(chunks)
    return Received(raw, method, target, fields, body, chunks)


def dechunked(framed: bytes) -> list[bytes]:
    chunks = []
    while True:
        size, crlf, framed = framed.partition(b"\r\n")
        assert crlf and size == b"%x" % int(size, 16)
        chunk, end, framed = (framed[: (n := int(size, 16))], framed[n : n + 2], framed[n + 2 :])
        assert (n, b"\r\n") == (len(chunk), end)
        if n == 0:
            assert b"" == framed, "nothing comes after the last chunk"
            return chunks
        chunks.append(chunk)
