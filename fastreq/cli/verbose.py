"""What `-v` shows on stderr: connections, heads, times."""

from __future__ import annotations

import sys
from typing import Any

from fastreq import ConnectionOpened, Hooks, NameResolved, RequestSent, Response
from fastreq import ResponseHeadReceived as HeadReceived
from fastreq.http1.request import encode_head
from fastreq.showing import times


def showing() -> Hooks:
    """Hooks that show a request as it advances."""
    return Hooks(
        request_sent=_show_request,
        dns=_show_addresses,
        connection_opened=_show_connection,
        response_head=_show_response,
    )


def show_times(response: Response) -> None:
    """Show how long each phase took."""
    _show("*", times(response.timings._asdict()))


def _show_request(event: RequestSent) -> None:
    _show(">", encode_head(event.request))


def _show_addresses(event: NameResolved) -> None:
    addresses = ", ".join(event.addresses)
    _show("*", f"{event.host} is {addresses} ({event.seconds * 1000:.1f} ms)")


def _show_connection(event: ConnectionOpened) -> None:
    shown = times({"connect": event.connect, "tls": event.tls})
    _show("*", f"connected to {_address(event.remote_address)} ({shown})")


def _show_response(event: HeadReceived) -> None:
    response = event.response
    status = f"{response.http_version} {response.status} {response.status_message}".rstrip()
    fields = b"".join(b"%b: %b\r\n" % field for field in response.headers.raw)
    _show("<", b"%b\r\n%b\r\n" % (status.encode("latin-1"), fields))


def _address(peer: Any) -> str:
    return peer if isinstance(peer, str) else "{} port {}".format(*peer)


def _show(mark: str, block: bytes | str) -> None:
    """Show lines, and nothing in them that a terminal would obey."""
    raw = block.encode("utf-8", "surrogateescape") if isinstance(block, str) else block
    text = raw.removesuffix(b"\r\n").decode("ascii", "backslashreplace")
    for line in text.split("\r\n"):
        print(f"{mark} {line}".rstrip(), file=sys.stderr)
