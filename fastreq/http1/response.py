"""Bytes → the head of a response, its body, its end (RFC 9112)."""

from __future__ import annotations

import re
from typing import cast

from fastreq.errors import RemoteProtocolError, quoted
from fastreq.headers import TOKEN_CHARACTER
from fastreq.http1.body import DIRECT, SEGMENT, StreamedBody, WholeBody
from fastreq.http1.framing import (
    BodyReader,
    ChunkedReader,
    CloseReader,
    LengthReader,
    body_reader,
    is_switch,
)
from fastreq.messages import ResponseHead

MAX_HEAD = 64 * 1024  # bytes of a head, those of the 1xx responses before it included
MAX_FIELDS = 256
MAX_INTERIM = 16  # 1xx responses before the final one
USUAL_HEAD = 4096  # bytes that hold nearly every head
MAX_KNOWN_HEADS = 512

_TOKEN = TOKEN_CHARACTER.encode()
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"  # no control character but HTAB; NUL, bare CR, bare LF fail
_HEAD = re.compile(
    rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: (%b*+))?\r\n((?:%b++:%b*+\r\n)*+)"
    % (_TEXT, _TOKEN, _TEXT)
)
_FIELD = re.compile(rb"%b+:%b*" % (_TOKEN, _TEXT))
_BROKEN_LINE = re.compile(rb"(?<!\r)\n|\r[^\n]")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_SPECIAL_METHODS = frozenset({"HEAD", "CONNECT"})  # whose responses end in ways of their own
_KEEP_ALIVE_SECONDS = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})")


