"""TLS without I/O: contexts from options, OpenSSL's verdicts in words, the end of a stream."""

from __future__ import annotations

import os
import ssl
import sys
from importlib import import_module
from typing import Any, NamedTuple

from fastreq.errors import TLSError

MAX_CONTEXTS = 64
"""Contexts kept; each holds a parsed CA bundle, so making one takes 17 ms and some 500 KiB."""


class _Settings(NamedTuple):
    """All that a context is made of: equal settings share one."""

    trust: str  # "none", "system" or "files"
    ca_file: str | None
    ca_dir: str | None
    cert: tuple[str, str | None, str] | None  # certificate, key, password
    key_log: str | None
    changed: tuple[int, ...]  # mtimes: a renewed certificate makes a new context


_contexts: dict[_Settings, ssl.SSLContext] = {}


def check(verify: Any = True, cert: Any = None, trust_env: bool = True) -> None:
    """Refuse wrong options early: looks at types and paths, reads no file.

    Raises:
        ValueError: the kind is wrong.
        OSError: a file or directory is not there (`FileNotFoundError`), or not to be looked at.
        ImportError: verify="system" needs a package that is not installed.
    """
    _settings(verify, cert, trust_env)
    if verify == "system":
        _truststore()


def ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    """The context for these options: made at first use, then shared by all who ask for the same.

    Arguments:
        verify: True trusts certifi's CAs, or those of SSL_CERT_FILE and SSL_CERT_DIR where
            `trust_env` lets them; "system" those of the machine; a path those of a PEM file or of
            a directory made by `openssl rehash`. False trusts everybody. An `ssl.SSLContext` is
            used as it is.
        cert: a client certificate: the path of a PEM file with certificate and key, or
            (certificate, key), or (certificate, key, password).

    Raises:
        TLSError: a file is missing, or is not what it should be.
        ValueError: the kind is wrong.
    """
    if isinstance(verify, ssl.SSLContext):
        check(verify, cert)
        return verify
    try:
        settings = _settings(verify, cert, trust_env)
        context = _contexts.get(settings)
        if context is None:
            context = _contexts.setdefault(settings, _make_context(settings))
            while len(_contexts) > MAX_CONTEXTS:
                _contexts.pop(next(iter(_contexts)), None)
    except (OSError, ImportError) as exc:
        raise TLSError(str(exc)).at("tls") from exc
    return context


def server_name(host: str) -> str:
    """What to ask for in SNI, and to find in the certificate, where the URL says `host`."""
    return host.partition("%")[0].removesuffix(".")


def explain(exc: ssl.SSLError, where: str, port: int) -> TLSError:
    """An error that says what went wrong in a handshake, and what may be done about it."""
    reason: str = getattr(exc, "reason", None) or type(exc).__name__
    code: int | None = getattr(exc, "verify_code", None)
    if code is not None:
        what, detail = _certificate_trouble(exc, code), f"{reason}, verify code {code}"
    else:
        what, detail = _handshake_trouble(reason, port), f"{reason}, SSL error {exc.errno}"
    return TLSError(f"{where}: {what} [OpenSSL: {detail}]")


def take_rest(connection: ssl.SSLObject) -> tuple[bytes, bool]:
    """What a lost connection still holds, and whether the peer said that nothing follows.

    Called when the transport reports the end. Both loops may keep back data that arrived before
    it: asyncio and uvloop when it did not fit the buffer, uvloop also while reading is paused.
    Without the peer's closure alert anybody may have cut the stream (RFC 9112, section 9.8).
    """
    rest = bytearray()
    try:
        while data := connection.read(2**16):
            rest += data
    except ssl.SSLZeroReturnError:
        return bytes(rest), True
    except ssl.SSLError:
        return bytes(rest), False
    return bytes(rest), True


# ---- settings


def _settings(verify: Any, cert: Any, trust_env: bool) -> _Settings:
    trust, ca_file, ca_dir = "files", None, None
    file_option = dir_option = "verify="
    if verify is True or verify == "system":
        trust = "files" if verify is True else "system"
        if trust_env or trust == "system":  # where the machine's are, so truststore looks there too
            ca_file = os.environ.get("SSL_CERT_FILE") or None
            ca_dir = os.environ.get("SSL_CERT_DIR") or None
            file_option, dir_option = "SSL_CERT_FILE=", "SSL_CERT_DIR="
        if trust == "files" and ca_file is ca_dir is None:
            import certifi  # here, as it takes longer to import than all of ssl

            file_option, ca_file = "certifi: ", certifi.where()
    elif verify is False:
        trust = "none"
    elif isinstance(verify, (str, os.PathLike)):
        path = os.fspath(verify)
        ca_file, ca_dir = (None, path) if os.path.isdir(path) else (path, None)
    elif not isinstance(verify, ssl.SSLContext):
        raise ValueError(
            f'verify={verify!r}: expected True, False, "system", a path, or an ssl.SSLContext'
        )
    elif cert is not None:
        raise ValueError("cert=: load it into the SSLContext that is given as verify=")
    certificate = _certificate(cert)
    paths = [("cert=", path) for path in certificate[:2] if path] if certificate else []
    paths += [(file_option, ca_file)] if ca_file is not None else []
    paths += [(dir_option, path) for path in ca_dir.split(os.pathsep)] if ca_dir else []
    changed = (_time_of_change(option, path) for option, path in paths)
    key_log = os.environ.get("SSLKEYLOGFILE")
    return _Settings(trust, ca_file, ca_dir, certificate, key_log, tuple(changed))


