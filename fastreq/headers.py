"""Field lines of a message: case-insensitive, ordered, repeated ones kept (RFC 9110, section 5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from fastreq.errors import LocalProtocolError, quoted

TOKEN_CHARACTER: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""As a regular expression, what a token is made of (RFC 9110, section 5.6.2)."""

_NAME = re.compile(rf"{TOKEN_CHARACTER}+".encode())
_NOT_IN_NAME = re.compile(TOKEN_CHARACTER.replace("[", "[^", 1))
_NOT_IN_VALUE = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")  # CTL, but for HTAB; section 5.5
_PLAIN = frozenset(
    """
    accept accept-charset accept-encoding accept-language cache-control content-encoding
    content-language content-type date dnt if-match if-modified-since if-none-match if-range
    if-unmodified-since origin pragma priority range sec-fetch-dest sec-fetch-mode sec-fetch-site
    sec-fetch-user upgrade-insecure-requests user-agent x-requested-with
    """.split()
)
"""Fields that have nothing to do with how a message is sent, and in which nobody puts a secret."""


def field_name(name: str | bytes) -> bytes:
    """Check a field name that is to be sent.

    Raises:
        LocalProtocolError: it is not a token.
        TypeError: it is not text.
    """
    if not isinstance(name, (str, bytes)):
        raise TypeError(f"a header name is a {type(name).__name__}; expected str")
    try:
        raw = name.encode("ascii") if isinstance(name, str) else name
    except UnicodeEncodeError:
        raw = b""
    if not _NAME.fullmatch(raw):
        raise LocalProtocolError(
            f"header name {_up_to_fault(name)} is not a token: letters, digits and "
            "!#$%&'*+-.^_`|~ only"
        )
    return raw


def field_value(name: str | bytes, value: str | bytes) -> bytes:
    """Check a field value that is to be sent; white space around it is taken off.

    No error shows it, since it may be a secret.

    Raises:
        LocalProtocolError: it has a control character, or one beyond ISO-8859-1.
        TypeError: it is not text.
    """
    if not isinstance(value, (str, bytes)):
        raise _no_text(name, value)
    try:
        raw = value.encode("latin-1") if isinstance(value, str) else value
    except UnicodeEncodeError as exc:
        raise LocalProtocolError(
            f"header {quoted(name)}: {value[exc.start]!r} at position {exc.start} of its value "
            "cannot be sent; percent-encode it, or give bytes"
        ) from None
    if bad := _NOT_IN_VALUE.search(raw):
        hint = "; was it read from a file, with its newline?" if bad[0] in b"\r\n" else ""
        raise LocalProtocolError(
            f"header {quoted(name)}: a control character, {_text(bad[0])!r}, at position "
            f"{bad.start()} of its value{hint}"
        )
    return raw.strip(b" \t")


def _up_to_fault(name: str | bytes) -> str:
    """A name as errors show it: it may be a whole line, of which the value stays unseen."""
    text = _text(name) if isinstance(name, bytes) else name
    fault = _NOT_IN_NAME.search(text)
    if fault is None or fault.end() == len(text):
        return quoted(text)
    return f"{quoted(text[: fault.end()])}..."


def _no_text(name: str | bytes, value: object) -> TypeError:
    """The error for a value that is no text; what it is, is not shown."""
    if value is None:
        given = "None; to leave the field out, delete it from `client.headers`"
    elif isinstance(value, (list, tuple)):
        given = f"a {type(value).__name__}; for several fields, write [(name, one), (name, two)]"
    else:
        given = f"a {type(value).__name__}; convert it with str()"
    return TypeError(f"header {quoted(name)}: expected str, not {given}")


