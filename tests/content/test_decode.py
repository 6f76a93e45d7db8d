"""decode.py: any body, whole or cut anywhere, comes out as it went in, or raises."""

import gzip
import random
import struct
import subprocess
import sys
import tracemalloc
import types
import zlib
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import reduce
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.content import decode
from fastreq.content.decode import Decoder, accept_encoding, codings_of, pieces
from fastreq.errors import DecodingError

TEXT = b"The body is the same however the network cuts it. " * 3 + bytes(range(256))
EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"  # of deflate: five bytes that say nothing
SKIPPED_FRAME = struct.pack("<II", 0x184D2A50, 5) + b"extra"  # of zstd


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def brotli(data: bytes) -> bytes:
    module = pytest.importorskip("brotli", reason="the encoder of the br tests")
    return module.compress(data, quality=5)


def zstd_module():
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return pytest.importorskip(name, reason="the encoder of the zstd tests")


def zstd(data: bytes) -> bytes:
    return zstd_module().compress(data)


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw deflate": raw_deflate,
    "br": brotli,
    "zstd": zstd,
}
INSTALLED = [name for name in ENCODERS if name.removeprefix("raw ") in accept_encoding()]
each_coding = pytest.mark.parametrize("encoding", ENCODERS)
many_members = pytest.mark.parametrize("encoding", ["gzip", "zstd"])


def encode(data: bytes, *encodings: str) -> bytes:
    return reduce(lambda body, encoding: ENCODERS[encoding](body), encodings, data)


def coding(encoding: str) -> str:
    return encoding.removeprefix("raw ")


def decode_parts(parts: Iterable[bytes], *encodings: str) -> bytes:
    decoder = Decoder(tuple(coding(encoding) for encoding in encodings))
    decoded = [piece for part in parts for piece in decoder.decode(part)]
    assert b"" not in decoded
    return b"".join([*decoded, *decoder.finish()])


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def every_cut(body: bytes) -> Iterable[list[bytes]]:
    return ([body[:at], body[at:]] for at in range(len(body) + 1))


# --- codings_of and accept_encoding ---


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ((), []),
        ((), ["", " , ,\t"]),
        ((), ["identity", "Identity"]),
        (("gzip",), ["GZip"]),
        (("gzip",), ["X-GZIP"]),
        (("gzip",), [", \tgzip ,"]),
        (("deflate", "gzip"), ["deflate, gzip"]),
        (("deflate", "gzip"), ["deflate", "identity", "x-gzip"]),
        (("gzip",) * 5, ["gzip,gzip", "gzip, identity", "x-gzip,gzip"]),
    ],
)
def test_codings_are_named_in_the_order_applied(expected, values):
    assert expected == codings_of(values)


@pytest.mark.parametrize("values", [["gzip"] * 6, ["gzip, " * 6], ["deflate,gzip"] * 3000])
def test_more_than_five_codings_are_refused(values):
    with pytest.raises(DecodingError, match=r"codings, over 5"):
        codings_of(values)


@pytest.mark.parametrize(
    "name", ["compress", "x-deflate", "gzip;q=1", "g zip", "gzip\xa0", "*", "none", "raw deflate"]
)
def test_an_unknown_coding_is_refused_by_name(name):
    """Nobody is ever given bytes that are still encoded."""
    with pytest.raises(DecodingError) as caught:
        codings_of(["gzip", name])
    assert repr(name) in str(caught.value)
    with pytest.raises(DecodingError):
        Decoder((name,))


def test_the_text_for_an_unknown_coding_is_short():
    with pytest.raises(DecodingError) as caught:
        codings_of(["a" * 60_000])
    assert len(str(caught.value)) < 300


@contextmanager
def only(found: dict[str, Any]):
    """As if nothing but this could be imported."""

    def fake_import(name: str) -> Any:
        try:
            return found[name]
        except KeyError:
            raise ImportError(name) from None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "import_module", fake_import)
        forget()
        yield
    forget()


def forget() -> None:
    decode._module.cache_clear()
    decode.accept_encoding.cache_clear()


@pytest.fixture
def modules():
    """Stands in for the optional modules: a dict of what can be imported."""
    found: dict[str, Any] = {"zlib": zlib}
    with only(found):
        yield found


@pytest.mark.parametrize(("name", "extra"), [("br", "brotli"), ("zstd", "zstd")])
def test_a_missing_module_is_named_with_its_extra(modules, name, extra):
    with pytest.raises(DecodingError, match=rf"{name}: pip install .*fastreq-http\[{extra}\]"):
        codings_of([name])
    with pytest.raises(DecodingError):
        Decoder((name,))


