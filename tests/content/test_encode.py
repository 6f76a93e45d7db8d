"""encode.py: one body per request, whole and honest about its length, or a clear error."""

import io
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastreq.content.encode import Encoded, FileBody, encode_body, replayable
from fastreq.errors import FastreqError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
)  # fmt: skip


async def stream() -> AsyncIterator[bytes]:
    yield b"piece"


def test_no_body_is_empty():
    assert Encoded(b"", None, 0) == encode_body()


# --- content ---


@pytest.mark.parametrize(
    ("expected", "content"),
    [
        (b"", b""),
        (b"\0\xff", b"\0\xff"),
        (b"ab", bytearray(b"ab")),
        (b"ab", memoryview(b"ab")),
        (b"ac", memoryview(b"abcd")[::2]),
        (b"", ""),
        ("grüße\r\n".encode(), "grüße\r\n"),
    ],
)
def test_content_is_sent_as_it_is_without_a_type(expected, content):
    assert Encoded(expected, None, len(expected)) == encode_body(content)


def test_bytes_are_not_copied():
    content = b"x" * 100

    assert content is encode_body(content).body


def test_a_buffer_may_change_while_its_bytes_are_sent():
    content = bytearray(b"before")
    encoded = encode_body(content)
    content[:] = b"after!"

    assert b"before" == encoded.body


def test_a_generator_is_sent_as_it_comes_and_of_unknown_length():
    content = (piece for piece in [b"a", b"b"])

    assert Encoded(content, None, None) == encode_body(content)


def test_an_async_iterable_is_sent_as_it_comes_and_of_unknown_length():
    content = stream()

    assert Encoded(content, None, None) == encode_body(content)


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_of_bytes_has_a_length(kind):
    pieces = [b"a", bytearray(b"bc"), memoryview(b"d"), b""]

    assert Encoded(tuple(pieces), None, 4) == encode_body(kind(pieces))


def test_the_length_of_a_list_counts_bytes_and_not_items():
    assert 8 == encode_body([memoryview(b"12345678").cast("Q")]).length


def test_a_list_of_anything_else_is_refused_before_it_is_sent():
    with pytest.raises(TypeError, match="content= holds a str; expected only bytes"):
        encode_body([b"a", "b"])


def test_a_file_is_read_as_it_is_sent():
    encoded = encode_body(io.BytesIO(b"abc"))

    assert isinstance(encoded.body, FileBody)
    assert (None, 3) == (encoded.content_type, encoded.length)
    assert [b"abc"] == list(encoded.body)


@pytest.mark.parametrize(
    ("replays", "content"),
    [
        (True, b""),
        (True, b"a"),
        (True, "a"),
        (True, [b"a"]),
        (True, io.BytesIO(b"a")),  # until it has been read
        (False, (piece for piece in [b"a"])),
        (False, stream()),
    ],
)
def test_what_is_in_memory_can_be_sent_again(replays, content):
    assert replays == replayable(encode_body(content).body)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("is a int", 5),
        ("is a float", 0.5),
        ("is a bool", True),
        ("is a object", object()),
        ("is a dict; expected bytes", {"a": 1}),
        ("json= or data=", OrderedDict(a=1)),
        ("json= or data=", MappingProxyType({})),
    ],
)
def test_content_of_another_type_is_refused(part, content):
    with pytest.raises(TypeError) as caught:
        encode_body(content)
    assert "content= is a " in str(caught.value)
    assert part in str(caught.value)


def test_half_a_character_is_refused():
    with pytest.raises(ValueError, match=r"content=: '\\ud800' at position 1 is half a character"):
        encode_body("a\ud800")


# --- json ---


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ('{"a":[1,2.5,true,null],"b":"c, d: e"}', {"a": [1, 2.5, True, None], "b": "c, d: e"}),
        ('"grüße 🐍"', "grüße 🐍"),
        ("[]", []),
        ("{}", {}),
        ("0", 0),
        ("false", False),
        ('""', ""),
    ],
)
def test_json_is_compact_and_utf8(expected, value):
    """Whatever is not None is sent, even if it is empty."""
    body = expected.encode()

    assert Encoded(body, "application/json", len(body)) == encode_body(json=value)


