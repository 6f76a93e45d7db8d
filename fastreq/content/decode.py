"""Takes a body out of its Content-Encoding (RFC 9110, section 8.4), one bounded step at a time.

    decoder = Decoder(codings_of(["gzip, br"]))
    for data in body:
        for piece in decoder.decode(data):
            ...
    decoder.finish()  # raises if the body was cut short

Pieces are pulled: nothing is decoded before the caller asks for the next one, and no layer holds
more than one step of input and one of output. That is how a bomb stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from fastreq.errors import DecodingError, quoted

STEP = 64 * 1024  # bytes that a layer takes or gives at once
# brotli fills blocks of 32 KiB, 64 KiB, ... until it is over the limit: below 32 KiB it fills one.
BROTLI_STEP = 32_000
MAX_CODINGS = 5  # as many as curl and urllib3 take
MAX_MEMBERS = 1024  # gzip members or zstd frames of one body
MAX_WINDOW_LOG = 23  # 8 MB of zstd window (RFC 9659, section 3)

# A chain can blow up in the middle and give nothing: 64 KiB of gzipped gzip of empty blocks keep
# a core busy for minutes. So each byte that the body grows pays for MAX_EFFORT bytes that its
# layers take in, and they go MAX_SILENT bytes (two of the longest zstd blocks) on credit.
MAX_EFFORT = 64
MAX_SILENT = 256 * 1024  # times the number of layers

Step: TypeAlias = tuple[bytes, bytes, bool]
"""A piece of the body, the input that is left, and whether more comes without any input."""


@cache
def accept_encoding() -> str:
    """The value of Accept-Encoding: what this Python can decode."""
    return ", ".join(coding for coding in _LAYERS if _module(coding))


def codings_of(values: Sequence[str]) -> tuple[str, ...]:
    """Give the codings of all Content-Encoding fields, in the order they were applied.

    Raises:
        DecodingError: there are more than 5, or one of them cannot be decoded here.
    """
    names = (name.strip(" \t").lower() for value in values for name in value.split(","))
    codings = tuple(
        "gzip" if name == "x-gzip" else name  # RFC 9110, section 8.4.1.3
        for name in names
        if name not in ("", "identity")
    )
    if len(codings) > MAX_CODINGS:
        raise DecodingError(f"the body has {len(codings)} content codings, over {MAX_CODINGS}")
    for coding in codings:
        _check(coding)
    return codings


def pieces(data: bytes | memoryview, codings: tuple[str, ...]) -> Iterator[bytes]:
    """Decode a body that is all there, as a `Decoder` does."""
    decoder = Decoder(codings)
    yield from decoder.decode(data)
    yield from decoder.finish()


class Decoder:
    """Decodes one body, which comes in parts.

    Every error is a `DecodingError`, and ends the decoder.
    """

    def __init__(self, codings: tuple[str, ...]) -> None:
        for coding in codings:
            _check(coding)
        # What was applied last comes off first.
        self._layers = [_LAYERS[coding]() for coding in reversed(codings)]
        self._debt = 0  # bytes taken in by all layers, and not paid for yet
        self._max_debt = MAX_SILENT * len(codings)
        self._begun = False  # whether the body has a byte

    def __repr__(self) -> str:
        codings = ", ".join(layer.coding for layer in reversed(self._layers))
        return f"<Decoder {codings or 'identity'} debt={self._debt}>"

    def decode(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Give what `data` adds to the body, in pieces of 1 to 65,536 bytes.

        Take all of them before the next part. A piece may cost much more than its length, so
        somebody else's turn is due after a number of pieces, not of bytes.
        """
        self._begun = self._begun or len(data) > 0
        steps = _slices(data)
        for layer in self._layers:
            steps = self._through(layer, steps)
        for piece in steps:
            self._debt = max(0, self._debt - MAX_EFFORT * len(piece))
            yield piece

    def finish(self) -> Iterator[bytes]:
        """The body has ended: give what is left, which is nothing, for no layer keeps any.

        Raises:
            DecodingError: a layer has not ended: the body is short. It is raised by the call, and
                not by the first step of what it gives.
        """
        if self._begun:  # otherwise there is no body at all, as with Content-Length: 0
            for layer in self._layers:
                if not layer.ended:
                    error = DecodingError(f"the {layer.coding} body was cut short before its end")
                    error.is_cut = True
                    raise error
        return iter(())

    def _through(self, layer: Layer, steps: Iterable[bytes]) -> Iterator[bytes]:
        for data in steps:
            self._debt += len(data)
            if self._debt > self._max_debt:
                raise DecodingError(f"the {layer.coding} body is all effort and no content")
            yield from layer.decode(data)


def _slices(data: bytes | memoryview) -> Iterator[bytes]:
    # zlib hands back what it did not use as a copy: of a step, not of all.
    for start in range(0, len(data), STEP):
        yield bytes(data[start : start + STEP])


