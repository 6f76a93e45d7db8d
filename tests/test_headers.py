"""Field lines: case, order, repetition, what may not stand in a head (TRUST 1a; RFC 9110, 5)."""

import copy
import pickle
import string
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq import Headers
from fastreq.errors import LocalProtocolError
from fastreq.headers import field_name, field_value

TOKEN = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters  # RFC 9110, section 5.6.2


@pytest.fixture
def headers():
    return Headers([("Accept", "a"), ("X-One", "1"), ("ACCEPT", "b"), ("x-two", "2")])


# ---- a mapping


def test_look_up_ignores_case(headers):
    assert "1" == headers["x-one"] == headers["X-ONE"] == headers.get("X-oNe")
    assert "x-ONE" in headers
    assert "y" not in headers
    assert 5 not in headers


def test_repeated_fields_are_joined_and_kept(headers):
    assert "a, b" == headers["accept"]
    assert ["a", "b"] == headers.get_list("Accept")
    assert [] == headers.get_list("y")


def test_order_and_case_are_kept(headers):
    assert [(b"Accept", b"a"), (b"X-One", b"1"), (b"ACCEPT", b"b"), (b"x-two", b"2")] == headers.raw
    assert ["Accept", "X-One", "x-two"] == list(headers)
    assert 3 == len(headers)
    assert {"Accept": "a, b", "X-One": "1", "x-two": "2"} == dict(headers)


def test_the_block_is_what_is_sent(headers):
    assert b"Accept: a\r\nX-One: 1\r\nACCEPT: b\r\nx-two: 2\r\n" == headers.block
    assert {"accept", "x-one", "x-two"} == headers.names
    assert b"" == Headers().block


def test_what_is_not_there(headers):
    with pytest.raises(KeyError, match="y"):
        headers["y"]
    with pytest.raises(KeyError, match="y"):
        del headers["y"]
    assert None is headers.get("y")


@pytest.mark.parametrize(
    ("change", "block"),
    [
        (lambda h: h.add("C", "3"), b"A: 1\r\nB: 2\r\na: 3\r\nC: 3\r\n"),
        (lambda h: h.__setitem__("a", "9"), b"a: 9\r\nB: 2\r\n"),
        (lambda h: h.__setitem__("b", "9"), b"A: 1\r\nb: 9\r\na: 3\r\n"),
        (lambda h: h.__setitem__("C", "9"), b"A: 1\r\nB: 2\r\na: 3\r\nC: 9\r\n"),
        (lambda h: h.__delitem__("A"), b"B: 2\r\n"),
        (lambda h: h.update(B="9"), b"A: 1\r\nB: 9\r\na: 3\r\n"),
        (lambda h: h.setdefault("B", "9"), b"A: 1\r\nB: 2\r\na: 3\r\n"),
        (lambda h: h.pop("a"), b"B: 2\r\n"),
        (lambda h: h.clear(), b""),
    ],
)
def test_changes(change, block):
    """What is derived from the fields is made anew."""
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    snapshot, before = headers.snapshot(), headers.block
    assert {"a", "b"} == headers.names
    change(headers)

    assert block == headers.block
    assert {line.partition(b":")[0].lower().decode() for line in block.split(b"\r\n") if line} == (
        headers.names
    )
    assert before == snapshot.block
    assert block == headers.snapshot().block


def test_a_copy_is_free_to_change(headers):
    before = headers.block
    other = headers.copy()
    other["X-One"] = "9"

    assert before == headers.block
    assert "9" == other["x-one"]
    assert headers == Headers(headers)


def test_a_copy_by_the_copy_module_is_one_too(headers):
    """It shares nothing: neither the list, nor what is derived from it."""
    before, names = headers.block, headers.names
    for other in (copy.copy(headers), copy.deepcopy(headers)):
        other.add("Authorization", "secret")

        assert before == headers.block
        assert names == headers.names
        assert "authorization" not in headers
        assert before + b"Authorization: secret\r\n" == other.block
        assert not other.is_plain


