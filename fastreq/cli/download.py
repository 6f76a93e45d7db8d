"""`fastreq download URL`: a large file, in segments if need be, gone on with after any break."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from contextlib import nullcontext
from time import monotonic
from urllib.parse import unquote

import fastreq
from fastreq import URL, Client, FastreqError, Timeout
from fastreq.bulk.download import Checksum
from fastreq.bulk.progress import Progress as State
from fastreq.bulk.progress import size_shown
from fastreq.cli import arguments, exits
from fastreq.cli.progress import progress
from fastreq.cli.request import add_header, add_trust, verify_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Save what a URL gives in a file, which is there once it is complete. What comes\n"
        "is kept in FILE.part; broken off, interrupted or killed, the same command goes\n"
        "on from there, where the server has an ETag or Last-Modified to go on by."
    )
    parser.epilog = exits.table({22: "status 400 or above"}) + " 130  Ctrl-C\n"
    add = parser.add_argument
    add("url", metavar="URL")
    add("-o", "--output", metavar="FILE", help="or a folder [the last part of the URL's path]")
    add("--segments", metavar="N", type=arguments.count, default=1, help="ranges at once [1]")
    add("--checksum", metavar="NAME:HEX", type=_checksum, help="such as sha256:9f86d0...")
    add("--no-resume", action="store_true", help="begin anew")
    add("-q", "--quiet", action="store_true", help="show nothing but errors")
    add_header(parser)
    add(
        "--silence", metavar="SECONDS", type=arguments.seconds, default=30.0,
        help="the longest, before it is asked for anew [30]",
    )  # fmt: skip
    add_trust(parser)


def _checksum(text: str) -> str:
    try:
        Checksum(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc).removeprefix("checksum=")) from exc
    return text


def run(options: argparse.Namespace) -> int:
    if options.output == "-":
        print("fastreq: a download needs a file; `fastreq URL` is for stdout", file=sys.stderr)
        return exits.USAGE
    path = _path(options)
    if not path:
        print("fastreq: the URL has no name for a file; write -o FILE", file=sys.stderr)
        return exits.USAGE
    try:
        return fastreq.run(_download(options, path))
    except KeyboardInterrupt:
        if not _show_how_to_go_on(path):
            print(f"nothing of {path} is kept; the next time begins anew", file=sys.stderr)
        return exits.INTERRUPTED
    except (FastreqError, OSError) as exc:
        code = exits.report(exc)
        _show_how_to_go_on(path)
        return code


def _path(options: argparse.Namespace) -> str:
    """Where it is to be saved, as a plain file; "" where that cannot be told.

    Raises:
        InvalidURL: the URL is none.
        FileExistsError: there is something else of that name.
        NotADirectoryError: there is no such folder.
    """
    path: str = options.output or ""
    if path.endswith(os.sep) and not os.path.isdir(path):
        raise NotADirectoryError(f"there is no folder {path}")
    if not path or os.path.isdir(path):
        name = unquote(URL(options.url).path.rpartition("/")[2])
        if name in ("", ".", "..") or not name.isprintable() or {"/", os.sep} & set(name):
            return ""
        path = os.path.join(path, name)
    path = os.path.realpath(path)  # a link stays a link
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileExistsError(f"{path} is no plain file")
    return path


async def _download(options: argparse.Namespace, path: str) -> int:
    started = monotonic()
    name = os.path.basename(path)
    size = 0

    def tell(state: State) -> None:
        nonlocal size
        size = state.done
        if counter is not None:
            counter.done, counter.total, counter.before = state.done, state.total, state.before

    showing = nullcontext() if options.quiet else progress(name, None, size_shown)
    async with (
        Client(verify=verify_of(options), timeout=Timeout(read=options.silence)) as client,
        showing as counter,
    ):
        await client.download(
            options.url,
            path,
            resume=not options.no_resume,
            checksum=options.checksum,
            segments=options.segments,
            headers=options.headers,
            progress=tell,
        )
    if not options.quiet:
        seconds = monotonic() - started
        print(f"{name}: {size_shown(size)} in {seconds:.1f} s", file=sys.stderr)
    return exits.OK


def _show_how_to_go_on(path: str) -> bool:
    """Say how, if something was kept that can be gone on with; gives whether it was."""
    is_kept = os.path.exists(f"{path}.part.json")
    if is_kept:
        again = [word for word in sys.argv[1:] if word != "--no-resume"]
        print(f"to go on: {exits.program()} {shlex.join(again)}", file=sys.stderr)
    return is_kept
