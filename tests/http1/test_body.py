"""The places of a body: what they hold, what they count, and what they let go."""

import gc

import pytest
from tables import each_row

from fastreq.errors import BodyTooLarge
from fastreq.http1.body import DIRECT, GATHERED, SMALLEST, StreamedBody, WholeBody


def test_a_stream_counts_what_nobody_has_read():
    """Pieces come out as they went in, and `size` is the bytes of those that are left."""
    body = StreamedBody()
    assert 0 == body.size
    first, second = b"a" * 3000, b"b" * 2000
    for piece in (first, memoryview(second), b"f"):
        body.write(piece)
    assert 5001 == body.size

    assert first == body.take()
    assert 2001 == body.size
    assert second + b"f" == body.take(), "what is small is put together"
    assert 0 == body.size
    body.write(b"left")

    body.drop()
    assert (0, 0) == (body.size, len(body.pieces))


@each_row("size", [1, 2, 1000, GATHERED - 1])
def test_small_pieces_take_little_more_than_their_bytes(size):
    """A `bytes` for each of them would take 33 bytes more, and its place in a list."""
    whole, stream = WholeBody(None), StreamedBody()
    sent = bytes(range(256)) * 512
    for start in range(0, len(sent), size):
        whole.write(sent[start : start + size])
        stream.write(sent[start : start + size])

    assert len(whole._rest) <= len(sent) // SMALLEST + 1
    if size < GATHERED // 2:
        assert len(stream.pieces) <= len(sent) // (GATHERED - size) + 1
    assert sent == whole.value()
    assert sent == b"".join(stream.pieces)


def test_a_body_is_handed_out_once():
    """Nothing of it is kept."""
    body = WholeBody(None)
    body.write(b"a")
    body.write(b"b")

    assert b"ab" == body.value()
    assert b"" == body.value()


def test_the_error_names_the_limit():
    """By what is announced, and by what comes."""
    body = WholeBody(4)
    with pytest.raises(BodyTooLarge, match="max_body=4 "):
        body.expect(5)
    with pytest.raises(BodyTooLarge, match="max_body=4 "):
        body.write(b"hello")


def test_a_window_is_worth_a_read():
    """It ends where bytes that follow the body could come with it, and is not tiny."""
    body = WholeBody(None)
    assert body.window() is None
    body.expect(DIRECT + SMALLEST)
    assert SMALLEST == len(body.window())

    body.filled(1)
    assert body.window() is None


def test_a_body_that_is_given_up():
    """Its place is free at once, and nothing complains when it goes."""
    body = WholeBody(None)
    body.expect(2 * DIRECT)
    body.write(b"x")
    place = body.window()
    place.release()
    view = body._segment.view
    body.give_up()

    with pytest.raises(ValueError, match="released"):
        len(view)
    assert body.window() is None
    assert b"" == body.value()

    small = WholeBody(None)
    small.write(b"a")
    small.write(b"b")
    small.give_up()
    assert b"" == small.value()


def test_a_place_that_is_still_looked_at():
    """The garbage collector takes a view and its place in any order, without a complaint."""
    body = WholeBody(None)
    body.expect(2 * DIRECT)
    view = body._segment.view
    body._segment._place.close()
    assert 2 * DIRECT == len(view)

    del body, view
    gc.collect()