def test_whoever_sees_a_block_sees_the_names_that_belong_to_it():
    """In another thread as well: it is put there last."""

    class Watched(Headers):
        seen: ClassVar[list[object]] = []

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "_block" and value is not None:
                self.seen.append((self._names, self.is_plain))

    assert b"Accept: b\r\n" == Watched({"Accept": "b"}).block
    assert [(frozenset({"accept"}), True)] == Watched.seen


def test_a_snapshot_is_made_once(headers):
    assert headers.snapshot() is headers.snapshot()
    assert headers.snapshot() == headers


def test_merged(headers):
    """Those of the other in place of ours of the same name, in whatever case."""
    merged = headers.merged({"accept": "c", "New": "n"})

    assert b"X-One: 1\r\nx-two: 2\r\naccept: c\r\nNew: n\r\n" == merged.block
    assert "a, b" == headers["accept"]
    assert {"accept", "new", "x-one", "x-two"} == merged.names


@pytest.mark.parametrize(
    "same",
    [
        Headers([("a", "1"), ("b", "2")]),
        Headers({"A": "1", "B": "2"}),
        {"A": "1", "b": "2"},
    ],
)
def test_equal(same):
    assert Headers([("A", "1"), ("B", "2")]) == same


@pytest.mark.parametrize(
    "other", [Headers({"A": "1"}), {"A": "1", "B": "3"}, {"a b": "c"}, {1: 2}, [("A", "1")], None]
)
def test_not_equal(other):
    assert Headers([("A", "1"), ("B", "2")]) != other


def test_not_hashable():
    with pytest.raises(TypeError):
        hash(Headers())


def test_empty():
    assert not Headers()
    assert Headers({"A": ""})


def test_repr_shows_all(headers):
    assert headers.raw == eval(repr(headers)).raw


def test_pickle(headers):
    assert headers.raw == pickle.loads(pickle.dumps(headers)).raw


def test_received():
    """A head that was checked: bytes above ASCII are read as ISO-8859-1."""
    headers = Headers.received(b"A:  x \t\r\nB:\r\nA:y\r\nC: \xe4\r\n")

    assert [(b"A", b"x"), (b"B", b""), (b"A", b"y"), (b"C", b"\xe4")] == headers.raw
    assert "ä" == headers["c"]
    assert "x, y" == headers["a"]


# ---- what can be sent


def test_every_byte_in_a_name():
    """A token, and nothing else (1a: header name)."""
    for byte in range(256):
        name = f"x{chr(byte)}y"
        if chr(byte) in TOKEN:
            assert name.encode() == field_name(name)
            assert name.encode() == field_name(name.encode())
        else:
            for given_name in (name, name.encode("latin-1")):
                with pytest.raises(LocalProtocolError, match="is not a token"):
                    field_name(given_name)


@pytest.mark.parametrize("name", ["", b"", "a b", "a:", " a", "a ", "a\n", "ä", "ａ", "ſ"])
def test_names_that_are_none(name):
    with pytest.raises(LocalProtocolError, match="is not a token"):
        field_name(name)


def test_every_byte_in_a_value():
    """No control but the tab (1a: header value; RFC 9110, section 5.5; row 54)."""
    for byte in range(256):
        value = f"x{chr(byte)}y"
        if byte in (0x09, *range(0x20, 0x7F), *range(0x80, 0x100)):
            assert value.encode("latin-1") == field_value("A", value)
        else:
            for given_value in (value, value.encode("latin-1")):
                with pytest.raises(LocalProtocolError, match="control character"):
                    field_value("A", given_value)


@pytest.mark.parametrize("character", ["\u010d", "\u010a", "\ud800", "５", "\u2028", "😀"])
def test_characters_that_would_be_cut_to_control_characters(character):
    """Never truncated to ISO-8859-1 (1a: Unicode that encodes to CR/LF)."""
    with pytest.raises(LocalProtocolError, match="percent-encode it, or give bytes"):
        field_value("A", f"x{character}y")


def test_bytes_are_sent_as_they_are():
    assert "ä".encode() == field_value("A", "ä".encode())


def test_white_space_around_a_value_goes():
    assert b"a \t b" == field_value("A", " \t a \t b \t ")


class Token:
    """Which is no text."""

    def __repr__(self):
        return "SECRET"


