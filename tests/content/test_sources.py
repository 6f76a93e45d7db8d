"""sources.py: a file is sent from where it stands, once, with its length, and never short."""

import array
import bz2
import gzip
import io
import mmap
import os
import tempfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastreq.content.sources import PIECE, FileBody, body_of, check_unspent, sent_once, slices
from fastreq.errors import LocalProtocolError, StreamConsumed
from fastreq.headers import Headers
from fastreq.http1.request import OutgoingBody, encode_head
from fastreq.messages import Request
from fastreq.url import parse_url

LARGE = 2**28
TEXT = b"0123456789" * 20_000  # more than three pieces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    return path


def test_a_view_with_gaps_is_sent_like_any_other() -> None:
    gaps = memoryview(b"abcdef")[::2]

    assert (b"ace",) == body_of([gaps], "content=").body
    assert 3 == body_of([gaps], "content=").length
    assert b"ace" == b"".join(slices(gaps))


def file_body(file: object) -> FileBody:
    return FileBody(file, "content=")


def request(file: object) -> Request:
    body = file_body(file)
    return Request("POST", parse_url("http://host/"), Headers(), body, body.length)


async def sent(request: Request) -> tuple[bytes, int]:
    """The head, and how many bytes follow it."""
    head = encode_head(request)
    return head, sum([len(piece) async for piece in OutgoingBody(request, head).pieces()])


# --- length and position ---


@pytest.mark.parametrize("buffering", [-1, 0])
@pytest.mark.parametrize("start", [0, 1, PIECE, len(TEXT) - 1, len(TEXT)])
def test_a_file_is_sent_from_where_it_stands(path, start, buffering):
    with path.open("rb", buffering) as file:
        file.seek(start)
        body = file_body(file)

        assert start == file.tell(), "the position is as it was"
        assert len(TEXT) - start == body.length
        assert TEXT[start:] == b"".join(body)


def test_a_file_that_was_read_in_part_goes_on(path):
    """What the buffer has read ahead is not lost."""
    with path.open("rb") as file:
        assert TEXT[:10] == file.read(10)
        body = file_body(file)

        assert (len(TEXT) - 10, TEXT[10:]) == (body.length, b"".join(body))


def test_a_file_is_read_64_kib_at_a_time(path):
    with path.open("rb") as file:
        assert [PIECE, PIECE, PIECE, len(TEXT) - 3 * PIECE] == [len(p) for p in file_body(file)]


def test_a_position_behind_the_end_is_no_negative_length(path):
    with path.open("rb") as file:
        file.seek(len(TEXT) + 5)

        assert (0, []) == (file_body(file).length, list(file_body(file)))


def test_what_was_written_and_not_flushed_counts(path):
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b"more")
        file.seek(len(TEXT))
        file.write(b"MORE")
        file.seek(0)
        body = file_body(file)

        assert (len(TEXT) + 4, TEXT + b"MORE") == (body.length, b"".join(body))


def opened(path: Path) -> Iterator[object]:
    yield io.BytesIO(TEXT)
    yield path.open("rb")
    yield path.open("r+b")
    with path.open("rb") as file:
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for spooled in (tempfile.SpooledTemporaryFile(), tempfile.NamedTemporaryFile()):  # noqa: SIM115
        spooled.write(TEXT)
        spooled.seek(0)
        yield spooled


def test_every_kind_of_file_tells_its_length(path):
    for file in opened(path):
        body = file_body(file)

        assert (len(TEXT), TEXT) == (body.length, b"".join(body)), file
        file.close()


