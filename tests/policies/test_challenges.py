"""WWW-Authenticate: what the grammar allows is read, and nothing else, in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.headers import Headers
from fastreq.messages import Response
from fastreq.policies.challenges import (
    authentication_info,
    challenges,
    quoted_string,
    read_challenges,
    unquoted,
)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("Negotiate", [("negotiate", {}, None)]),
        ("Basic realm=", [("basic", {}, "realm=")]),  # by the grammar
        ("NTLM TlRMTVNTUAAC==", [("ntlm", {}, "TlRMTVNTUAAC==")]),
        ('Basic realm="a"', [("basic", {"realm": "a"}, None)]),
        ("Basic realm=a", [("basic", {"realm": "a"}, None)]),
        ('Basic REALM = "a"', [("basic", {"realm": "a"}, None)]),
        ('Basic   realm\t=\t"a"\t', [("basic", {"realm": "a"}, None)]),
        ('Basic realm=""', [("basic", {"realm": ""}, None)]),
        ('Basic realm="a, b=c"', [("basic", {"realm": "a, b=c"}, None)]),
        ('Basic realm="Digest realm=\\"b\\""', [("basic", {"realm": 'Digest realm="b"'}, None)]),
        (r'Basic realm="\\\"\a"', [("basic", {"realm": r"\"a"}, None)]),
        ('Basic realm="\u00e9\t"', [("basic", {"realm": "\u00e9\t"}, None)]),
        ('Basic ,, realm="a",,x=y,', [("basic", {"realm": "a", "x": "y"}, None)]),
        # RFC 9110, section 11.6.1
        (
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [
                ("basic", {"realm": "simple"}, None),
                ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}, None),
            ],
        ),
        (
            "Negotiate, NTLM, Digest realm=a,nonce=b, Bearer",
            [
                ("negotiate", {}, None),
                ("ntlm", {}, None),
                ("digest", {"realm": "a", "nonce": "b"}, None),
                ("bearer", {}, None),
            ],
        ),
        ("A b==, C d=e", [("a", {}, "b=="), ("c", {"d": "e"}, None)]),
    ],
)
def test_fields(field, expected):
    assert expected == read_challenges(field)


@each_row(
    "field",
    [
        'realm="a"',  # of nobody
        'Basic realm="a',
        'Basic realm="a\\"',
        'Basic realm="a"b',
        'Basic realm="a" x=y',
        "Basic realm=a b",
        "Basic realm==a",
        "Basic =a",
        "Basic realm='a b'",
        'Basic realm="a", realm="b"',
        'Basic realm="a", REALM="b"',
        'NTLM abc==, realm="a"',
        "NTLM abc== def==",
        'Basic; realm="a"',
        '"Basic" realm="a"',
        "B\u00e4sic",
        'Basic realm="a", "b"',
        *(f'Basic realm="a{chr(code)}b"' for code in (*range(9), *range(10, 32), 127)),
        *(f'Basic realm="a\\{chr(code)}b"' for code in (*range(9), *range(10, 32), 127)),
    ],
)
def test_malformed_fields_say_nothing(field):
    assert [] == read_challenges(field)


def test_many_fields():
    """Each is read by itself: one that is malformed does not spoil the others."""
    fields = [
        ("WWW-Authenticate", "Basic realm=a"),
        ("WWW-Authenticate", 'Basic realm="a'),
        ("Proxy-Authenticate", "Basic realm=p"),
        ("www-authenticate", "Digest realm=b"),
    ]
    found = challenges(Response(401, headers=fields))

    assert ["a", "b"] == [challenge.parameters["realm"] for challenge in found]


def test_a_newline_that_came_through_is_refused():
    """The parser of heads lets none through; this one would not either."""
    response = Response(401)
    response._headers = Headers()
    response._headers._fields.append(("www-authenticate", b"", b'Digest realm="a\r\nX: 1"'))

    assert [] == challenges(response)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ('nextnonce="a", qop=auth', {"nextnonce": "a", "qop": "auth"}),
        ("", {}),
        ('nextnonce="a', {}),
        ('Digest nextnonce="a"', {}),
        ('nextnonce="a", Digest', {}),
        ('nextnonce="a", nextnonce="b"', {}),
    ],
)
def test_authentication_info(field, expected):
    response = Response(200, headers={"Authentication-Info": field})
    assert expected == authentication_info(response)


TEXT = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]))


@given(TEXT)
def test_quoting_round_trip(text):
    assert text == unquoted(quoted_string(text))
    if not any("\x80" <= char < "\xa0" for char in text):
        [challenge] = read_challenges(f"Basic realm={quoted_string(text)}")
        assert text == challenge.parameters["realm"]


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_values_do_not_spill(pairs):
    """Whatever stands in the values, there are as many challenges and parameters as were made."""
    field = ", ".join(f"S a={quoted_string(a)}, b={quoted_string(b)}" for a, b in pairs)
    found = [(c.scheme, c.parameters["a"], c.parameters["b"]) for c in read_challenges(field)]

    assert [("s", a, b) for a, b in pairs] == found


@given(st.text(st.sampled_from('aB=", \\\t/é;')))
def test_any_text_is_read_or_not(text):
    for challenge in read_challenges(text):
        assert challenge.scheme
        assert challenge.token is None or not challenge.parameters


@pytest.mark.parametrize(
    "field",
    [
        "a" * 100_000,
        "a " + "b" * 100_000 + "!",
        "a" + " " * 100_000 + "!",
        'a b="' + "\\\\" * 50_000,
        'a b="' + '\\"' * 50_000,
        "a b=c" + "\t" * 100_000 + "!",
        "a," * 50_000,
        "," * 100_000,
        "a " + ",".join(f"p{n}=v" for n in range(10_000)),
        "a b" + "=" * 100_000 + "!",
        "a b " * 25_000,
    ],
    ids=range(11),
)
def test_any_field_is_read_in_linear_time(field):
    started = time.process_time()
    read_challenges(field)
    assert 2 > time.process_time() - started
