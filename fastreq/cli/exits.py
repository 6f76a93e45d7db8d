"""Exit codes, which are curl's, and the line that goes with each."""

from __future__ import annotations

import ssl
import sys

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

TABLE = """\
exit codes, as of curl:
   0  done                      28  a time ran out
   2  wrong arguments           35  TLS handshake
   3  no valid URL              47  too many redirects
   6  no such host              55  the request could not be sent
   7  cannot connect            56  the response broke off
  22  status 400 or above (-f)  60  certificate refused
  23  cannot write              61  the body cannot be decoded
"""


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
