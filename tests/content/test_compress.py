"""compress.py: any body comes out of its coding as it went in, and a stream stays a stream."""

import gzip
import itertools
import os
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreq.content.compress import compressed
from fastreq.content.decode import pieces
from fastreq.content.sources import Encoded
from fastreq.errors import LocalProtocolError

UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}
each_coding = pytest.mark.parametrize("coding", UNPACK)


async def later(body: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in body:
        yield piece


async def gathered(body: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in body])


@each_coding
@given(body=st.binary(min_size=1))
def test_bytes_are_compressed_at_once(coding, body):
    encoded = compressed(Encoded(body, "text/plain", len(body)), coding)

    assert isinstance(encoded.body, bytes)
    assert body == UNPACK[coding](encoded.body)
    assert body == b"".join(pieces(encoded.body, (coding,)))
    assert ("text/plain", len(encoded.body)) == (encoded.content_type, encoded.length)


@each_coding
def test_a_list_of_bytes_is_compressed_at_once(coding):
    encoded = compressed(Encoded((b"ab", b"", b"c"), None, 3), coding)

    assert (b"abc", len(encoded.body)) == (UNPACK[coding](encoded.body), encoded.length)


@each_coding
@given(parts=st.lists(st.binary()))
def test_a_stream_is_compressed_as_it_goes(coding, parts):
    encoded = compressed(Encoded(iter(parts), "text/plain", None), coding)

    packed = list(encoded.body)
    assert b"" not in packed
    assert b"".join(parts) == UNPACK[coding](b"".join(packed))
    assert ("text/plain", None) == (encoded.content_type, encoded.length)


@each_coding
async def test_an_async_stream_is_compressed_as_it_goes(coding):
    parts = [b"a", b"", bytearray(b"bc"), memoryview(b"d"), os.urandom(200_000)]
    encoded = compressed(Encoded(later(parts), None, None), coding)

    assert b"".join(parts) == UNPACK[coding](await gathered(encoded.body))
    assert encoded.length is None


def test_a_stream_of_known_length_has_an_unknown_one_when_compressed():
    assert compressed(Encoded(iter([b"abc"]), None, 3), "gzip").length is None


@pytest.mark.parametrize("body", [b"", ()])
def test_nothing_stays_nothing(body):
    """A request without a body does not get one by being compressed."""
    encoded = Encoded(body, None, 0)

    assert encoded is compressed(encoded, "gzip")


def test_the_same_body_is_the_same_bytes_each_time():
    """The time in the head of gzip is 0, so that what is signed or cached is not always new."""
    encoded = compressed(Encoded(b"abc", None, 3), "gzip")

    assert bytes(4) == encoded.body[4:8]
    assert encoded == compressed(Encoded(b"abc", None, 3), "gzip")


@pytest.mark.parametrize("coding", ["br", "zstd", "GZIP", "", "gzip, gzip", True, None, ["gzip"]])
def test_another_coding_is_refused(coding):
    with pytest.raises(ValueError, match="expected 'gzip' or 'deflate'") as caught:
        compressed(Encoded(b"a", None, 1), coding)
    assert f"compress={coding!r}" in str(caught.value)


@pytest.mark.parametrize("body", [["text"], [5]])
def test_a_stream_of_anything_else_is_refused(body):
    encoded = compressed(Encoded(iter(body), None, None), "gzip")

    with pytest.raises(LocalProtocolError, match="expected pieces of bytes"):
        list(encoded.body)


def test_a_long_stream_is_compressed_in_little_memory():
    """However large its pieces are."""
    piece = os.urandom(2**20)
    encoded = compressed(Encoded(itertools.repeat(piece, 20), None, None), "gzip")
    tracemalloc.start()
    try:
        largest = max(map(len, encoded.body))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert largest < 512 * 1024
    assert peak < 2**20