class ResponseReader:
    """Reads the response to one request: its head into `head`, its body into `body`, or, where
    it is wanted whole, for `take_content()`."""

    __slots__ = (
        "_content",
        "_framing",
        "_head_size",
        "_held",
        "_limit",
        "body",
        "continued",
        "ended",
        "head",
        "interim",
        "method",
        "persistent",
        "set_aside",
        "switches",
    )

    def __init__(self, method: str, body: StreamedBody | None, limit: int | None = None) -> None:
        """`body` takes it as it comes; None: it is wanted whole, of at most `limit` bytes."""
        self.method = method
        # Most bodies come in one piece, with their head, and need no place (benchmark: small).
        self.body: WholeBody | StreamedBody | None = body
        self._limit = limit
        self.set_aside = SEGMENT  # bytes for a body, at once and at the most
        self._content = b""
        self.head: ResponseHead | None = None
        self.ended = False
        self.persistent = False  # it ended so that another exchange may follow (RFC 9112, 9.3)
        self.switches = False  # the request asks for another protocol, or a tunnel
        self.interim = 0  # 1xx responses passed over
        self.continued = False  # one of them was 100 (Continue)
        self._framing: BodyReader | None = None  # the state of the body
        self._held: bytearray | None = None  # the part of a head that has come
        self._head_size = 0  # bytes of all heads so far

    def receive(self, view: memoryview) -> int:
        """Read from `view`; returns how many bytes of it belong to this response.

        Raises:
            RemoteProtocolError: it is no HTTP/1.1 response, or over a limit.
            BodyTooLarge: the body is larger than its place.
        """
        used = 0
        framing = self._framing
        if framing is None:
            if self._held is None and (used := self._receive_at_once(view)):
                return used
            used = self._receive_head(view)
            framing = self._framing
            if framing is None:
                return used
        if used < len(view) and not framing.ended:
            used += framing.receive(view[used:] if used else view, self._place())
        if framing.ended:
            self._end(framing)
        return used

    def receive_eof(self, clean: bool) -> None:
        """The connection has ended; `clean` where it was closed, rather than cut.

        Raises:
            RemoteProtocolError: the response had not.
        """
        if self._framing is None:
            raise RemoteProtocolError(
                f"the connection ended in the middle of a head: {quoted(self._held or b'')}"
            )
        self._framing.receive_eof(clean)
        self._end(self._framing)

    def take_content(self) -> bytes:
        """Hand out a body that was wanted whole, once it has ended, and keep nothing of it."""
        content, self._content = self._content, b""
        return content if self.body is None else cast(WholeBody, self.body).value()

    @property
    def size(self) -> int:
        """Bytes of the body that have come, and that nobody has taken."""
        return len(self._content) if self.body is None else self.body.size

    def window(self) -> memoryview | None:
        """Where the next bytes may be received in place, if they may; see `filled()`."""
        if isinstance(self._framing, LengthReader) and self._framing.remaining > DIRECT:
            return self._place().window()
        return None

    def filled(self, count: int) -> None:
        """So many bytes were received into the window."""
        assert isinstance(self._framing, LengthReader) and isinstance(self.body, WholeBody)
        self._framing.remaining -= count
        self.body.filled(count)

    @property
    def switched(self) -> bool:
        """Whether what follows is not HTTP any more (RFC 9110, 7.8 and 9.3.6)."""
        head = self.head
        return self.switches and head is not None and is_switch(self.method, head)

    @property
    def begun(self) -> bool:
        """Whether any byte of a response has come."""
        return self.head is not None or self._head_size > 0 or bool(self._held)

    @property
    def trailers(self) -> bytes:
        """The trailer fields, each with its CRLF."""
        return self._framing.trailers if isinstance(self._framing, ChunkedReader) else b""

    def _place(self) -> WholeBody | StreamedBody:
        """Where the body goes, unless it comes in one piece."""
        if self.body is None:
            self.body = WholeBody(self._limit, self.set_aside)
        return self.body

    def _end(self, framing: BodyReader) -> None:
        self.ended = True
        self.persistent = (
            cast(ResponseHead, self.head).persistent
            and type(framing) is not CloseReader
            and self.method != "CONNECT"  # what follows is what the tunnel carries
        )

    def _receive_at_once(self, view: memoryview) -> int:
        """Read the usual response in one step: all of it has come, and nothing behind it.

        0: it is not so, and nothing was done (benchmark: small, plain).
        """
        size = len(view)
        start = bytes(view if size <= USUAL_HEAD else view[:USUAL_HEAD])
        end = start.find(b"\r\n\r\n") + 4
        if end < 4 or end + self._head_size > MAX_HEAD:
            return 0
        try:
            head = known_heads[start[: end - 2]]
        except RemoteProtocolError:
            self._head_size += end  # something has come
            raise
        length = size - end
        if head.body_length != length or self.method in _SPECIAL_METHODS:
            return 0
        if length:
            if self.body is not None:
                self.body.write(view[end:])
            elif self._limit is not None and length > self._limit:
                return 0
            else:
                self._content = start[end:] if size <= USUAL_HEAD else bytes(view[end:])
        self._head_size += end
        self.head = head
        self.persistent = head.persistent
        self.ended = True
        return size

    def _receive_head(self, view: memoryview) -> int:
        """Read up to the end of the final head, passing over 1xx responses (RFC 9110, 15.2)."""
        used = 0
        while self._framing is None:
            taken, block = self._take_block(view[used:] if used else view)
            used += taken
            if block is None:
                break
            head = known_heads[block] if len(block) < USUAL_HEAD else parse_head(block)
            if head.status >= 200 or (head.status == 101 and self.switches):
                self._begin_body(head)
            else:
                self._pass_over(head)
        return used

    def _take_block(self, view: memoryview) -> tuple[int, bytes | None]:
        """Find a whole head; its bytes are given without the empty line that ends it."""
        if self._held is None:
            start = bytes(view[:USUAL_HEAD])
            end = start.find(b"\r\n\r\n")
            if end >= 0:
                self._count(end + 4)
                return end + 4, start[: end + 2]
            self._held = bytearray()
        held = len(self._held)
        self._held += view[: MAX_HEAD + 1]
        end = self._held.find(b"\r\n\r\n", max(0, held - 3))
        if end < 0:
            self._count(len(self._held), so_far=True)
            _check_begun(self._held, held)
            return len(view), None
        block = bytes(self._held[: end + 2])
        self._held = None
        self._count(end + 4)
        return end + 4 - held, block

    def _count(self, size: int, so_far: bool = False) -> None:
        if self._head_size + size > MAX_HEAD:
            raise RemoteProtocolError(f"the response head is larger than {MAX_HEAD} bytes")
        if not so_far:
            self._head_size += size

    def _begin_body(self, head: ResponseHead) -> None:
        framing = body_reader(self.method, head)
        if isinstance(framing, LengthReader) and not framing.ended:
            self._place().expect(framing.remaining)
        self.head = head
        self._framing = framing

    def _pass_over(self, head: ResponseHead) -> None:
        self.interim += 1
        self.continued = self.continued or head.status == 100
        if head.status == 101:
            raise RemoteProtocolError(
                "101 Switching Protocols, though no Upgrade was asked for that could be followed; "
                "client.upgrade() asks for one"
            )
        if self.interim > MAX_INTERIM:
            raise RemoteProtocolError(f"more than {MAX_INTERIM} interim (1xx) responses")


