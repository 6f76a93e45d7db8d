"""The command line: a file per command, imported when it is called.

    fastreq URL          as `fastreq get URL`
    fastreq COMMAND ...  `fastreq COMMAND --help` tells more

A command's module has `add_arguments(parser)`, and `run(options)`, which gives the exit code.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from fastreq import FastreqError, __version__
from fastreq.cli.arguments import Parser
from fastreq.cli.exits import INTERRUPTED, OK, USAGE, WRITE, report
from fastreq.loop import asked_for

COMMANDS = {
    "get": "fetch a URL; what `fastreq URL` does",
    "download": "save a large file, in segments if need be; goes on after any break",
    "fetch": "fetch a list of URLs; a row of JSON for each",
    "bench": "the same request many times: latencies, and how other clients do",
    "doctor": "what is found here: loop, TLS, proxies, limits; and what to change",
    "demo": "thousands of requests to a server of its own, each answer checked",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default, this process's), and give its exit code."""
    _open_standard_streams()
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except SystemExit as exc:  # argparse's
        return exc.code if isinstance(exc.code, int) else USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads any more, as in `fastreq URL | head`
        _drop_output()
        return WRITE
    except (FastreqError, OSError) as exc:
        return report(exc)
    return code


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "--version"):
        return _overview(arguments)
    if meant := _meant(arguments[0]):
        print(f"fastreq: {arguments[0]!r} is no command; did you mean {meant!r}?", file=sys.stderr)
        return USAGE
    command = arguments.pop(0) if arguments[0] in COMMANDS else "get"
    module = import_module(f"fastreq.cli.{command}")
    parser = Parser(command)
    module.add_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        asked_for()
    except ValueError as exc:
        parser.error(str(exc))
    code: int = module.run(options)
    return code


def _meant(word: str) -> str:
    """The command that a word is a slip of; "" where it is one, or may be a URL or an option."""
    if word in COMMANDS or not word.isalpha():
        return ""
    from difflib import get_close_matches  # for this alone

    return "".join(get_close_matches(word, COMMANDS, 1, 0.75))


def _overview(arguments: list[str]) -> int:
    """What there is, for those who did not say what they want."""
    parser = Parser(
        usage="fastreq URL [options]\n       fastreq COMMAND [options]",
        epilog="commands:\n"
        + "".join(f"  {name:10}{text}\n" for name, text in COMMANDS.items())
        + "\n`fastreq COMMAND --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastreq {__version__}")
    parser.parse_args(arguments)
    parser.print_help(None if arguments else sys.stderr)
    return OK if arguments else USAGE


def _open_standard_streams() -> None:
    """Open those that were closed, as by `2>&-`: the next socket would take their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, open(nowhere, mode, closefd=False))  # noqa: SIM115


def _drop_output() -> None:
    """Let what is still to be written go nowhere, so that Python does not complain when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
