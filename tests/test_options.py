"""Options as values: what they are by default, what they refuse, how they are spelled."""

import dataclasses
import inspect
import pickle

import pytest
from tables import each_row

import fastreq
from fastreq import Limits, Timeout
from fastreq.building import REQUEST_OPTIONS, RequestOptions
from fastreq.options import OF_CLIENT, OF_REQUEST, UNSET, unknown_keyword

SECONDS = ["connect", "read", "write", "pool", "total"]
COUNTS = ["max_connections", "max_per_host", "max_keepalive"]
AGES = ["keepalive_expiry", "max_age"]


def test_the_defaults():
    """TRUST, section 5."""
    assert (10, 30, 30, None, 300) == dataclasses.astuple(Timeout())
    assert (500, 100, None, 15, 3600) == dataclasses.astuple(Limits())


@each_row("name", SECONDS)
@each_row("value", [0.001, 5, 1e9, float("inf"), None])
def test_seconds(name, value):
    assert value == getattr(Timeout(**{name: value}), name)


@each_row("name", SECONDS)
@each_row("value", [0, -1, float("nan"), True, "5", [1]])
def test_seconds_that_are_none(name, value):
    """The text names the option and the value."""
    with pytest.raises(ValueError, match=rf"Timeout\({name}=.*expected seconds above 0") as caught:
        Timeout(**{name: value})

    assert repr(value) in str(caught.value)


def test_seconds_that_no_float_can_hold():
    with pytest.raises(ValueError, match=r"Timeout\(connect=...\): larger than any float"):
        Timeout(connect=10**400)


def test_a_total_that_was_given_is_another():
    """For streams it counts, and the default does not."""
    assert Timeout() == Timeout()
    assert Timeout(total=300) == Timeout(total=300)
    assert Timeout() != Timeout(total=300)
    assert Timeout() != 300
    assert 2 == len({Timeout(), Timeout(total=300), Timeout()})
    assert "Timeout(connect=10, read=30, write=30, pool=None, total=300)" == repr(Timeout())
    assert Timeout() == dataclasses.replace(Timeout(read=1), read=30)


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    assert 1 == getattr(Limits(**{name: 1}), name)
    assert None is getattr(Limits(**{name: None}), name)
    for value in (-1, 1.5, True, "5"):
        with pytest.raises(ValueError, match=rf"Limits\({name}=.*\): expected a whole number"):
            Limits(**{name: value})


def test_the_least_of_each_count():
    """Keeping none is a choice; having none would be a deadlock."""
    assert 0 == Limits(max_keepalive=0).max_keepalive
    for name in ("max_connections", "max_per_host"):
        with pytest.raises(ValueError, match="from 1"):
            Limits(**{name: 0})


@pytest.mark.parametrize("name", AGES)
def test_ages(name):
    assert 0 == getattr(Limits(**{name: 0}), name)
    assert None is getattr(Limits(**{name: None}), name)
    for value in (-1, float("nan"), "5"):
        with pytest.raises(ValueError, match=rf"Limits\({name}=.*0 or more"):
            Limits(**{name: value})


@pytest.mark.parametrize(("value", "field"), [(Timeout(), "read"), (Limits(), "max_age")])
def test_values(value, field):
    """Frozen, equal to their likes, hashable, and picklable."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, 1)
    assert type(value)() == value
    assert hash(type(value)()) == hash(value)
    assert value == pickle.loads(pickle.dumps(value))


def test_by_keyword_only():
    with pytest.raises(TypeError):
        Timeout(5)
    with pytest.raises(TypeError):
        Limits(5)


def test_a_bare_number_is_the_total():
    assert Timeout(total=5) == Timeout.of(5)
    assert 30 == Timeout.of(5).read


def test_none_is_no_limit_at_all():
    assert (None,) * 5 == dataclasses.astuple(Timeout.of(None))


def test_a_timeout_is_itself():
    timeout = Timeout(read=1)
    assert timeout is Timeout.of(timeout)


@pytest.mark.parametrize("value", ["5", True, (1, 2), b"1"])
def test_what_is_no_timeout(value):
    with pytest.raises(ValueError, match=r"expected seconds, a fastreq.Timeout, or None"):
        Timeout.of(value)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_bare_number_is_checked(value):
    with pytest.raises(ValueError, match="above 0"):
        Timeout.of(value)


def test_streams_have_a_total_only_where_it_was_given():
    """A stream may well last longer than the default."""
    assert None is Timeout().total_of_stream
    assert None is Timeout(read=1).total_of_stream
    assert 300 == Timeout(total=300).total_of_stream
    assert 5 == Timeout.of(5).total_of_stream
    assert None is pickle.loads(pickle.dumps(Timeout())).total_of_stream


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("allow_redirects", "fastreq spells it follow_redirects="),
        ("verify_ssl", r"fastreq spells it verify=, an option of Client\(\)$"),
        ("ssl", r"fastreq spells it verify=, an option of Client\(\)$"),
        ("proxies", r"fastreq spells it proxy=, an option of Client\(\)$"),
        ("verify", r"it is an option of Client\(\)$"),
        ("max_redirects", r"it is an option of Client\(\)$"),
        ("redirects", r"fastreq spells it max_redirects=, an option of Client\(\)$"),
        ("body", r"fastreq spells it content=, .*request, as in client.post\(url, content=...\)"),
        ("content_type", r"fastreq spells it headers=\{\"Content-Type\": ...\}$"),
        ("query", "fastreq spells it params=$"),
        ("mounts", r"fastreq spells it transport=, an option of Client\(\)$"),
        ("hook", r"fastreq spells it hooks=, an option of Client\(\)$"),
        ("pool", "it takes headers, timeout$"),
        ("stream", r"fastreq spells it the method client.stream\(\)"),
        ("max_connections", r"fastreq spells it limits=fastreq.Limits\(max_connections=...\)"),
        ("timeot", "fastreq spells it timeout="),
        ("xyz", r"it takes headers, timeout"),
    ],
)
def test_a_keyword_that_nobody_knows(given, meant):
    """What was meant: the neighbours' spelling, a slip of the finger, or the list."""
    error = unknown_keyword("request()", given, ["timeout", "headers"])

    assert TypeError is type(error)
    assert str(error).startswith(f"request() has no {given}=; ")
    with pytest.raises(TypeError, match=meant):
        raise error


def test_whose_an_option_is_has_not_changed():
    """The names that errors go by are those of the signatures, and of the types."""
    of_client = set(fastreq.Client.__init__.__kwdefaults__)
    of_request = set(fastreq.Client.request.__kwdefaults__)

    assert of_client - of_request == OF_CLIENT
    assert of_request - of_client == OF_REQUEST
    assert of_request == RequestOptions.__annotations__.keys()
    assert fastreq.Client.request.__kwdefaults__ == REQUEST_OPTIONS


@each_row("name", ["get", "head", "options", "delete", "post", "put", "patch", "query", "stream"])
def test_a_type_checker_knows_the_options(name):
    signature = inspect.signature(getattr(fastreq.Client, name))

    assert "Unpack[RequestOptions]" == signature.parameters["options"].annotation


def test_what_was_not_given_is_shown_as_such():
    assert "..." == repr(UNSET)