def packed(path: Path) -> Iterator[object]:
    gzip_path, bz2_path, zip_path = (path.with_suffix(s) for s in (".gz", ".bz2", ".zip"))
    gzip_path.write_bytes(gzip.compress(TEXT))
    bz2_path.write_bytes(bz2.compress(TEXT))
    with zipfile.ZipFile(zip_path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("file", TEXT)
    yield gzip.open(gzip_path)  # noqa: SIM115
    yield bz2.open(bz2_path)  # noqa: SIM115
    with zipfile.ZipFile(zip_path) as archive:
        yield archive.open("file")


def test_a_file_that_is_unpacked_as_it_is_read_has_no_length(path):
    """To know it would be to unpack all of it; the length of what is on disk would be a lie."""
    for file in packed(path):
        body = file_body(file)

        assert (None, TEXT) == (body.length, b"".join(body)), file
        file.close()


def test_a_pipe_has_no_length():
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as reader, open(write_end, "wb") as writer:
        body = file_body(reader)
        writer.write(b"through the pipe")
        writer.close()

        assert (None, b"through the pipe") == (body.length, b"".join(body))


class JustRead:
    """The least that is a file."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._data.read(size)


def test_all_that_a_file_needs_is_read():
    body = file_body(JustRead(TEXT))

    assert (None, TEXT) == (body.length, b"".join(body))


# --- what is no file to send ---


def test_a_file_in_text_mode_is_refused(path):
    for file in (path.open(), io.StringIO("a"), tempfile.NamedTemporaryFile("w+")):  # noqa: SIM115
        with file, pytest.raises(TypeError, match=r"content= .*binary mode: open\(..., 'rb'\)"):
            body_of(file, "content=")


def test_a_file_that_is_closed_is_refused(path):
    with path.open("rb") as file:
        pass
    with pytest.raises(ValueError, match="content= is a file that is closed"):
        body_of(file, "content=")


def test_a_file_that_only_writes_is_refused(path):
    with path.open("ab") as file, pytest.raises(TypeError, match="not open for reading"):
        body_of(file, "content=")


def test_a_file_with_an_async_read_is_refused():
    """As Starlette's UploadFile has one. Nothing is left behind that was never awaited."""

    class Upload:
        async def read(self, size: int) -> bytes:
            return b""

    with pytest.raises(TypeError, match=r"async read\(\); give an async iterable of bytes"):
        body_of(Upload(), "content=")


def test_a_file_is_sent_once():
    """A second time it would be empty, which nobody would notice where its length is unknown."""
    body = file_body(JustRead(b"a"))

    assert [b"a"] == list(body)
    with pytest.raises(StreamConsumed, match="has been sent once"):
        iter(body)


def test_a_pipe_that_has_nothing_yet_is_not_at_its_end():
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    with open(read_end, "rb", buffering=0) as reader, open(write_end, "wb", buffering=0) as writer:
        pieces = iter(file_body(reader))
        writer.write(b"first")
        assert b"first" == next(pieces)
        with pytest.raises(BlockingIOError, match="non-blocking"):
            next(pieces)


def test_the_repr_shows_name_and_length(path):
    with path.open("rb") as file:
        assert f"<FileBody {str(path)!r} length={len(TEXT)}>" == repr(file_body(file))


# --- with the framing of http1 ---


@pytest.mark.parametrize(("given", "change"), [("short", -1), ("short", -PIECE), ("longer", 1)])
async def test_a_file_that_changes_size_is_an_error(path, given, change):
    """TRUST 1a, false length: never a body that the server takes for whole."""
    with path.open("rb") as file:
        asked = request(file)
        os.truncate(path, len(TEXT) + change)

        with pytest.raises(LocalProtocolError, match=f"{abs(change)} bytes {given}"):
            await sent(asked)


async def test_a_file_that_was_read_by_somebody_else_is_an_error(path):
    with path.open("rb") as file:
        asked = request(file)
        file.read(7)

        with pytest.raises(LocalProtocolError, match="7 bytes short"):
            await sent(asked)


async def test_an_empty_file_has_a_length_of_0():
    head, size = await sent(request(io.BytesIO()))

    assert head.endswith(b"\r\nContent-Length: 0\r\n\r\n")
    assert 0 == size


async def test_a_large_file_is_streamed_in_little_memory(tmp_path):
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, LARGE)
    with path.open("rb") as file:
        asked = request(file)
        tracemalloc.start()
        try:
            head, size = await sent(asked)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert head.endswith(b"\r\nContent-Length: %d\r\n\r\n" % LARGE)
    assert LARGE == size
    assert peak < 2**20


# --- slices ---


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_piece_comes_in_slices(kind, size):
    piece = os.urandom(size)
    cut = list(slices(kind(piece)))

    assert piece == b"".join(cut)
    assert all(0 < len(view) <= PIECE for view in cut)


def test_slices_count_bytes_and_not_items():
    numbers = array.array("Q", range(PIECE))

    assert [PIECE] * 8 == [len(view) for view in slices(memoryview(numbers))]


@pytest.mark.parametrize("piece", ["text", 5, None, [1, 2]])
def test_a_piece_of_another_type_is_refused(piece):
    with pytest.raises(LocalProtocolError, match=f"the body gave {type(piece).__name__}"):
        slices(piece)


# --- once ---


async def later():
    yield b"x"


@pytest.mark.parametrize("body", [b"x", (b"a", b"b"), bytearray(b"x"), range(0)], ids=repr)
def test_what_can_be_read_again_stays_what_it_is(body):
    assert body is sent_once(body)
    check_unspent(body)


async def test_an_iterator_is_read_once_and_says_so():
    """Else its second reading would be an empty body that looks fine."""
    for body in (sent_once(iter([b"x"])), sent_once(piece for piece in [b"x"])):
        check_unspent(body)
        assert [b"x"] == list(body)
        with pytest.raises(StreamConsumed, match="sent once; make the request anew"):
            check_unspent(body)
        with pytest.raises(StreamConsumed):
            iter(body)

    body = sent_once(later())
    check_unspent(body)
    assert [b"x"] == [piece async for piece in body]
    with pytest.raises(StreamConsumed):
        check_unspent(body)
    with pytest.raises(StreamConsumed):
        aiter(body)


def test_a_file_that_was_read_is_spent(path):
    with path.open("rb") as file:
        body = file_body(file)
        check_unspent(body)
        assert b"".join(body)
        with pytest.raises(StreamConsumed):
            check_unspent(body)
