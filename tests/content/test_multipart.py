"""multipart.py: what is uploaded comes out of other people's parsers as it went in, or raises."""

import io
import os
import re
import tempfile
import tracemalloc
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from email import policy
from email.parser import BytesParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreq.content.multipart import encode_multipart
from fastreq.content.sources import PIECE, Encoded, replayable
from fastreq.errors import LocalProtocolError
from fastreq.headers import Headers
from fastreq.http1.request import OutgoingBody, encode_head
from fastreq.messages import Request
from fastreq.url import parse_url

GIB = 2**30
BINARY = bytes(range(256)) * 3 + b"\r\n--\r\n\n--b--"

# What stands in a head as it is, in the eyes of all parsers: no "%", which some decode.
plain = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='%"\\'))


class Part(NamedTuple):
    """What a parser saw."""

    name: str | None
    filename: str | None
    type: str | None
    content: bytes


async def later(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def whole(encoded: Encoded) -> bytes:
    body = encoded.body if isinstance(encoded.body, bytes) else b"".join(encoded.body)
    assert encoded.length in (None, len(body))
    return body


async def gathered(encoded: Encoded) -> bytes:
    return b"".join([piece async for piece in encoded.body])


def boundary_of(content_type: str) -> str:
    match = re.fullmatch(r'multipart/form-data; boundary=(?:([\w.+-]+)|"([^"]+)")', content_type)
    return match[1] or match[2]


def strictly(body: bytes, content_type: str) -> list[tuple[list[tuple[str, str]], Part]]:
    """The parts, each with its headers, as the strict parser of PyPI's `multipart` sees them."""
    multipart = pytest.importorskip("multipart", reason="a strict parser, not ours")
    parts = []
    with multipart.PushMultipartParser(
        boundary_of(content_type), content_length=len(body), max_header_size=2**20, strict=True
    ) as parser:
        for event in parser.parse(body):
            if isinstance(event, multipart.MultipartSegment):
                content = bytearray()
            elif event:
                content += event
            else:
                segment = parts_segment(parser, parts)
    return parts


def by_stdlib(body: bytes, content_type: str) -> list[Any]:
    """The parts as the standard library sees them: a reader of mail, and no strict one."""
    head = f"MIME-Version: 1.0\r\nContent-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=policy.compat32).parsebytes(head + body)
    assert message.is_multipart()
    assert not message.defects
    return message.get_payload()