BOUND = types.SimpleNamespace(Decompressor=types.SimpleNamespace(can_accept_more_data=None))
UNBOUND = types.SimpleNamespace(Decompressor=types.SimpleNamespace())


@pytest.mark.parametrize(
    ("expected", "installed"),
    [
        ("gzip, deflate", {}),
        ("gzip, deflate, br", {"brotli": BOUND}),
        ("gzip, deflate, br", {"brotlicffi": BOUND}),
        ("gzip, deflate, br", {"brotli": UNBOUND, "brotlicffi": BOUND}),
        ("gzip, deflate", {"brotli": UNBOUND}),
        ("gzip, deflate", {"brotli": types.SimpleNamespace()}),
        ("gzip, deflate, zstd", {"compression.zstd": BOUND}),
        ("gzip, deflate, br, zstd", {"brotli": BOUND, "backports.zstd": BOUND}),
    ],
)
def test_only_what_can_be_decoded_is_accepted(modules, expected, installed):
    """A brotli without a bound for its output counts as none."""
    modules.update(installed)
    assert expected == accept_encoding()
    assert expected.split(", ") == list(codings_of([accept_encoding()]))


def test_nothing_optional_is_imported_before_it_is_needed():
    script = (
        "import sys, fastreq.content.decode;"
        "assert not {'brotli', 'brotlicffi', 'backports.zstd', 'compression.zstd', 'zlib_ng'}"
        " & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# --- bodies that are well ---


@each_coding
@each_row("size", [1, 2, 3, 7, 64, 10_000])
def test_a_body_in_parts(encoding, size):
    assert TEXT == decode_parts(cut(encode(TEXT, encoding), size), encoding)


@each_coding
def test_a_body_cut_at_every_byte(encoding):
    for parts in every_cut(encode(TEXT, encoding)):
        assert TEXT == decode_parts(parts, encoding)


@each_coding
def test_an_encoded_body_of_nothing(encoding):
    body = encode(b"", encoding)
    assert b"" == decode_parts([body], encoding)
    assert b"" == decode_parts(cut(body, 1), encoding)


@each_coding
@pytest.mark.parametrize("parts", [[], [b""], [b"", b""]])
def test_no_body_at_all_is_empty(encoding, parts):
    encode(b"", encoding)  # skips where the codec is not installed
    assert b"" == decode_parts(parts, encoding)
    assert b"" == decode_parts(parts, encoding, "gzip")


@each_coding
def test_empty_parts_change_nothing(encoding):
    parts = [part for byte in cut(encode(TEXT, encoding), 1) for part in (b"", byte, b"")]
    assert TEXT == decode_parts(parts, encoding)


@each_coding
def test_a_memoryview_may_be_used_again_once_its_pieces_were_taken(encoding):
    body, decoded = encode(TEXT, encoding), []
    decoder = Decoder((coding(encoding),))
    buffer = bytearray(10)
    for part in cut(body, len(buffer)):
        buffer[: len(part)] = part
        decoded += decoder.decode(memoryview(buffer)[: len(part)])
    decoder.finish()
    assert TEXT == b"".join(decoded)
    assert {bytes} == {type(piece) for piece in decoded}


@each_coding
@each_row("size", [1, 32_000, 32_752, 65_535, 65_536, 65_537, 131_072, 1_000_000])
@each_row("fill", [bytes, random.Random(7).randbytes])
def test_pieces_have_at_most_64_kib(encoding, size, fill):
    body = fill(size)
    decoded = list(pieces(encode(body, encoding), (coding(encoding),)))
    assert body == b"".join(decoded)
    assert max(map(len, decoded)) <= 65_536


def test_a_decoder_without_codings_only_slices():
    body = bytes(100_000)
    for data in (body, memoryview(body)):
        assert [body[:65_536], body[65_536:]] == list(pieces(data, ()))
        assert {bytes} == {type(piece) for piece in pieces(data, ())}


def test_pieces_are_pulled():
    """Nothing is decoded, and no error is found, before it is asked for."""
    decoded = pieces(encode(bytes(200_000), "gzip")[:-1], ("gzip",))
    assert 65_536 == len(next(decoded))
    with pytest.raises(DecodingError):
        list(decoded)


def test_finish_raises_even_if_nobody_takes_its_pieces():
    decoder = Decoder(("gzip",))
    list(decoder.decode(encode(TEXT, "gzip")[:-1]))
    with pytest.raises(DecodingError):
        decoder.finish()


def test_repr_shows_the_state():
    assert "<Decoder gzip, deflate debt=0>" == repr(Decoder(("gzip", "deflate")))
    assert "<Decoder identity debt=0>" == repr(Decoder(()))


# --- chains ---

CHAINS = [
    ("gzip", "gzip"),
    ("deflate", "gzip"),
    ("raw deflate", "raw deflate", "deflate"),
    ("gzip", "br", "zstd"),
    ("zstd", "br", "gzip", "deflate"),
    ("gzip",) * 5,
    ("br",) * 5,
    ("zstd",) * 5,
    ("gzip", "deflate", "br", "zstd", "raw deflate"),
]


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_a_chain_is_undone_from_its_end(chain):
    body = encode(TEXT, *chain)
    assert TEXT == decode_parts([body], *chain)
    assert TEXT == decode_parts(cut(body, 1), *chain)
    for parts in every_cut(body):
        assert TEXT == decode_parts(parts, *chain)


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_a_chain_of_incompressible_data(chain):
    """Five zstd layers each wait for a block of 128 KiB; that is no lack of progress."""
    body = random.Random(7).randbytes(1_000_000)
    encoded = encode(body, *chain)
    assert body == decode_parts([encoded], *chain)
    assert body == decode_parts(cut(encoded, 4_001), *chain)


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_a_chain_cut_short_raises(chain):
    body = encode(TEXT, *chain)
    for end in range(1, len(body)):
        with pytest.raises(DecodingError):
            decode_parts([body[:end]], *chain)


@pytest.mark.parametrize("inner", ENCODERS)
def test_a_layer_that_is_cut_inside_a_whole_one_raises(inner):
    body = encode(TEXT, inner)
    for end in range(len(body)):
        with pytest.raises(DecodingError, match=f"the {coding(inner)} body was cut"):
            decode_parts([encode(body[:end], "gzip")], inner, "gzip")


# --- bodies that are not ---


@each_coding
def test_a_body_cut_short_raises(encoding):
    """A short body must not look whole, wherever it ends."""
    body = encode(TEXT, encoding)
    for end in range(1, len(body)):
        for parts in ([body[:end]], cut(body[:end], 1)):
            with pytest.raises(DecodingError, match=f"the {coding(encoding)} body was cut short"):
                decode_parts(parts, encoding)


GARBAGE = [b"\0", b"\0" * 512, b"g", b"garbage after the end", b"\r\n", b"\x1f", b"\x1f\x8b"]


@each_coding
@each_row("garbage", GARBAGE)
@each_row("size", [0, 300, 31_999, 32_000, 32_752, 64_000, 65_536, 131_072])
def test_bytes_after_the_end_raise(encoding, garbage, size):
    body = encode(bytes(size), encoding)
    for parts in ([body + garbage], [body, garbage], [body, b"", *cut(garbage, 1)]):
        with pytest.raises(DecodingError, match=coding(encoding)):
            decode_parts(parts, encoding)


@pytest.mark.parametrize("encoding", ["deflate", "raw deflate", "br"])
def test_a_body_that_has_no_members_comes_once(encoding):
    with pytest.raises(DecodingError):
        decode_parts([encode(TEXT, encoding) * 2], encoding)


@each_coding
@each_row("garbage", [b"<html>", b"{}", b"\0" * 100, b"\xff" * 100, TEXT])
def test_what_was_never_encoded_raises(encoding, garbage):
    for parts in ([garbage], cut(garbage, 1)):
        with pytest.raises(DecodingError, match=coding(encoding)):
            decode_parts(parts, encoding)


@each_coding
@pytest.mark.parametrize("said", ["gzip", "deflate", "br", "zstd"])
def test_a_body_in_another_coding_raises(encoding, said):
    if said not in INSTALLED:
        pytest.skip("its module is not installed")
    if said != coding(encoding):
        with pytest.raises(DecodingError, match=said):
            decode_parts([encode(TEXT, encoding)], said)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("at", range(-8, 0))
def test_a_wrong_checksum_raises(encoding, at):
    """For gzip, the last 8 bytes are the CRC and the length; for zlib, the last 4 are Adler-32."""
    body = bytearray(encode(TEXT, encoding))
    if encoding == "deflate" and at < -4:
        return
    body[at] ^= 1
    for parts in ([bytes(body)], cut(bytes(body), 1)):
        with pytest.raises(DecodingError, match="is broken: Error -3") as caught:
            decode_parts(parts, encoding)
        assert isinstance(caught.value.__cause__, decode._module(encoding).error)


def test_a_wrong_checksum_of_zstd_raises():
    module = zstd_module()
    with_checksum = {module.CompressionParameter.checksum_flag: 1}
    body = bytearray(module.compress(TEXT, options=with_checksum))
    assert TEXT == decode_parts([bytes(body)], "zstd")
    body[-1] ^= 1
    with pytest.raises(DecodingError, match="zstd") as caught:
        decode_parts([bytes(body)], "zstd")
    assert isinstance(caught.value.__cause__, module.ZstdError)


@each_coding
def test_a_flipped_bit_never_escapes_as_another_error(encoding):
    text = TEXT[100:200]
    body = encode(text, encoding)
    for at in range(len(body)):
        for bit in range(8):
            flipped = bytes([*body[:at], body[at] ^ 1 << bit, *body[at + 1 :]])
            results = [outcome([flipped], encoding), outcome(cut(flipped, 1), encoding)]
            assert results[0] == results[1]
            if encoding == "gzip":
                assert results[0] in (text, DecodingError)  # some bits of the header say nothing


def outcome(parts: list[bytes], *encodings: str) -> bytes | type[DecodingError]:
    try:
        return decode_parts(parts, *encodings)
    except DecodingError:
        return DecodingError


# --- deflate, with zlib's header and without ---


def stored(data: bytes, first: int = 0) -> bytes:
    """A raw deflate body in stored blocks; `first` gives the bits that nobody reads."""
    block = struct.pack("<BHH", first, len(data), len(data) ^ 0xFFFF) + data
    return block + b"\x03\x00"


def zlib_lookalikes() -> list[bytes]:
    """Raw deflate whose first two bytes could be zlib's: method 8, a window, the right check."""
    return [
        stored(bytes([97 + length % 26]) * length, first)
        for first in range(0x08, 0x80, 0x10)
        for length in range(200)
        if (first << 8 | length) % 31 == 0 and not length & 0x20
    ]


def test_raw_deflate_that_looks_like_zlib():
    assert len(zlib_lookalikes()) > 20
    for body in zlib_lookalikes():
        expected = body[5:-2]
        assert expected == decode_parts([body], "deflate")
        assert expected == decode_parts(cut(body, 1), "deflate")
        for parts in every_cut(body):
            assert expected == decode_parts(parts, "deflate")


def test_raw_deflate_that_looks_like_zlib_raises_when_cut():
    for body in zlib_lookalikes():
        for end in range(1, len(body)):
            assert DecodingError is outcome([body[:end]], "deflate")


def test_no_second_guess_once_something_was_given():
    """The outcome is the same whether the network cut the body or not."""
    body = bytearray(zlib.compress(TEXT))
    body[-1] ^= 1
    for parts in every_cut(bytes(body)):
        with pytest.raises(DecodingError, match="incorrect data check"):
            decode_parts(parts, "deflate")


@each_row("level", range(10))
@each_row("wbits", [*range(9, 16), *range(-15, -8)])
def test_every_kind_of_deflate(level, wbits):
    packer = zlib.compressobj(level, wbits=wbits)
    body = packer.compress(TEXT) + packer.flush()
    assert TEXT == decode_parts([body], "deflate")
    assert TEXT == decode_parts(cut(body, 1), "deflate")


def test_a_flush_is_given_at_once():
    """Server-sent events must not wait for the next ones."""
    for wbits in (31, 15, -15):
        packer = zlib.compressobj(wbits=wbits)
        decoder = Decoder(("gzip" if wbits == 31 else "deflate",))
        for event in (b"data: 1\n\n", b"data: 2\n\n", b"data: 3\n\n"):
            body = packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)
            assert event == b"".join(decoder.decode(body))
        assert b"" == b"".join(decoder.decode(packer.flush()))
        decoder.finish()


