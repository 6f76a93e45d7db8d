"""Request compression: `compress="gzip"` (RFC 9110, section 8.4.1)."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from fastreq.content.sources import Encoded, read_later, read_now, slices

_WBITS = {"gzip": 31, "deflate": 15}  # which container zlib writes; gzip's has a time of 0


def compressed(encoded: Encoded, coding: str) -> Encoded:
    """The body in a Content-Encoding, which the caller has to name in the head.

    What is in memory is compressed at once; other bodies as they are sent, so that their length
    is not known. A body without a byte is given back as it is, and needs no Content-Encoding.

    Raises:
        ValueError: the coding is neither "gzip" nor "deflate".
    """
    wbits = _WBITS.get(coding) if isinstance(coding, str) else None
    if wbits is None:
        raise ValueError(f"compress={coding!r}: expected 'gzip' or 'deflate'")
    if encoded.length == 0:
        return encoded
    body = (encoded.body,) if isinstance(encoded.body, bytes) else encoded.body
    packer = zlib.compressobj(wbits=wbits)
    if isinstance(body, AsyncIterable):
        return Encoded(_async_pieces(packer, body), encoded.content_type)
    pieces = _pieces(packer, body)
    if not isinstance(body, tuple):
        return Encoded(pieces, encoded.content_type)
    whole = b"".join(pieces)
    return Encoded(whole, encoded.content_type, len(whole))


def _pieces(packer: Any, body: Iterable[bytes]) -> Iterator[bytes]:
    with read_now(body) as pieces:
        for given in pieces:
            yield from _packed(packer, given)
    yield packer.flush()


async def _async_pieces(packer: Any, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async with read_later(body) as pieces:
        async for given in pieces:
            for piece in _packed(packer, given):
                yield piece
    yield packer.flush()


def _packed(packer: Any, given: bytes) -> Iterator[bytes]:
    """What a piece adds: often nothing, and never much more than a slice of it."""
    return filter(None, map(packer.compress, slices(given)))