def parse_head(block: bytes) -> ResponseHead:
    """Read a head: a status line and field lines, each with its CRLF (RFC 9112, 4 and 5).

    Raises:
        RemoteProtocolError: it is none, or says unclearly how its body ends.
    """
    match = _HEAD.fullmatch(block)
    if match is None:
        match = _HEAD.fullmatch(_unfold(block))
    if match is None:
        raise RemoteProtocolError(_what_is_wrong(block))
    minor, status, reason, fields = match.groups()
    if fields.count(b"\r\n") > MAX_FIELDS:
        raise RemoteProtocolError(f"the response head has more than {MAX_FIELDS} fields")
    # A minor version above ours is read as ours (RFC 9110, section 6.2).
    head = ResponseHead(min(int(minor), 1), int(status), reason or b"", fields)
    head.content_length = _content_length(head)
    if codings := head.values(b"transfer-encoding"):
        head.transfer_encoding = b", ".join(codings)
    options = [o.strip(b" \t") for v in head.values(b"connection") for o in v.split(b",")]
    # docs/trust.md, row 36: close wins, and HTTP/1.0 persists only where it says so.
    head.says_keep_alive = b"keep-alive" in options
    persists = head.minor_version > 0 or head.says_keep_alive
    head.persistent = persists and b"close" not in options
    head.sets_cookies = head.has(b"set-cookie")
    if match := _KEEP_ALIVE_SECONDS.search(b",".join(head.values(b"keep-alive"))):
        head.keep_alive_seconds = int(match[1])
    head.content_encoding = tuple(v.decode("latin-1") for v in head.values(b"content-encoding"))
    if head.transfer_encoding is None and head.status >= 200 and head.status not in (204, 304):
        head.body_length = head.content_length
    return head


class KnownHeads(dict[bytes, ResponseHead]):
    """Heads by their bytes, each read where it is not known yet: a server says the same one many
    times a second (benchmark: small, plain).

    What may have a secret in it is not kept: cookies, tokens, and where a redirect leads.
    """

    def __missing__(self, block: bytes) -> ResponseHead:
        head = parse_head(block)
        if not (head.sets_cookies or head.has(b"location") or head.lowered.find(b"token:") >= 0):
            if len(self) >= MAX_KNOWN_HEADS:
                self.clear()
            self[block] = head
        return head


known_heads = KnownHeads()


def _content_length(head: ResponseHead) -> int | None:
    """RFC 9112, section 6.3, rule 5: one number, or the same one repeated."""
    values = head.values(b"content-length")
    if not values:
        return None
    numbers = {number.strip(b" \t") for value in values for number in value.split(b",")}
    number = numbers.pop()
    if numbers or not _LENGTH.fullmatch(number):
        raise RemoteProtocolError(f"Content-Length {quoted(b', '.join(values))} is not one number")
    return int(number)


def _unfold(block: bytes) -> bytes:
    """Replace folded lines by spaces (RFC 9112, section 5.2), but not in framing fields."""
    lines: list[bytes] = []
    for line in block.split(b"\r\n"):
        if line[:1] not in (b" ", b"\t"):
            lines.append(line)
        elif len(lines) < 2:  # section 2.2: white space before the first field
            raise RemoteProtocolError("white space between the status line and the first field")
        elif lines[-1].lower().startswith((b"content-length:", b"transfer-encoding:")):
            raise RemoteProtocolError(f"a folded framing field: {quoted(lines[-1])}")
        else:
            lines[-1] = lines[-1].rstrip(b" \t") + b" " + line.strip(b" \t")
    return b"\r\n".join(lines)


def _check_begun(data: bytearray, known: int) -> None:
    """Refuse at once what can no longer become a head; `known` bytes of it were checked before."""
    if not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data)):
        raise RemoteProtocolError(f"not an HTTP/1 response: {quoted(data)}")
    if _BROKEN_LINE.search(data, max(0, known - 1)):
        raise RemoteProtocolError(f"a line of the head does not end in CRLF: {quoted(data)}")


def _what_is_wrong(block: bytes) -> str:
    first, *lines = _unfold(block).split(b"\r\n")
    if not _HEAD.fullmatch(first + b"\r\n"):
        return f"not an HTTP/1 status line: {quoted(first)}"
    wrong = next((line for line in lines if line and not _FIELD.fullmatch(line)), b"")
    return f"not a header field: {quoted(wrong)}"