# --- members ---


@many_members
def test_members_follow_each_other(encoding):
    body = encode(b"one ", encoding) + encode(b"", encoding) + encode(b"two", encoding)
    assert b"one two" == decode_parts(cut(body, 1), encoding)
    for parts in every_cut(body):
        assert b"one two" == decode_parts(parts, encoding)


@many_members
def test_members_that_are_cut_raise(encoding):
    """At the end of a member the body could be whole; anywhere else it cannot."""
    member = encode(b"member", encoding)
    for end in range(1, 3 * len(member)):
        result = outcome([(3 * member)[:end]], encoding)
        whole, part = divmod(end, len(member))
        assert result == (DecodingError if part else b"member" * whole)


@many_members
def test_1024_members_are_enough(encoding):
    for text in (b"", b"m"):
        body = encode(text, encoding) * 1024
        assert text * 1024 == decode_parts([body], encoding)
        assert text * 1024 == decode_parts(cut(body, 1), encoding)
        for part in (body + encode(text, encoding), body + b"?"):
            with pytest.raises(DecodingError, match="goes on after 1024 members"):
                decode_parts([part], encoding)


def test_an_error_names_its_member():
    with pytest.raises(DecodingError, match="the gzip body, member 3, is broken"):
        decode_parts([encode(TEXT, "gzip") * 2 + b"garbage"], "gzip")


