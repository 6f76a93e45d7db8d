"""`fastreq get URL`: the body to stdout or a file, as it comes."""

from __future__ import annotations

import argparse
from contextlib import aclosing

import fastreq
from fastreq import Client, Request
from fastreq.cli import arguments, exits, verbose
from fastreq.cli.output import opened
from fastreq.cli.request import (
    FORM,
    JSON,
    add_data,
    add_header,
    add_trust,
    request_of,
    timeout_of,
    verify_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Fetch a URL. The body goes to stdout as it comes, decoded."
    parser.epilog = exits.table()
    add = parser.add_argument
    add("url", metavar="URL")
    add("-v", "--verbose", action="store_true", help="show requests and response heads on stderr")
    add("-o", "--output", metavar="FILE", help="write FILE.part, and rename it when it is whole")
    add("-f", "--fail", action="store_true", help="a status of 400 or above is an error (22)")
    add("-X", "--method", "--request", metavar="METHOD", help="GET, or POST where there is a body")
    add_header(parser)
    body = parser.add_mutually_exclusive_group()
    add_data(body)
    body.add_argument(
        "--json", metavar="DATA", type=arguments.content, help="JSON as the body, likewise"
    )
    add("-m", "--timeout", metavar="SECONDS", type=arguments.seconds, help="for all of it")
    add_trust(parser)
    add("--no-follow", action="store_true", help="do not follow redirects")


def run(options: argparse.Namespace) -> int:
    return fastreq.run(fetch(options))


async def fetch(options: argparse.Namespace) -> int:
    """Send the request, and copy the body of its response to where it belongs."""
    async with Client(
        timeout=timeout_of(options.timeout),
        verify=verify_of(options),
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


def _request(client: Client, options: argparse.Namespace) -> Request:
    if options.data is not None:
        return request_of(client, options, options.data, FORM)
    if options.json is not None:
        return request_of(client, options, options.json, JSON)
    return request_of(client, options, None, [])