def _certificate(cert: Any) -> tuple[str, str | None, str] | None:
    if cert is None:
        return None
    parts = cert if isinstance(cert, tuple) else (cert,)
    if not 1 <= len(parts) <= 3 or not all(isinstance(part, (str, os.PathLike)) for part in parts):
        raise ValueError(
            "cert=: expected a path, (certificate, key), or (certificate, key, password)"
        )
    given = [os.fspath(part) for part in parts]
    key = given[1] if len(given) > 1 else None
    # "" rather than no password: OpenSSL would ask for it on the terminal.
    password = given[2] if len(given) > 2 else ""
    return given[0], key, password


def _time_of_change(option: str, path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError as exc:
        raise type(exc)(f"{option}{path!r}: {exc.strerror}") from None


def _make_context(settings: _Settings) -> ssl.SSLContext:
    context = _trusting(settings)
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.hostname_checks_common_name = False
    context.set_alpn_protocols(["http/1.1"])
    if settings.cert is not None:
        try:
            context.load_cert_chain(*settings.cert)
        except ssl.SSLError as exc:
            raise OSError(
                f"cert={settings.cert[:2]!r}: no certificate with its key in PEM form, "
                f"or not the password of the key [OpenSSL: {exc.reason or exc}]"
            ) from exc
        context.post_handshake_auth = True
    return context


def _trusting(settings: _Settings) -> ssl.SSLContext:
    """A context as the interpreter has it by default (strict X.509 from 3.13), with our CAs."""
    if settings.trust == "system":
        context: ssl.SSLContext = _truststore().SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if settings.key_log:
            context.keylog_filename = settings.key_log
        return context
    try:
        context = ssl.create_default_context(cafile=settings.ca_file, capath=settings.ca_dir)
    except ssl.SSLError as exc:
        raise OSError(
            f"{settings.ca_file or settings.ca_dir!r}: no CA certificate in PEM form in it "
            f"[OpenSSL: {exc.reason or exc}]"
        ) from exc
    except OSError as exc:
        culprit = "SSLKEYLOGFILE=" if exc.filename == settings.key_log else "verify="
        raise OSError(f"{culprit}{exc.filename or settings.ca_file!r}: {exc.strerror}") from exc
    if settings.trust == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _truststore() -> Any:
    try:
        return import_module("truststore")
    except ImportError as exc:
        raise ImportError(
            'verify="system" needs truststore: pip install "fastreq-http[system-certs]"'
        ) from exc


# ---- what OpenSSL means

_UNKNOWN_CA = (
    'pass the CA that signs here (a company\'s, perhaps) as verify="/path/ca.pem", '
    'or verify="system" for those of this machine'
)

_CERTIFICATE_TROUBLES = {
    9: "the certificate, or one above it, is not valid yet; is the clock of this machine right?",
    10: "the certificate, or one above it, has expired",
    18: 'the certificate is self-signed; to trust it, pass it as verify="/path/it.pem"',
    19: f"the certificate chain ends in a CA that is not trusted; {_UNKNOWN_CA}",
    20: f"the certificate is signed by a CA that is not known here; {_UNKNOWN_CA}",
    21: f"the certificate is signed by a CA that is not known here; {_UNKNOWN_CA}",
    23: "the certificate has been revoked",
}

_WRONG_NAME = (62, 63, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, EMAIL_..., IP_ADDRESS_...

_STRICT = range(80, 94)
"""X509_V_ERR_PATHLEN_INVALID_FOR_NON_CA and what follows: checked only where asked to be strict."""

_NOT_TLS = {
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "UNKNOWN_PROTOCOL",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "BAD_RECORD_TYPE",
}


def _certificate_trouble(exc: ssl.SSLError, code: int) -> str:
    message = getattr(exc, "verify_message", "").rstrip(".")
    if code in _WRONG_NAME:
        return f"the certificate is for another name: {message}"
    if code in _CERTIFICATE_TROUBLES:
        return _CERTIFICATE_TROUBLES[code]
    what = f"the certificate is refused: {message}"
    if code in _STRICT and sys.version_info >= (3, 13):
        what += (
            "; Python 3.13 and later are strict about X.509, which old company CAs do not survive: "
            "renew the CA, or pass as verify= an SSLContext without ssl.VERIFY_X509_STRICT"
        )
    return what


def _handshake_trouble(reason: str, port: int) -> str:
    if reason in _NOT_TLS:
        return f"the server does not speak TLS on port {port}; is it http://, or another port?"
    if "CERTIFICATE_REQUIRED" in reason:
        return "the server wants a client certificate; pass one as cert="
    if "PROTOCOL_VERSION" in reason or reason == "UNSUPPORTED_PROTOCOL":
        return "the server speaks no TLS that we do; we want 1.2 or later"
    if "UNRECOGNIZED_NAME" in reason:
        return "the server does not know this name"
    if "_ALERT_" in reason:
        alert = reason.partition("_ALERT_")[2].lower().replace("_", " ")
        return f'the server broke off the handshake with the alert "{alert}"'
    if "EOF" in reason:
        return "the server closed the connection in the middle of the handshake"
    return "the TLS handshake failed"