def test_skippable_frames_say_nothing():
    body = SKIPPED_FRAME + encode(TEXT, "zstd") + SKIPPED_FRAME * 2
    assert TEXT == decode_parts([body], "zstd")
    assert TEXT == decode_parts(cut(body, 1), "zstd")
    assert b"" == decode_parts([SKIPPED_FRAME], "zstd")
    for end in range(1, len(SKIPPED_FRAME)):
        assert DecodingError is outcome([SKIPPED_FRAME[:end]], "zstd")
    with pytest.raises(DecodingError, match="1024 members"):
        decode_parts([SKIPPED_FRAME * 1025], "zstd")


@pytest.mark.parametrize("log", [10, 20, 23, 24, 27])
def test_a_zstd_window_has_at_most_8_mb(log):
    module = zstd_module()
    packer = module.ZstdCompressor(options={module.CompressionParameter.window_log: log})
    body = packer.compress(TEXT) + packer.flush()
    expected = TEXT if log <= 23 else DecodingError
    assert expected == outcome([body], "zstd")


# --- bombs ---

MIB = 1024 * 1024


def zeros(encoding: str, size: int) -> bytes:
    """`size` zero bytes, encoded without ever holding them."""
    if encoding == "br":
        module = pytest.importorskip("brotli", reason="the encoder of the br tests")
        packer = module.Compressor(quality=5)
        update, finish = packer.process, packer.finish
    else:
        wbits = {"gzip": 31, "deflate": 15, "raw deflate": -15}.get(encoding)
        packer = zlib.compressobj(9, wbits=wbits) if wbits else zstd_module().ZstdCompressor()
        update, finish = packer.compress, packer.flush
    return b"".join([*(update(bytes(MIB)) for _ in range(size // MIB)), finish()])


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


BOMBS = [(encoding,) for encoding in ENCODERS] + [
    ("gzip",) * 5,
    ("gzip", "deflate", "raw deflate", "br", "zstd"),
    ("zstd", "br", "deflate", "gzip", "raw deflate"),
]


@pytest.mark.parametrize("chain", BOMBS, ids=" ".join)
def test_a_bomb_stays_small(chain, traced):
    """A step of each layer is all that is ever held."""
    bomb = encode(zeros(chain[0], 64 * MIB), *chain[1:])
    assert len(bomb) < 100_000
    decoder = Decoder(tuple(map(coding, chain)))
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    size, largest = 0, 0
    for piece in decoder.decode(bomb):
        assert not piece.strip(b"\0")
        size, largest = size + len(piece), max(largest, len(piece))
    decoder.finish()
    _, peak = tracemalloc.get_traced_memory()
    assert 64 * MIB == size
    assert largest <= 65_536
    assert peak - before < MIB


@each_coding
def test_a_bomb_costs_nothing_until_it_is_read(encoding, traced):
    bomb = zeros(encoding, 64 * MIB)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    decoded = Decoder((coding(encoding),)).decode(bomb)
    assert not next(decoded).strip(b"\0")
    decoded.close()
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < MIB


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_chain_that_is_all_effort_raises(layers):
    """Gzipped gzip of blocks that say nothing would otherwise run for minutes in one step."""
    inner = EMPTY_BLOCK * (64 * MIB // 5)
    body = encode(inner, *["gzip"] * layers)
    with pytest.raises(DecodingError, match="the deflate body is all effort and no content"):
        decode_parts([body], "deflate", *["gzip"] * layers)


@pytest.mark.parametrize("size", [1, 100, MIB])
def test_a_body_that_says_nothing_raises_however_it_comes(size):
    body = cut(EMPTY_BLOCK * 200_000, size)
    with pytest.raises(DecodingError, match="all effort"):
        decode_parts(body, "deflate")


def test_bytes_that_are_given_pay_for_those_that_say_nothing():
    """An event per flush, and a few heartbeats between them, go on for ever."""
    packer = zlib.compressobj(wbits=-15)
    decoder = Decoder(("deflate",))
    event = packer.compress(b"e") + packer.flush(zlib.Z_SYNC_FLUSH)
    for _ in range(50_000):
        assert b"e" == b"".join(decoder.decode(event + EMPTY_BLOCK * 10))
    assert "debt=0" in repr(decoder)


def test_a_drip_does_not_pay():
    """A byte after thousands that say nothing is as good as none."""
    drip = stored(b"x")[:-2] + EMPTY_BLOCK * 1000
    for parts in ([drip * 100], [drip] * 100, cut(drip * 100, 7)):
        with pytest.raises(DecodingError, match="all effort"):
            decode_parts(parts, "deflate")


class Stuck:
    """A native decompressor that wants nothing and gives nothing."""

    eof = False
    needs_input = False
    unused_data = unconsumed_tail = b""

    def decompress(self, data: bytes, limit: int) -> bytes:
        self.unconsumed_tail = data
        return b""

    def process(self, data: bytes, output_buffer_limit: int) -> bytes:
        return b""

    def is_finished(self) -> bool:
        return False

    def can_accept_more_data(self) -> bool:
        return False


@pytest.mark.parametrize("name", ["gzip", "br", "zstd"])
def test_no_progress_is_an_error(name):
    if name not in INSTALLED:
        pytest.skip("its module is not installed")
    decoder = Decoder((name,))
    decoder._layers[0]._native = Stuck()
    with pytest.raises(DecodingError, match=f"the {name} body makes no progress"):
        list(decoder.decode(b"data"))


# --- others that do the same ---


@pytest.mark.parametrize("size", [1, 300, 31_999, 32_000, 32_752, 65_536, 1_000_000])
def test_brotlicffi_does_as_brotli_does(size):
    module = pytest.importorskip("brotlicffi", reason="brotlicffi is not installed")
    body = encode(bytes(size), "br")
    with only({"brotli": UNBOUND, "brotlicffi": module}):
        assert bytes(size) == decode_parts([body], "br")
        assert bytes(size) == decode_parts(cut(body, 1), "br")
        for parts in ([body[:-1]], [body + b"\0"], [body, b"\0"], [b"<html>"]):
            assert DecodingError is outcome(parts, "br")


def test_zlib_ng_is_used_where_it_is_installed():
    module = pytest.importorskip("zlib_ng.zlib_ng", reason="the speed extra is not installed")
    assert module is decode._module("gzip") is decode._module("deflate")


@given(
    st.builds(lambda part, times: part * times, st.binary(max_size=50), st.integers(0, 3000)),
    st.sampled_from([31, 15, -15]),
    st.integers(0, 9),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
    st.integers(1, 50),
)
def test_zlib_ng_does_as_zlib_does(body, wbits, level, changes, size):
    """What is broken is broken for both, and what is read is the same."""
    module = pytest.importorskip("zlib_ng.zlib_ng", reason="the speed extra is not installed")
    packer = zlib.compressobj(level, wbits=wbits)
    packed = bytearray(packer.compress(body) + packer.flush())
    for place, byte in changes:
        packed[place % len(packed)] = byte
    encoding = "gzip" if wbits == 31 else "deflate"
    parts = cut(bytes(packed), size)
    with only({"zlib": zlib}):
        expected = outcome(parts, encoding)
    with only({"zlib_ng.zlib_ng": module}):
        assert expected == outcome(parts, encoding)


# --- anything ---

BODIES = st.one_of(
    st.binary(max_size=2000),
    st.builds(lambda part, times: part * times, st.binary(max_size=50), st.integers(0, 5000)),
)


@given(BODIES, st.lists(st.sampled_from(INSTALLED), max_size=5), st.data())
def test_any_body_through_any_chain_in_any_parts(body, chain, data):
    encoded = encode(body, *chain)
    marks = data.draw(st.lists(st.integers(0, len(encoded)), max_size=10).map(sorted))
    edges = [0, *marks, len(encoded)]
    parts = [encoded[start:end] for start, end in pairwise(edges)]
    assert body == decode_parts(parts, *chain)


@given(st.binary(max_size=300), st.sampled_from(INSTALLED), st.integers(1, 50))
def test_any_bytes_are_decoded_or_refused_wherever_they_are_cut(garbage, encoding, size):
    assert outcome([garbage], encoding) == outcome(cut(garbage, size), encoding)
