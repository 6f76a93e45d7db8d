"""Link fields: by the grammar or not at all, and linear (RFC 8288)."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.content.links import links
from fastreq.url import URL

BASE = URL("http://host/a/b?page=1")


S, N = "http://host/s", "http://host/n"


def read(*fields):
    return links(fields, BASE)


def urls(*fields):
    return {relation: link["url"] for relation, link in read(*fields).items()}


@each_row(
    ("field", "expected"),
    [
        ("<http://x/>; rel=next", {"next": "http://x/"}),
        ('<http://x/>; rel="next"', {"next": "http://x/"}),
        ("<http://x/>;rel=next", {"next": "http://x/"}),
        ('<http://x/> ; rel = "next" ', {"next": "http://x/"}),
        ("<http://x/>; REL=Next", {"next": "http://x/"}),
        ("<http://x/>; rel=next; rel=last", {"next": "http://x/"}),
        ('<http://x/>; rel="next  prev"', {"next": "http://x/", "prev": "http://x/"}),
        ("<http://x/>; rel=next,<http://y/>; rel=last", {"next": "http://x/", "last": "http://y/"}),
        (", ,<http://x/>; rel=next, ,", {"next": "http://x/"}),
        ("<http://x/>;; ;rel=next;", {"next": "http://x/"}),
        ("<http://x/>; crossorigin; rel=next", {"next": "http://x/"}),
        ("<http://x/>; rel=next, <http://y/>; rel=next", {"next": "http://x/"}),
        ("<http://x/a,b;c>; rel=next", {"next": "http://x/a,b;c"}),
        ('<http://x/>; title="a, b; c>"; rel=next', {"next": "http://x/"}),
        ("<?page=2>; rel=next", {"next": "http://host/a/b?page=2"}),
        ("</c>; rel=next", {"next": "http://host/c"}),
        ("<c>; rel=next", {"next": "http://host/a/c"}),
        ("<//x/c>; rel=next", {"next": "http://x/c"}),
        ("<>; rel=self", {"self": "http://host/a/b?page=1"}),
        ("<mailto:a@b>; rel=author", {"author": "mailto:a@b"}),
        ("<urn:x:y>; rel=license", {"license": "urn:x:y"}),
        # Without the quotes that there should be.
        ("<http://x/>; rel=http://example.com/rel", {"http://example.com/rel": "http://x/"}),
        ("</s>; rel=preload; type=text/css, </n>; rel=next", {"preload": S, "next": N}),
        ("</s>; media=(min-width:1px); rel=preload, </n>; rel=next", {"preload": S, "next": N}),
        ("</s>; x=a=b; rel=preload,</n>;rel=next", {"preload": S, "next": N}),
        ('<http://x/>; rel="http://example.com/Rel"', {"http://example.com/rel": "http://x/"}),
        # Not related to anything, or of another resource.
        ("<http://x/>", {}),
        ("<http://x/>; rel", {}),
        ('<http://x/>; rel=""', {}),
        ('<http://x/>; rel=next; anchor="#part"', {}),
        # Malformed: the field says nothing.
        ("", {}),
        ("http://x/; rel=next", {}),
        ("<http://x/; rel=next", {}),
        ("<http://x y/>; rel=next", {}),
        ("<http://x/é>; rel=next", {}),
        ('<http://x/>; rel="next', {}),
        ("<http://x/>; rel=next <http://y/>; rel=last", {}),
        ("<http://x/>; rel=next, y", {}),
        ("<http://x/>; rel=ne xt", {}),
        ("<http://x/> rel=next", {}),
        ("<http://x/>; rel=", {}),
        ("<http://x/>; rel=<next>", {}),
        ('<http://x/>; rel=a"next"', {}),
        ("<http://x/>; rel=é", {}),
    ],
)
def test_links(field, expected):
    assert expected == urls(field)


def test_a_malformed_field_is_no_harm_to_the_others():
    assert {"next": "http://x/"} == urls("<http://y/>; rel=prev, oops", "<http://x/>; rel=next")


def test_parameters():
    field = (
        r'<x>; rel=next; TITLE="a \"b\" \\"; title=second; title*=UTF-8' + "''%e2; url=evil; flag"
    )
    (link,) = read(field).values()

    assert "http://host/a/x" == link["url"], "a parameter of this name does not replace it"
    assert ("next", 'a "b" \\') == (link["rel"], link["title"])
    assert ("UTF-8''%e2", "") == (link["title*"], link["flag"])


@pytest.mark.parametrize(
    "flood",
    [
        "<a>" + ";" * 60_000,
        "<" * 60_000,
        "<a>;" + "a=" * 30_000,
        '<a>;a="' + '\\"' * 30_000,
        "<a>" + " " * 60_000,
        "<a>;rel=n," * 6_000,
        "," * 60_000,
        '<a>; rel="' + "a " * 30_000 + '"',
        '<a>; rel="' + " ".join(map(str, range(10_000))) + '"',
        "<a>;" + "a;" * 30_000,
    ],
    ids=range(10),
)
def test_linear(flood):
    began = time.process_time()
    read(flood)
    assert time.process_time() - began < 0.5


@given(st.text(st.sampled_from('<>;,="\\ \trelnxt/?:é'), max_size=60))
def test_anything_is_read_or_left(text):
    for relation, link in read(text).items():
        assert relation == link["rel"]
        assert link["url"]