class Headers(MutableMapping[str, str]):
    """The fields of a request or a response.

    A look-up ignores case; fields of one name are joined with ", ", and `get_list()` gives them
    one by one. Iteration and `raw` keep the names as they were written. What is put in is checked
    at once, so that what a `Headers` holds can be sent.
    """

    __slots__ = ("_block", "_copy", "_fields", "_names", "is_plain")

    def __init__(self, fields: HeaderTypes | None = None) -> None:
        # (name for look-ups, name as written, value)
        self._fields: list[tuple[str, bytes, bytes]] = []
        self._block: bytes | None = None  # the fields as sent, until something changes
        self._names: frozenset[str] = frozenset()  # in lower case; stands while the block does
        # All fields are among the `_PLAIN` ones. It may be False for those, too, whose `block`
        # nobody has asked for since they were changed.
        self.is_plain = False
        self._copy: Headers | None = None  # what `snapshot()` gave last; stands likewise
        if fields is None:  # first, for to ask an ABC is slow
            return
        if isinstance(fields, Headers):
            self._fields = fields._fields.copy()
            self._block, self._names, self.is_plain = fields._block, fields._names, fields.is_plain
        else:
            for name, value in _pairs(fields):
                self.add(name, value)

    @classmethod
    def received(cls, block: bytes) -> Headers:
        """Make the fields of a head that has been checked: lines that each end in CRLF."""
        headers = cls()
        for line in block.split(b"\r\n"):
            if line:
                name, _, value = line.partition(b":")
                key = name.decode("ascii").lower()
                headers._fields.append((key, name, value.strip(b" \t")))
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """Names and values as on the wire, in their order."""
        return [(name, value) for _, name, value in self._fields]

    @property
    def block(self) -> bytes:
        """All field lines as they are sent, each with its CRLF."""
        if self._block is None:
            # The block last: whoever sees it, in another thread too, may go by the rest.
            self._names = frozenset(key for key, _, _ in self._fields)
            self.is_plain = _PLAIN.issuperset(self._names)
            self._block = b"".join(b"%b: %b\r\n" % (name, value) for _, name, value in self._fields)
        return self._block

    @property
    def names(self) -> frozenset[str]:
        """The names of all fields, in lower case."""
        if self._block is None:
            self.block  # noqa: B018 (makes both)
        return self._names

    def add(self, name: str, value: str) -> None:
        """Add a field line, beside those of the same name.

        Raises:
            LocalProtocolError: name or value cannot stand in a head.
        """
        raw = field_name(name)
        self._fields.append((raw.decode("ascii").lower(), raw, field_value(name, value)))
        self._changed()

    def get_list(self, name: str) -> list[str]:
        """The values of all field lines of this name, in their order."""
        key = name.lower()
        return [value.decode("latin-1") for own, _, value in self._fields if own == key]

    def copy(self) -> Headers:
        """The same fields, free to change."""
        return Headers(self)

    __copy__ = copy

    def snapshot(self) -> Headers:
        """A copy that nobody changes; the same one until something changes here."""
        if self._copy is None:
            self._copy = self.copy()
            self._copy.block  # noqa: B018 (looks at all fields, once)
        return self._copy

    def _changed(self) -> None:
        self._block = self._copy = None
        self.is_plain = False

    def with_one_more(self, name: bytes, value: bytes) -> Headers:
        """A copy with a field that is known to be good, and is not there yet."""
        key = name.decode("ascii").lower()
        copy = Headers()
        copy._fields = [*self._fields, (key, name, value)]
        copy._block = b"%b%b: %b\r\n" % (self.block, name, value)
        copy._names = self.names | {key}
        copy.is_plain = self.is_plain and key in _PLAIN
        return copy

    def merged(self, other: HeaderTypes) -> Headers:
        """These fields, with those of `other` in place of ours of the same names."""
        merged, other = self.copy(), Headers(other)
        names = {key for key, _, _ in other._fields}
        merged._fields = [field for field in merged._fields if field[0] not in names]
        merged._fields += other._fields
        merged._changed()
        return merged

    def __getitem__(self, name: str) -> str:
        key = name.lower()
        values = [value for own, _, value in self._fields if own == key]
        if not values:
            raise KeyError(name)
        return b", ".join(values).decode("latin-1")

    def __setitem__(self, name: str, value: str) -> None:
        raw = field_name(name)
        field = (raw.decode("ascii").lower(), raw, field_value(name, value))
        rest = [one for one in self._fields if one[0] != field[0]]
        place = next((i for i, one in enumerate(self._fields) if one[0] == field[0]), len(rest))
        self._fields = [*rest[:place], field, *rest[place:]]
        self._changed()

    def __delitem__(self, name: str) -> None:
        key = name.lower()
        rest = [field for field in self._fields if field[0] != key]
        if len(rest) == len(self._fields):
            raise KeyError(name)
        self._fields = rest
        self._changed()

    def __contains__(self, name: object) -> bool:
        key = name.lower() if isinstance(name, str) else name
        return any(own == key for own, _, _ in self._fields)

    def __iter__(self) -> Iterator[str]:
        seen: set[str] = set()
        for key, name, _ in self._fields:
            if key not in seen:
                seen.add(key)
                yield name.decode("ascii")

    def __len__(self) -> int:
        return len({key for key, _, _ in self._fields})

    def __bool__(self) -> bool:
        return bool(self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Headers, Mapping)):
            return NotImplemented
        try:
            theirs = other if isinstance(other, Headers) else Headers(other)
        except (LocalProtocolError, TypeError):  # it cannot be sent, so it is not ours
            return False
        return [(k, v) for k, _, v in self._fields] == [(k, v) for k, _, v in theirs._fields]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"({_text(name)!r}, {_text(value)!r})" for name, value in self.raw)
        return f"Headers([{fields}])"


HeaderTypes: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]] | Headers


def _pairs(fields: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(fields, Mapping):
        return fields.items()
    if isinstance(fields, (str, bytes)) or not isinstance(fields, Iterable):
        raise TypeError(
            f"headers= is a {type(fields).__name__}; expected a mapping or a list of (name, value)"
        )
    return map(_pair, fields)


def _pair(given: Any) -> tuple[Any, Any]:
    if isinstance(given, (tuple, list)) and len(given) == 2:
        return given[0], given[1]
    size = f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
    raise TypeError(f"headers= holds a {type(given).__name__}{size}; expected (name, value) in it")


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")