@each_row(
    ("value", "given"),
    [
        (5, r"not a int; convert it with str\(\)"),
        (True, r"not a bool; convert it"),
        (None, r"not None; .* delete it from `client.headers`"),
        (["a"], r"not a list; for several fields, write \[\(name, one\), "),
        (("a",), r"not a tuple; for several fields"),
    ],
)
def test_values_that_are_no_text(value, given):
    """The text shows what to write."""
    with pytest.raises(TypeError, match=f"header 'A': expected str, {given}"):
        field_value("A", value)


@each_row(
    ("value", "position", "has_hint"),
    [
        ("Bearer SECRET\n", 13, True),
        (b"Bearer SECRET\r\n", 13, True),
        ("SEC\x00RET", 3, False),
        ("SECRET\u2026", 6, False),
        (["SECRET"], None, False),
        (("SECRET",), None, False),
        (Token(), None, False),
    ],
)
def test_no_error_shows_a_value(value, position, has_hint):
    """It says of which field, and where in it; a token is read from a file with its newline."""
    with pytest.raises((LocalProtocolError, TypeError)) as caught:
        field_value("Authorization", value)

    text = str(caught.value)
    assert text.startswith("header 'Authorization': ")
    assert "SEC" not in text
    assert has_hint == text.endswith("; was it read from a file, with its newline?")
    if position is not None:
        assert f" at position {position} of its value" in text


@each_row(
    ("fields", "shown"),
    [
        ({"Authorization: SECRET": ""}, "header name 'Authorization:'... is not"),
        ({b"Authorization: SECRET": ""}, "header name 'Authorization:'... is not"),
        ({"Ä: SECRET": ""}, "header name 'Ä'... is not"),
        ({"A ": "SECRET"}, "header name 'A ' is not"),
        ({"": "SECRET"}, "header name '' is not"),
        ({5: "SECRET"}, "a header name is a int; expected str"),
        ("Authorization: SECRET", "headers= is a str; expected a mapping or a list"),
        (["Authorization: SECRET"], r"headers= holds a str; expected (name, value) in it"),
        (["ab"], r"headers= holds a str; expected (name, value) in it"),
        ([("A", "SECRET", "c")], r"headers= holds a tuple of 3; expected (name, value) in it"),
        ([5], r"headers= holds a int; expected (name, value) in it"),
        (5, "headers= is a int; expected a mapping or a list"),
    ],
)
def test_what_is_no_field_is_not_shown(fields, shown):
    """A whole line may have been taken for a name, or for a pair."""
    with pytest.raises((LocalProtocolError, TypeError)) as caught:
        Headers(fields)

    assert str(caught.value).startswith(shown)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "put",
    [
        lambda name, value: Headers({name: value}),
        lambda name, value: Headers([(name, value)]),
        lambda name, value: Headers().add(name, value),
        lambda name, value: Headers().__setitem__(name, value),
        lambda name, value: Headers().merged({name: value}),
        lambda name, value: Headers().update({name: value}),
    ],
)
def test_whatever_comes_in_is_checked(put):
    for name, value in (("a\n", "b"), ("a", "b\r\nc: d")):
        with pytest.raises(LocalProtocolError):
            put(name, value)


@pytest.mark.parametrize("fields", ["A: b", b"A: b"])
def test_headers_that_are_text(fields):
    with pytest.raises(TypeError, match="expected a mapping or a list"):
        Headers(fields)


FIELDS = st.lists(
    st.tuples(
        st.text(TOKEN, min_size=1),
        st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"])),
    )
)


@given(FIELDS)
def test_what_is_sent_is_what_is_received(fields):
    """Whatever can be put in comes out of the block as it went in."""
    headers = Headers(fields)
    received = Headers.received(headers.block)

    assert headers.raw == received.raw
    assert headers == received
    assert len(fields) == headers.block.count(b"\r\n")


@given(FIELDS, st.text(TOKEN, min_size=1), st.text(string.printable[:95]))
def test_set_and_delete(fields, name, value):
    headers = Headers(fields)
    others = [field for field in headers.raw if field[0].lower() != name.lower().encode()]
    headers[name] = value
    assert [value.strip(" \t")] == headers.get_list(name)
    del headers[name.swapcase()]

    assert others == headers.raw
    assert name not in headers
