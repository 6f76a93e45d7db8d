"""`fastreq get URL`: the body to stdout or a file, as it comes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from typing import NoReturn

import fastreq
from fastreq import Client, Request, Response, Timeout
from fastreq.cli import arguments, exits
from fastreq.cli.output import opened
from fastreq.http1.request import encode_head


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Fetch a URL. The body goes to stdout as it comes, decoded."
    parser.epilog = exits.TABLE
    add = parser.add_argument
    add("url", metavar="URL")
    add("-v", "--verbose", action="store_true", help="show requests and response heads on stderr")
    add("-o", "--output", metavar="FILE", help="write FILE.part, and rename it when it is whole")
    add("-f", "--fail", action="store_true", help="a status of 400 or above is an error (22)")
    add("-X", "--method", "--request", metavar="METHOD", help="GET, or POST where there is a body")
    add(
        "-H", "--header", metavar="'NAME: VALUE'", dest="headers",
        type=arguments.field, action="append", default=[], help="may be repeated",
    )  # fmt: skip
    body = parser.add_mutually_exclusive_group()
    body.add_argument("-d", "--data", help="a form as the body, or @FILE, or @- for stdin")
    body.add_argument("--json", metavar="DATA", help="JSON as the body, likewise")
    add("-m", "--timeout", metavar="SECONDS", type=arguments.seconds, help="for all of it")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("-k", "--insecure", action="store_true", help="accept any certificate")
    trust.add_argument("--cacert", metavar="FILE", type=arguments.existing, help="whom to trust")
    add("--no-follow", action="store_true", help="do not follow redirects")


def run(options: argparse.Namespace) -> int:
    # asyncio's own handler asks the task to end, which it cannot while nobody reads our stdout.
    signal.signal(signal.SIGINT, _interrupt)
    return fastreq.run(fetch(options))


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


async def fetch(options: argparse.Namespace) -> int:
    """Send the request, and copy the body of its response to where it belongs."""
    async with Client(
        timeout=_timeout(options.timeout),
        verify=False if options.insecure else options.cacert or True,
        follow_redirects=not options.no_follow,
    ) as client:
        request = _request(client, options)
        show = _show if options.verbose else _keep_silent
        with opened(options.output) as write:
            show(">", encode_head(request))
            async with aclosing(await client.send(request, stream=True)) as response:
                _show_heads(response, show)
                if options.fail:
                    response.raise_for_status()
                async for piece in response.iter_bytes():
                    write(piece)
            show("*", _course(response))
    return exits.OK


# ---- the request


def _timeout(seconds: float | None) -> Timeout:
    """The time for all of it, which then is the only limit; or the usual ones."""
    if seconds is None:
        return Timeout()
    return Timeout(connect=None, read=None, write=None, total=seconds)


def _request(client: Client, options: argparse.Namespace) -> Request:
    headers, body = [], None
    if options.data is not None:
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
        body = _content(options.data)
    elif options.json is not None:
        headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
        body = _content(options.json)
    method = options.method or ("GET" if body is None else "POST")
    own = {name.lower() for name, _ in options.headers}
    headers = [(name, value) for name, value in headers if name.lower() not in own]
    return client.build_request(
        method, options.url, headers=[*headers, *options.headers], content=body
    )


def _content(data: str) -> bytes:
    """The bytes of an argument, of the file that it names as `@FILE`, or of stdin, as `@-`."""
    if not data.startswith("@"):
        return os.fsencode(data)
    if data == "@-":
        return sys.stdin.buffer.read()
    with open(data[1:], "rb") as file:
        return file.read()


# ---- what -v shows

Show = Callable[[str, bytes], None]


def _show(mark: str, block: bytes) -> None:
    """Show lines on stderr, and nothing in them that a terminal would obey."""
    text = block.removesuffix(b"\r\n").decode("ascii", "backslashreplace")
    for line in text.split("\r\n"):
        print(f"{mark} {line}".rstrip(), file=sys.stderr)


def _keep_silent(mark: str, block: bytes) -> None: ...


def _show_heads(response: Response, show: Show) -> None:
    """The responses, and the requests that followed redirects; the first was shown before."""
    for number, one in enumerate([*response.history, response]):
        if number:
            show(">", encode_head(one.request))
        status = f"{one.http_version} {one.status} {one.status_message}".rstrip().encode("latin-1")
        fields = b"".join(b"%b: %b\r\n" % field for field in one.headers.raw)
        show("<", b"%b\r\n%b\r\n" % (status, fields))


def _course(response: Response) -> bytes:
    """Where it came from, and how long each phase took."""
    peer = response.remote_address
    peer = peer if isinstance(peer, str) else "{} port {}".format(*peer)
    phases = ((name, value) for name, value in response.timings._asdict().items() if value)
    times = ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in phases)
    return f"{peer}: {times}".encode("utf-8", "surrogateescape")
