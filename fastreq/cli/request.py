"""The request that `get` and `bench` are told to make, and the arguments that say it."""

from __future__ import annotations

import argparse

from fastreq import Client, Request, Timeout
from fastreq.cli import arguments

FORM = [("Content-Type", "application/x-www-form-urlencoded")]
JSON = [("Content-Type", "application/json"), ("Accept", "application/json")]


def add_header(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-H", "--header", metavar="'NAME: VALUE'", dest="headers",
        type=arguments.field, action="append", default=[], help="may be repeated",
    )  # fmt: skip


def add_data(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "-d", "--data", type=arguments.content, help="a form as the body, or @FILE, or @- for stdin"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("-k", "--insecure", action="store_true", help="accept any certificate")
    trust.add_argument("--cacert", metavar="FILE", type=arguments.existing, help="whom to trust")


def verify_of(options: argparse.Namespace) -> bool | str:
    """What `add_trust` was told, as `Client(verify=)` has it."""
    return False if options.insecure else options.cacert or True


def timeout_of(seconds: float | None) -> Timeout:
    """The time for all of it, which then is the only limit; or the usual ones."""
    if seconds is None:
        return Timeout()
    return Timeout(connect=None, read=None, write=None, total=seconds)


def fields_of(options: argparse.Namespace, usual: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields that were given, and of the usual ones those that were not."""
    own = {name.lower() for name, _ in options.headers}
    return [*(field for field in usual if field[0].lower() not in own), *options.headers]


def request_of(
    client: Client, options: argparse.Namespace, body: bytes | None, usual: list[tuple[str, str]]
) -> Request:
    """Make the request: GET, or POST where there is a body, unless a method was given.

    Raises:
        FastreqError: it cannot be sent.
    """
    method = options.method or ("GET" if body is None else "POST")
    headers = fields_of(options, usual)
    return client.build_request(method, options.url, headers=headers, content=body)
