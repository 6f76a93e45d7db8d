"""Makes docs/reference.md of the signatures and docstrings: `python docs/make_reference.py`.

A test compares the page with what this makes. Names that begin with "_", and those in INTERNAL, are
left out; so is what a class does not define itself.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastreq
import fastreq.testing

PAGE = Path(__file__).parent / "reference.md"
HEAD = """\
# Reference

Made from the docstrings by `docs/make_reference.py`. What is not here is fastreq's own, and may
change.
"""
INTERNAL = set(
    """
    at attach block is_plain jar of pieces received sets_cookies snapshot total_of_stream
    when_ended with_one_more
    """.split()
)
GROUPS = {
    "Clients": "Client StreamClient ByteStream Upgraded Transport PoolStats OriginStats",
    "One request, or a few": "request get head options post put patch delete query gather",
    "Many": "Result Results Progress fan_out FanOutReport",
    "Messages": "Request Response Headers URL Cookies Cookie Timings ServerSentEvent",
    "Options": "Timeout Limits Retry Policy Address",
    "Auth": "Auth Basic Bearer Digest Netrc",
    "Hooks": """
        Hooks RequestSent ResponseHeadReceived ResponseEnded NameResolved ConnectionOpened
        ConnectionReused ConnectionClosed RetryScheduled RedirectFollowed
    """,
    "Running": "run new_event_loop install",
}
WIDTH = 80


def reference() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, names in GROUPS.items():
        parts.append(f"## {title}\n")
        for name in names.split():
            parts += entries(f"fastreq.{name}", getattr(fastreq, name))
    parts.append("## Errors\n\n[Errors](errors.md) shows them as a tree.\n")
    for name, thing in exported_errors():
        parts += entries(f"fastreq.{name}", thing)
    parts.append("## `fastreq.testing`\n")
    for name in ("MockTransport", "Server"):
        parts += entries(f"fastreq.testing.{name}", getattr(fastreq.testing, name))
    return "\n".join(parts)


def exported_errors() -> Iterator[tuple[str, type[Exception]]]:
    for name in fastreq.__all__:
        thing = getattr(fastreq, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            yield name, thing


def entries(name: str, thing: Any) -> Iterator[str]:
    """A name, and what it has if it is a class."""
    yield entry("###", name, thing)
    if isinstance(thing, type):
        for member, what in vars(thing).items():
            what = getattr(what, "__func__", what)  # of a class method
            if is_shown(member) and (isinstance(what, property) or callable(what)):
                yield entry("####", f"{thing.__name__}.{member}", what)


def is_shown(member: str) -> bool:
    return not member.startswith("_") and member not in INTERNAL


def entry(level: str, name: str, thing: Any) -> str:
    said = inspect.getdoc(thing) or ""
    if callable(thing):
        said = f"{name.rpartition('.')[2]}{signature(thing)}\n\n{said}"
    return f"{level} `{name}`\n\n```text\n{said.strip()}\n```\n"


def signature(thing: Any) -> str:
    """The parameters: a line for each, unless all fit into one."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return ""
    parts = list(parts_of(parameters))
    line = f"({', '.join(parts)})"
    return line if len(line) < WIDTH else "(\n    " + ",\n    ".join(parts) + ",\n)"


def parts_of(parameters: Any) -> Iterator[str]:
    named = False
    for one in parameters:
        if one.name in ("self", "cls", "unknown") or one.name.startswith("_"):
            continue
        if one.kind is one.KEYWORD_ONLY and not named:
            yield "*"
        named = named or one.kind in (one.KEYWORD_ONLY, one.VAR_POSITIONAL)
        stars = {one.VAR_KEYWORD: "**", one.VAR_POSITIONAL: "*"}.get(one.kind, "")
        note = getattr(one.annotation, "__forward_arg__", one.annotation)
        text = stars + one.name + ("" if note is one.empty else f": {note}")
        yield text if one.default is one.empty else f"{text} = {default(one.default)}"


def default(value: object) -> str:
    if isinstance(value, frozenset):  # in an order that stays
        return "{" + ", ".join(map(repr, sorted(value))) + "}" if len(value) < 20 else "..."
    return re.sub(r"<.*>", "...", repr(value))


if __name__ == "__main__":
    PAGE.write_text(reference())