@given(values.filter(lambda value: value is not None))
def test_json_is_read_back_as_it_was(value):
    body = encode_body(json=value).body

    assert value == json.loads(body)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_nan(number):
    with pytest.raises(ValueError, match=r"json= cannot be encoded: .*not JSON compliant"):
        encode_body(json={"a": [number]})


def test_json_that_holds_itself_is_refused():
    value = []
    value.append(value)

    with pytest.raises(ValueError, match="json= cannot be encoded: Circular"):
        encode_body(json=value)


def test_json_of_another_type_is_refused():
    with pytest.raises(TypeError, match=r"json= cannot be encoded: .*object.*content="):
        encode_body(json={"a": object()})


@pytest.mark.parametrize("given", ['["ü"]', '["ü"]'.encode()])
def test_json_by_another_encoder(given):
    body = '["ü"]'.encode()

    assert Encoded(body, "application/json", len(body)) == encode_body(
        json=["u"], dumps=lambda value: given if value == ["u"] else b""
    )


@pytest.mark.parametrize("kind", [TypeError, ValueError])
def test_json_that_another_encoder_refuses(kind):
    def refuse(value):
        raise kind(f"not {value}")

    with pytest.raises(kind, match="json= cannot be encoded: not 1"):
        encode_body(json=1, dumps=refuse)


def test_another_encoder_has_to_give_text():
    with pytest.raises(TypeError, match="json_dumps= gave dict; expected bytes or str"):
        encode_body(json={}, dumps=dict)


def test_json_with_half_a_character_is_refused():
    with pytest.raises(ValueError, match=r"json=: '\\ud800' at position 6 is half a character"):
        encode_body(json={"a": "\ud800"})


# --- data and files ---


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        (b"a=1&b=x+y&b=%C3%A4", {"a": 1, "b": ["x y", "ä"]}),
        (b"a=1&a=2", [("a", 1), ("a", 2)]),
        (b"", {}),
    ],
)
def test_data_is_a_form(expected, data):
    wanted = Encoded(expected, "application/x-www-form-urlencoded", len(expected))

    assert wanted == encode_body(data=data)
    assert wanted == encode_body(data=data, files={}), "no files, no multipart"


@pytest.mark.parametrize("data", ["a=1", b"a=1", "", io.BytesIO(b"a=1"), 5])
def test_data_that_is_ready_goes_to_content(data):
    for files in (None, {"f": b""}):
        with pytest.raises(TypeError, match=r"data= is a .* goes to content="):
            encode_body(data=data, files=files)


def test_files_are_multipart():
    encoded = encode_body(files={"f": b"file"}, data={"a": 1})

    assert encoded.content_type.startswith("multipart/form-data; boundary=")
    assert len(encoded.body) == encoded.length
    assert encoded.body.index(b'name="a"') < encoded.body.index(b'name="f"')


def test_files_of_none_are_no_body():
    assert Encoded(b"", None, 0) == encode_body(files={})


@pytest.mark.parametrize(
    ("names", "given_"),
    [
        ("content= and json=", {"content": b"", "json": {}}),
        ("content= and data=", {"content": b"a", "data": {"a": 1}}),
        ("content= and files=", {"content": b"a", "files": {"a": b""}}),
        ("json= and data=", {"json": 0, "data": {}}),
        ("json= and files=", {"json": {}, "files": {"a": b""}}),
        ("json= and data=", {"json": {}, "data": {}, "files": {"a": b""}}),
    ],
)
def test_a_body_given_twice_is_refused(names, given_):
    """Even if one of them is empty: nobody would know which one is sent."""
    with pytest.raises(TypeError, match=f"^{names} were both given") as caught:
        encode_body(**given_)
    assert not isinstance(caught.value, FastreqError)
