"""events.py: server-sent events by the rules of WHATWG HTML, section 9.2.6."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.content.events import MAX_EVENT, EventParser, EventReader, ServerSentEvent
from fastreq.errors import DecodingError


def parsed(text: str) -> list[ServerSentEvent]:
    """The events of a stream, which is given whole."""
    parser = EventParser()
    # What follows the last newline is no line, only its beginning.
    received = [parser.receive(line) for line in text.split("\n")[:-1]]
    return [event for event in received if event is not None]


def read(body: bytes, step: int, parser: EventParser | None = None) -> list[ServerSentEvent]:
    """The events of a body that comes `step` bytes at a time."""
    reader = EventReader(parser or EventParser())
    pieces = [body[start : start + step] for start in range(0, len(body), step)]
    return [*(event for piece in pieces for event in reader.feed(piece)), *reader.end()]


def event(data: str, **rest: object) -> ServerSentEvent:
    return ServerSentEvent(data=data, **rest)


@each_row(
    ("expected", "text"),
    [
        # The examples of the specification.
        ([event("YHOO\n+2\n10")], "data: YHOO\ndata: +2\ndata: 10\n\n"),
        (
            [event("first event", id="1"), event("second event"), event(" third event")],
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
            "data:  third event\n\n",
        ),
        ([event(""), event("\n")], "data\n\ndata\ndata\n\ndata:\n"),
        ([event("test"), event("test")], "data:test\n\ndata: test\n\n"),
        # event
        ([event("a", event="add")], "event: add\ndata: a\n\n"),
        ([event("a", event="add"), event("b")], "event: add\ndata: a\n\ndata: b\n\n"),
        ([event("a", event="two")], "event: one\nevent: two\ndata: a\n\n"),
        ([event("a")], "event: add\n\ndata: a\n\n"),
        ([event("a")], "event:\ndata: a\n\n"),
        # id
        ([event("a", id="1"), event("b", id="1")], "id: 1\ndata: a\n\ndata: b\n\n"),
        ([event("a", id="1")], "id: 1\n\ndata: a\n\n"),
        ([event("a", id="1")], "id: 1\nid: 2\x003\ndata: a\n\n"),
        ([event("a", id="1"), event("b")], "id: 1\ndata: a\n\nid:\ndata: b\n\n"),
        # retry
        ([event("a", retry=50)], "retry: 50\ndata: a\n\n"),
        ([event("a", retry=50), event("b")], "retry: 50\ndata: a\n\ndata: b\n\n"),
        ([event("a", retry=7)], "retry: 007\ndata: a\n\n"),
        # fields
        ([event(": x:y ")], "data::  x:y \n\n".replace("  ", " ")),
        ([event("\tx")], "data:\tx\n\n"),
        ([event("a")], "data: a\nother: b\nDATA: c\n data: d\ndata : e\n\n"),
        ([event("a")], ":comment\n:\n: data: b\ndata: a\n:\n\n"),
        # ends
        ([], ""),
        ([], "\n\n\n"),
        ([], "data: never completed\n"),
        ([], "data: never completed"),
        ([event("a")], "data: a\n\ndata: b\nid: 2\n"),
        # byte order mark
        ([event("a")], "\ufeffdata: a\n\n"),
        ([], "\ufeff\ufeffdata: a\n\n"),
        ([event("a")], "\ufeff\ndata: a\n\n"),
        ([event("a")], "\n\ufeffdata: b\ndata: a\n\n"),
        ([event("\ufeffa")], "data: \ufeffa\n\n"),
    ],
)
def test_a_stream_gives_its_events(expected, text):
    assert expected == parsed(text)


@pytest.mark.parametrize(
    "value", ["", "-1", "+1", "1.5", "1e3", " 1", "1 ", "٣", "²", "0x1", "9" * 16]
)
def test_a_retry_that_is_no_number_is_ignored(value):
    parser = EventParser()
    for line in ("retry: 5", f"retry: {value}", "data: a"):
        assert parser.receive(line) is None

    assert event("a", retry=5) == parser.receive("")
    assert 5 == parser.retry


def test_a_number_without_end_is_no_work():
    """int() takes quadratic time, and refuses more than 4,300 digits."""
    parser = EventParser()
    parser.receive("retry: " + "9" * 1_000_000)

    assert parser.retry is None


# --- for a reconnection ---


def test_the_last_id_is_that_of_the_last_complete_event():
    """What was lost with the connection is asked for again."""
    parser = EventParser()
    for line in ("id: 1", "data: a", "", "id: 2", "data: b"):
        parser.receive(line)

    assert "1" == parser.last_event_id
    assert event("b", id="2") == parser.receive("")
    assert "2" == parser.last_event_id


def test_an_id_without_data_counts():
    parser = EventParser()
    for line in ("id: 1", ""):
        assert parser.receive(line) is None

    assert "1" == parser.last_event_id


def test_the_next_parser_goes_on_with_the_id():
    parser = EventParser(last_event_id="7")
    parser.receive("data: a")

    assert "7" == parser.last_event_id
    assert event("a", id="7") == parser.receive("")


def test_retry_is_known_at_once_and_kept():
    """A server may say only this before it closes."""
    parser = EventParser()
    assert parser.retry is None
    parser.receive("retry: 50")
    assert 50 == parser.retry
    parser.receive("")
    assert 50 == parser.retry
    assert "<EventParser last_event_id='' retry=50>" == repr(parser)


def test_the_parser_of_the_caller_knows_what_came():
    parser = EventParser()
    body = b"retry: 9\nid: 1\ndata: a\n\nid: 2\ndata: b"

    assert [event("a", id="1", retry=9)] == read(body, 5, parser)
    assert ("1", 9) == (parser.last_event_id, parser.retry)


# --- from bytes ---


BODY = "\ufeffdata: grüße\r\rdata: a\rdata: b\r\n\r\n:\n\nevent: x\nid: 1\ndata: 🐍\n\r\ndata: lost"
EVENTS = [event("grüße"), event("a\nb"), event("🐍", event="x", id="1")]


@pytest.mark.parametrize("step", range(1, len(BODY.encode()) + 1))
def test_events_are_the_same_however_the_network_cuts_them(step):
    """Lines end in CRLF, LF or CR, all of them in one stream."""
    assert EVENTS == read(BODY.encode(), step)


def test_an_event_is_there_as_soon_as_its_empty_line_is():
    """A CR ends the line: what comes after it, perhaps never, is not waited for."""
    for end in (b"\n", b"\r\n", b"\r"):
        assert [event("a")] == list(EventReader(EventParser()).feed(b"data: a" + end + end))


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_data_is_read_back_as_it_was(texts):
    data = "".join(f"data: {text}\n" for text in texts)

    assert ([event("\n".join(texts))] if texts else []) == parsed(data + "\n")


@given(st.text())
def test_nothing_that_is_text_breaks_it(text):
    parsed(text)


def test_json_reads_the_data():
    assert {"a": [1]} == event('{"a":\n[1]}').json()
    with pytest.raises(ValueError, match="Expecting value"):
        event("no json").json()


# --- limits ---


@pytest.mark.parametrize("field", ["data", "data:", "event: a", "id: a", "x"])
def test_an_event_without_end_is_stopped(field):
    parser = EventParser(max_event=1000)
    with pytest.raises(DecodingError, match="over 1000 characters"):
        for _ in range(1001):
            parser.receive(field)


def test_the_limit_is_exact_and_for_each_event():
    parser = EventParser(max_event=10)
    for _ in range(3):
        parser.receive("data:")
        parser.receive("data:")
        assert event("\n") == parser.receive("")

    parser.receive("data:")
    parser.receive("data:")
    with pytest.raises(DecodingError):
        parser.receive("x")


def test_one_mebibyte_is_the_default():
    parser = EventParser()
    assert 2**20 == MAX_EVENT
    parser.receive("data:" + "a" * (MAX_EVENT - 5))
    with pytest.raises(DecodingError):
        parser.receive("b")


def test_comments_may_go_on_for_ever():
    """Servers send them to keep a connection open; nothing of them is kept."""
    parser = EventParser(max_event=10)
    for _ in range(1000):
        parser.receive(": still here")
    parser.receive("data: a")

    assert event("a") == parser.receive("")


def test_many_lines_take_linear_time():
    started = time.process_time()
    parser = EventParser(max_event=2**30)
    for _ in range(500_000):
        parser.receive("data: a")

    assert 999_999 == len(parser.receive("").data)
    assert time.process_time() - started < 5
