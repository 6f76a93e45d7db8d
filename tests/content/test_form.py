"""form.py: forms and queries are written as browsers write them, and read back as they were."""

from decimal import Decimal
from enum import Enum, IntEnum
from types import MappingProxyType
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.content.form import encode_params, fields, form_encoded, merge_query
from fastreq.errors import InvalidURL
from fastreq.url import URL

texts = st.text(st.characters(exclude_categories=["Cs"]))
pairs = st.lists(st.tuples(texts, texts))


def form_rules(text: str) -> str:
    """What urllib writes, with the two characters where WHATWG differs."""
    return text.replace("~", "%7E").replace("%2A", "*")


class Colour(Enum):
    RED = 1


class Number(IntEnum):
    TWO = 2


class Rate(float, Enum):
    HALF_MORE = 1.5


class Size(int, Enum):
    BIG = 3


class Name(str, Enum):  # noqa: UP042 (its str() is not its text)
    ANN = "ann"


# --- the rules ---


@each_row("code", range(256))
def test_every_byte_is_written_by_the_form_rules(code):
    """Letters, digits and *-._ stand for themselves, a blank is "+", the rest is %XX (1.3)."""
    plain = chr(code).isascii() and (chr(code).isalnum() or chr(code) in "*-._")
    expected = chr(code) if plain else "+" if code == 0x20 else f"%{code:02X}"

    assert f"a={expected}" == form_encoded([(b"a", bytes([code]))])
    assert f"{expected}=a" == form_encoded([(bytes([code]), b"a")])


@given(pairs)
def test_a_form_is_what_urllib_writes(form):
    """But for "~" and "*", where urllib keeps to RFC 3986."""
    assert form_rules(urlencode(form)) == form_encoded(fields(form, "data"))


@given(pairs)
def test_a_form_is_read_back_as_it_was(form):
    encoded = encode_params(form)

    assert form == parse_qsl(encoded, keep_blank_values=True)


@given(pairs)
def test_a_query_goes_through_a_url_unchanged(form):
    query = encode_params(form)

    assert query == URL("http://host/").with_query(query).query


# --- values ---


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("a=", ""),
        ("a=", None),
        ("a=true", True),
        ("a=false", False),
        ("a=0", 0),
        ("a=-12", -12),
        ("a=1.5", 1.5),
        ("a=1e%2B20", 1e20),
        ("a=0.10", Decimal("0.10")),
        ("a=2", Number.TWO),
        ("a=3", Size.BIG),
        ("a=1.5", Rate.HALF_MORE),
        ("a=ann", Name.ANN),
        ("a=%FF+%00", b"\xff \0"),
        ("a=x%26b%3Dy", "x&b=y"),
        ("a=%F0%9F%90%8D", "🐍"),
        ("a=1&a=2&a=", [1, "2", None]),
        ("a=1&a=2", ("1", b"2")),
        ("", []),
    ],
)
def test_values_become_text(expected, value):
    assert expected == encode_params({"a": value})
    assert expected == encode_params([("a", value)])
    assert expected == form_encoded(fields({"a": value}, "data"))


@pytest.mark.parametrize(
    ("expected", "params"),
    [
        ("", None),
        ("", {}),
        ("", []),
        ("b=1&a=2", {"b": 1, "a": 2}),
        ("b=1&a=2", MappingProxyType({"b": 1, "a": 2})),
        ("a=1&b=2&a=3", [("a", 1), ["b", 2], ("a", 3)]),
        ("1=x", {1: "x"}),
        ("=x", {"": "x"}),
    ],
)
def test_order_and_repeated_names_are_kept(expected, params):
    assert expected == encode_params(params)


class Both(dict):
    """Several values of a name, of which `items()` gives the first."""

    def items(self):
        return [(name, values[0]) for name, values in super().items()]


class OfHttpx(Both):
    def multi_items(self):
        return [(name, value) for name, values in super(Both, self).items() for value in values]


class OfWerkzeug(Both):
    def getlist(self, name):
        return self[name]


@pytest.mark.parametrize("kind", [OfHttpx, OfWerkzeug])
def test_no_value_of_a_name_is_lost(kind):
    several = kind({"a": ["1", "2"], "b": ["3"]})

    assert "a=1&a=2&b=3" == encode_params(several)
    assert "a=1&a=2&b=3" == form_encoded(fields(several, "data"))


@pytest.mark.parametrize(
    ("part", "form"),
    [
        ("data= is a str", "a=1"),
        ("data= is a bytes", b"a=1"),
        ("data= is a generator", (pair for pair in [("a", 1)])),
        ("data= is a set", {("a", 1)}),
        ("data= is a int", 5),
        ("data= holds str where", ["ab"]),
        ("data= holds tuple where", [("a", 1, 2)]),
        ("data['a'] is a dict", {"a": {}}),
        ("data['a'] is a list", {"a": [["b"]]}),
        ("data['a'] is a set", {"a": {"b"}}),
        ("data['a'] is a object", {"a": object()}),
        ("data['a'] is a Colour", {"a": Colour.RED}),
        ("data[None] has a NoneType as its name", {None: "a"}),
        ("data[True] has a bool as its name", {True: "a"}),
        ("data[b'a'] has a bytes as its name", {b"a": "a"}),
    ],
)
def test_what_is_no_form_is_refused_by_place(part, form):
    with pytest.raises(TypeError) as caught:
        fields(form, "data")
    assert part in str(caught.value)


@pytest.mark.parametrize("form", [{"a": "x\ud800"}, {"x\ud800": "a"}, {"a": ["b", "x\udfff"]}])
def test_half_a_character_is_refused_with_its_position(form):
    """Nothing else would be read back as it was: "?" or U+FFFD is another text."""
    with pytest.raises(ValueError, match=r"params\[.*\\ud.* at position 1 is half a character"):
        encode_params(form)


# --- queries ---


@pytest.mark.parametrize("given_", ["a=1", "a=b c", "a=%20+&&=", "ä", "a=#", "a[]=1"])
def test_a_query_that_is_written_stays_as_it_is(given_):
    assert given_ == encode_params(given_)


def test_a_question_mark_before_a_query_is_dropped_once():
    """As `new URLSearchParams("?a=1")` does."""
    assert "a=1" == encode_params("?a=1")
    assert "?a=1" == encode_params("??a=1")


@each_row("code", [*range(0x20), 0x7F, 0xD800, 0xDFFF])
def test_a_query_with_a_control_character_is_refused(code):
    with pytest.raises(InvalidURL, match="at position 3"):
        encode_params(f"a=1{chr(code)}")


@each_row("code", range(256))
def test_no_byte_of_params_breaks_the_request_line(code):
    """TRUST 1a: a control or a blank is percent-encoded, or refused."""
    for params in ({"a": chr(code)}, {chr(code): "a"}, {"a": bytes([code])}, f"a={chr(code)}"):
        try:
            target = URL("http://host/p").with_query(encode_params(params)).target
        except InvalidURL:
            continue
        assert target.isascii()
        assert target.decode().isprintable()
        assert b" " not in target


@pytest.mark.parametrize(
    ("expected", "query", "params"),
    [
        ("", "", None),
        ("", "", {}),
        ("a=1", "a=1", None),
        ("a=1", "a=1", {}),
        ("b=2", "", {"b": 2}),
        ("a=1&b=2", "a=1", {"b": 2}),
        ("a=1&a=2", "a=1", {"a": 2}),
        ("a%20b&b=2", "a%20b", "b=2"),
    ],
)
def test_params_come_after_the_query_that_is_there(expected, query, params):
    """An empty `params` takes nothing away."""
    assert expected == merge_query(query, params)
