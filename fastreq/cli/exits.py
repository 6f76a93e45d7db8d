"""Exit codes, which are curl's, and the line that goes with each."""

from __future__ import annotations

import os
import shlex
import ssl
import sys
from collections.abc import Mapping
from itertools import zip_longest

from fastreq import (
    ConnectError,
    DecodingError,
    DNSError,
    HTTPStatusError,
    InvalidURL,
    LocalProtocolError,
    TimeoutException,
    TLSError,
    TooManyRedirects,
    TransportError,
    UnsupportedProtocol,
    WriteError,
)

OK = 0
WRONG = 1  # ours: an answer was not what it should be
USAGE = 2
BAD_URL = 3
DNS = 6
CONNECT = 7
STATUS = 22
WRITE = 23  # to a file, or to stdout
TIMEOUT = 28
TLS = 35
REDIRECTS = 47
SEND = 55
RECEIVE = 56
CERTIFICATE = 60
DECODING = 61
INTERRUPTED = 130  # the shell's: 128 + SIGINT
KILLED = 137  # the shell's: 128 + SIGKILL; of workers, again and again

# The first that fits counts.
_CODES: tuple[tuple[type[Exception], int], ...] = (
    (InvalidURL, BAD_URL),
    (UnsupportedProtocol, BAD_URL),
    (LocalProtocolError, USAGE),
    (DNSError, DNS),
    (TLSError, TLS),
    (ConnectError, CONNECT),
    (TimeoutException, TIMEOUT),
    (WriteError, SEND),
    (TransportError, RECEIVE),
    (HTTPStatusError, STATUS),
    (TooManyRedirects, REDIRECTS),
    (DecodingError, DECODING),
    (OSError, WRITE),
)

_MEANINGS = {
    OK: "done",
    USAGE: "wrong arguments",
    BAD_URL: "no valid URL",
    DNS: "no such host",
    CONNECT: "cannot connect",
    STATUS: "status 400 or above (-f)",
    WRITE: "cannot write",
    TIMEOUT: "a time ran out",
    TLS: "TLS handshake",
    REDIRECTS: "too many redirects",
    SEND: "the request could not be sent",
    RECEIVE: "the response broke off",
    CERTIFICATE: "certificate refused",
    DECODING: "the body is not what it should be",
}


def table(meanings: Mapping[int, str] | None = None) -> str:
    """The codes and what they mean, for the help of a command that gives them to some in its own
    way."""
    lines = [f"{code:4}  {text}" for code, text in {**_MEANINGS, **(meanings or {})}.items()]
    half = (len(lines) + 1) // 2
    rows = zip_longest(lines[:half], lines[half:], fillvalue="")
    return "exit codes are curl's:\n" + "".join(f"{a:38}{b}".rstrip() + "\n" for a, b in rows)


def program() -> str:
    """How this was called, for a command that is to be typed again.

    There may be another `fastreq` on the PATH than the one that `python -m fastreq` is.
    """
    if os.path.basename(sys.argv[0]) == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m fastreq"
    return "fastreq"


def code_of(error: Exception) -> int:
    """The exit code for an error."""
    if isinstance(error, TLSError) and isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return CERTIFICATE
    return next((code for kind, code in _CODES if isinstance(error, kind)), WRONG)


def report(error: Exception) -> int:
    """Say on stderr what went wrong, in one line; gives the exit code."""
    text = " ".join(str(error).split())
    print(f"fastreq: {type(error).__name__}: {text}", file=sys.stderr)
    return code_of(error)