class Layer:
    """One coding: members that follow each other, each decoded by a native decompressor."""

    coding: str
    modules: tuple[str, ...]  # that can decode it, best first
    extra = ""  # of fastreq-http, which installs one of them
    error = "error"  # what they call their exception
    max_members = 1

    def __init__(self) -> None:
        self.ended = False  # the last member was whole, and nothing has come after it
        self._module = _module(self.coding)
        self._error = getattr(self._module, self.error)
        self._members = 1
        self._native = self._open()

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether the module can bound its output; one that cannot is as good as missing."""
        return True

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes of this layer, a step whenever a piece is asked for."""
        more = False
        while data or more:
            if self.ended and data:
                self._next_member()
            try:
                piece, rest, more = self._step(data)
            except self._error as exc:
                raise DecodingError(f"{self._place()} is broken: {exc}") from exc
            if piece:
                yield piece
            elif len(rest) == len(data) and (rest or more):
                raise DecodingError(f"{self._place()} makes no progress")
            data = rest

    def _next_member(self) -> None:
        if self._members == self.max_members:
            after = f"{self._members} members" if self._members > 1 else "its end"
            raise DecodingError(f"the {self.coding} body goes on after {after}")
        self._members += 1
        self._native = self._open()
        self.ended = False

    def _place(self) -> str:
        member = f", member {self._members}," if self._members > 1 else ""
        return f"the {self.coding} body{member}"

    def _open(self) -> Any:
        """Make the native decompressor of a member."""
        raise NotImplementedError

    def _step(self, data: bytes) -> Step:
        """Decode at most STEP bytes, and note in `ended` whether they were the last."""
        raise NotImplementedError


class Gzip(Layer):
    """RFC 1952: any number of members, each with a checksum that zlib compares."""

    coding = "gzip"
    modules = ("zlib_ng.zlib_ng", "zlib")  # the same, but for its speed (benchmark: gzip)
    max_members = MAX_MEMBERS

    def _open(self) -> Any:
        return self._module.decompressobj(wbits=31)

    def _step(self, data: bytes, limit: int = STEP) -> Step:
        native = self._native
        piece = native.decompress(data, limit)
        if native.eof:
            self.ended = True
            return piece, native.unused_data, False
        # A full piece may have left some of the body in zlib's window.
        return piece, native.unconsumed_tail, len(piece) == limit


class Deflate(Gzip):
    """RFC 1950, or RFC 1951 without it: servers have always sent both."""

    coding = "deflate"
    max_members = 1

    def __init__(self) -> None:
        super().__init__()
        self._settled = False  # whether we know which of both
        self._head = bytearray()  # all that came until then, bounded as all silence is

    def _open(self) -> Any:
        return self._module.decompressobj(wbits=15)

    def _step(self, data: bytes, limit: int = STEP) -> Step:
        if self._settled:
            return super()._step(data, limit)
        self._head += data
        try:
            # zlib checks its header and gives one byte: by then, an error means that there was no
            # header. One that lies behind comes later, so no cut of the network changes the guess.
            step = super()._step(data, limit=1)
        except self._error:
            self._native = self._module.decompressobj(wbits=-15)
            return super()._step(self._settle())
        if step[0] or self.ended:
            self._settle()
        return step

    def _settle(self) -> bytes:
        head = bytes(self._head)
        self._head.clear()
        self._settled = True
        return head


class Brotli(Layer):
    """RFC 7932."""

    coding = "br"
    modules = ("brotli", "brotlicffi")
    extra = "brotli"

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether it is 1.2 or newer, the first with a bound."""
        return hasattr(getattr(module, "Decompressor", None), "can_accept_more_data")

    def _open(self) -> Any:
        return self._module.Decompressor()

    def _step(self, data: bytes) -> Step:
        native = self._native
        piece = native.process(data, output_buffer_limit=BROTLI_STEP)
        self.ended = native.is_finished()
        # It says that it can take more data while it still has some to give.
        return piece, b"", len(piece) >= BROTLI_STEP or not native.can_accept_more_data()


class Zstd(Layer):
    """RFC 8878: any number of frames, some of which say nothing."""

    coding = "zstd"
    modules = ("compression.zstd", "backports.zstd")
    extra = "zstd"
    error = "ZstdError"
    max_members = MAX_MEMBERS

    def _open(self) -> Any:
        window = self._module.DecompressionParameter.window_log_max
        return self._module.ZstdDecompressor(options={window: MAX_WINDOW_LOG})

    def _step(self, data: bytes) -> Step:
        native = self._native
        piece = native.decompress(data, STEP)
        self.ended = native.eof
        return piece, native.unused_data, not (native.eof or native.needs_input)


_LAYERS: dict[str, type[Layer]] = {layer.coding: layer for layer in (Gzip, Deflate, Brotli, Zstd)}


def _check(coding: str) -> None:
    if coding not in _LAYERS:
        raise DecodingError(
            f"no decoder for Content-Encoding {quoted(coding)}; iter_raw() gives the body as sent"
        )
    if _module(coding) is None:
        raise DecodingError(
            f"no decoder, or too old a one, for Content-Encoding {coding}: "
            f"pip install -U 'fastreq-http[{_LAYERS[coding].extra}]'"
        )


@cache
def _module(coding: str) -> Any:
    """Import what decodes this coding; None where nothing fit is installed."""
    layer = _LAYERS[coding]
    for name in layer.modules:
        try:
            module = import_module(name)
        except ImportError:
            continue
        if layer.fits(module):
            return module
    return None
