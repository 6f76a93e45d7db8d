"""`fastreq get URL`: the body to stdout or a file, as it comes."""

from __future__ import annotations

import argparse
from contextlib import aclosing

import fastreq
from fastreq import Client, Request, Timeout
from fastreq.cli import arguments, exits, verbose
from fastreq.cli.output import opened


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
    body.add_argument(
        "-d", "--data", type=arguments.content, help="a form as the body, or @FILE, or @- for stdin"
    )
    body.add_argument(
        "--json", metavar="DATA", type=arguments.content, help="JSON as the body, likewise"
    )
    add("-m", "--timeout", metavar="SECONDS", type=arguments.seconds, help="for all of it")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("-k", "--insecure", action="store_true", help="accept any certificate")
    trust.add_argument("--cacert", metavar="FILE", type=arguments.existing, help="whom to trust")
    add("--no-follow", action="store_true", help="do not follow redirects")


def run(options: argparse.Namespace) -> int:
    return fastreq.run(fetch(options))


async def fetch(options: argparse.Namespace) -> int:
    """Send the request, and copy the body of its response to where it belongs."""
    async with Client(
        timeout=_timeout(options.timeout),
        verify=False if options.insecure else options.cacert or True,
        follow_redirects=not options.no_follow,
        hooks=verbose.showing() if options.verbose else None,
    ) as client:
        request = _request(client, options)
        with opened(options.output) as write:
            async with aclosing(await client.send(request, stream=True)) as response:
                if options.fail:
                    response.raise_for_status()
                async for piece in response.iter_bytes():
                    write(piece)
            if options.verbose:
                verbose.show_times(response)
    return exits.OK


def _timeout(seconds: float | None) -> Timeout:
    """The time for all of it, which then is the only limit; or the usual ones."""
    if seconds is None:
        return Timeout()
    return Timeout(connect=None, read=None, write=None, total=seconds)


def _request(client: Client, options: argparse.Namespace) -> Request:
    headers, body = [], None
    if options.data is not None:
        headers = [("Content-Type", "application/x-www-form-urlencoded")]
        body = options.data
    elif options.json is not None:
        headers = [("Content-Type", "application/json"), ("Accept", "application/json")]
        body = options.json
    method = options.method or ("GET" if body is None else "POST")
    own = {name.lower() for name, _ in options.headers}
    headers = [(name, value) for name, value in headers if name.lower() not in own]
    return client.build_request(
        method, options.url, headers=[*headers, *options.headers], content=body
    )
