"""What `fastreq doctor` looks at: each check gives findings, and raises nothing."""

from __future__ import annotations

import asyncio
import os
import platform
import ssl
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple

import fastreq
from fastreq import URL, Client, FastreqError, Timeout, new_event_loop, tls
from fastreq.policies.proxies import Proxies, Proxy

OK, WARNING, FAILED = "ok", "warning", "failed"

DESCRIPTORS: Final = 4096
"""What 500 connections, as many files, and a program around them get along with."""

SLOW_DNS: Final = 1.0  # seconds

OLD: Final = timedelta(days=365)  # authorities come and go

SECONDS: Final = 10  # for the URL that is tried

PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

EXTRAS: Final = {  # what pyproject.toml lists: distribution → module
    "speed": {"zlib-ng": "zlib_ng"},
    "brotli": {"brotli": "brotli"},
    "zstd": {"backports.zstd": "backports.zstd"},
    "idna": {"idna": "idna"},
    "cookies": {"publicsuffixlist": "publicsuffixlist"},
    "system-certs": {"truststore": "truststore"},
    "cli": {"rich": "rich", "trustme": "trustme"},
    "crawl": {"protego": "protego", "warcio": "warcio"},
    "dask": {"distributed": "distributed"},
}


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    level: str  # OK, WARNING, or FAILED
    text: str
    advice: str = ""  # what to do, where there is something to do
    facts: dict[str, Any] | None = None  # the same for programs


# ---- this program


def python() -> Iterator[Finding]:
    """The interpreter, and where it is."""
    kind, number = platform.python_implementation(), platform.python_version()
    text = f"fastreq {fastreq.__version__}, {kind} {number}, {sys.executable}"
    facts = {"fastreq": fastreq.__version__, "python": number, "executable": sys.executable}
    yield Finding("python", OK, text, facts=facts)


def loop() -> Iterator[Finding]:
    """The event loop that `fastreq.run()` uses."""
    made = new_event_loop()
    made.close()
    used = type(made).__module__.partition(".")[0]
    name = "winloop" if sys.platform == "win32" else "uvloop"
    number = _version(name)
    facts = {"used": used, name: number}
    if used == name:
        yield Finding("loop", OK, f"{name} {number}, used", facts=facts)
    elif os.environ.get("FASTREQ_LOOP") == "asyncio":
        text = f"asyncio, as FASTREQ_LOOP says; {name} {number or 'is not installed'}"
        yield Finding("loop", OK, text, facts=facts)
    elif number:
        advice = f"python -c 'import {name}' says why"
        yield Finding("loop", WARNING, f"asyncio; {name} {number} is not usable", advice, facts)
    else:
        advice = f"pip install {name}: it is faster"
        yield Finding("loop", WARNING, f"asyncio; {name} is not installed", advice, facts)


def extras() -> Iterator[Finding]:
    """What may be installed beside."""
    for extra, modules in EXTRAS.items():
        if extra == "zstd" and sys.version_info >= (3, 14):
            yield Finding("extra zstd", OK, "part of this Python")
            continue
        if extra == "brotli" and platform.python_implementation() != "CPython":
            modules = {"brotlicffi": "brotlicffi"}
        found = {name: _version(name) for name, module in modules.items() if _is_there(module)}
        missing = [name for name in modules if name not in found]
        shown = [f"{name} {number}" for name, number in found.items()]
        shown += [f"{name} is not installed" for name in missing]
        advice = f"pip install 'fastreq-http[{extra}]' for it" if missing else ""
        facts = {**found, **dict.fromkeys(missing)}
        yield Finding(f"extra {extra}", OK, ", ".join(shown), advice, facts)


def others() -> Iterator[Finding]:
    """What else is called `fastreq`: a script of another environment, or another package."""
    clean = True
    own = Path(fastreq.__file__).resolve().parent
    here = {Path(sys.executable).parent, Path(sys.prefix, "bin"), Path(sys.prefix, "Scripts")}
    for number, script in enumerate(_scripts()):
        if script.parent not in here:
            clean = False
            level = OK if number else WARNING  # only the first is what a shell runs
            advice = "" if number else f"write {sys.executable} -m fastreq, or set PATH right"
            text = f"{script} on the PATH is of another environment"
            yield Finding("other fastreq", level, text, advice)
    for name in sorted(set(packages_distributions().get("fastreq", ())) - {"fastreq-http"}):
        clean = False
        advice = f"pip uninstall {name}, then pip install --force-reinstall fastreq-http"
        yield Finding("other fastreq", WARNING, f"{name} {_version(name)} has that name", advice)
    for folder in map(Path, sys.path):
        # A file "fastreq" is no module: of an installed script it is the script itself.
        for found in (folder / "fastreq" / "__init__.py", folder / "fastreq.py"):
            if found.is_file() and found.resolve() != own / "__init__.py":
                clean = False
                advice = "only the first that is found counts; remove the other"
                yield Finding("other fastreq", WARNING, f"{found}, beside {own}", advice)
    if clean:
        yield Finding("other fastreq", OK, "none")


def _scripts() -> list[Path]:
    names = ("fastreq.exe", "fastreq") if sys.platform == "win32" else ("fastreq",)
    folders = dict.fromkeys(filter(None, os.environ.get("PATH", "").split(os.pathsep)))
    paths = [Path(folder, name) for folder in folders for name in names]
    return [path for path in paths if os.access(path, os.X_OK) and path.is_file()]


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # of the package that it is in
        return False


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


# ---- its surroundings


def trust() -> Iterator[Finding]:
    """TLS: whose certificates are trusted, and whether the secrets are written down."""
    yield Finding("TLS", OK, ssl.OPENSSL_VERSION, facts={"openssl": ssl.OPENSSL_VERSION})
    named = {name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if _set(name)}
    facts: dict[str, Any] = dict(named)
    try:
        context = tls.ssl_context()
    except (FastreqError, ImportError) as exc:
        advice = f"set {' and '.join(named)} right, or unset" if named else "pip install certifi"
        yield Finding("trust store", FAILED, str(exc), advice, facts)
    else:
        text = ", ".join(f"{name}={path}" for name, path in named.items())
        facts["authorities"] = len(context.get_ca_certs())
        yield Finding("trust store", OK, text, facts=facts) if named else _certifi(facts)
    if path := os.environ.get("SSLKEYLOGFILE"):
        text = f"{path}: the secrets of all TLS connections are written there"
        yield Finding("SSLKEYLOGFILE", WARNING, text, "unset it, unless that is meant")


def _set(name: str) -> bool:
    return bool(os.environ.get(name))


def _certifi(facts: dict[str, Any]) -> Finding:
    import certifi

    facts |= {"certifi": certifi.__version__, "path": certifi.where()}
    text = f"certifi {certifi.__version__}, {facts['authorities']} authorities"
    try:
        issued = date(*map(int, certifi.__version__.split(".")[:3]))
    except (ValueError, TypeError):
        return Finding("trust store", OK, text, facts=facts)
    if date.today() - issued < OLD:
        return Finding("trust store", OK, text, facts=facts)
    return Finding("trust store", WARNING, f"{text}, old", "pip install --upgrade certifi", facts)


def proxies() -> Iterator[Finding]:
    """What the environment says; no password is shown."""
    clean = True
    for name in filter(_set, (*map(str.lower, PROXIES), *PROXIES)):
        clean = False
        try:
            proxy = Proxy.of(os.environ[name].strip())
        except FastreqError as exc:
            yield Finding("proxy", FAILED, f"{name}: {exc}", f"set {name} right, or unset it")
        else:
            user = "" if proxy.username is None else ", with a user name that is not shown"
            yield Finding("proxy", OK, f"{name}={proxy}{user}", facts={name: str(proxy)})
    for name in ("no_proxy", "NO_PROXY"):
        if _set(name):
            yield Finding("proxy", OK, f"{name}={os.environ[name]}")
    if clean:
        yield Finding("proxy", OK, "none in the environment")


def descriptors() -> Iterator[Finding]:
    """How many connections and files there may be."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    facts = {"soft": _number(soft), "hard": _number(hard)}
    text = f"{_number(soft) or 'unlimited'}, may be raised to {_number(hard) or 'any'}"
    if _number(soft) is None or soft >= DESCRIPTORS:
        yield Finding("descriptors", OK, text, facts=facts)
    elif _number(hard) is None or hard >= DESCRIPTORS:
        advice = f"ulimit -n {DESCRIPTORS}, for many connections"
        yield Finding("descriptors", WARNING, text, advice, facts)
    else:
        advice = "have the administrator raise it (LimitNOFILE=, limits.conf)"
        yield Finding("descriptors", WARNING, text, advice, facts)


def _number(limit: int) -> int | None:
    """A limit; None: there is none."""
    import resource

    return None if limit == resource.RLIM_INFINITY else limit


# ---- the network


def resolving_proxy(text: str) -> Proxy | None:
    """The proxy of the environment that looks up the name in a URL, if one does."""
    try:
        proxy = Proxies(None, os.environ).choose(URL(text))
    except FastreqError:
        return None  # what is wrong with either is said elsewhere
    return proxy if proxy is not None and proxy.resolves else None


def names_of_proxy(host: str, proxy: Proxy) -> Finding:
    """A name that nobody looks up here, so that nothing is wrong if nobody could."""
    return Finding("DNS", OK, f"{host} is for the proxy {proxy} to look up", facts={"host": host})


async def names(host: str) -> Finding:
    """How long it takes to look up a name."""
    started = perf_counter()
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, 0)
    except (OSError, UnicodeError) as exc:
        advice = "see whether the name is right, and /etc/resolv.conf or the network"
        return Finding("DNS", FAILED, f"{host}: {exc}", advice)
    seconds = perf_counter() - started
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    facts = {"host": host, "seconds": round(seconds, 6), "addresses": addresses}
    text = f"{host} is {', '.join(addresses)} ({seconds * 1000:.1f} ms)"
    if seconds < SLOW_DNS:
        return Finding("DNS", OK, text, facts=facts)
    return Finding("DNS", WARNING, text, "a nearer name server, or a local cache, is faster", facts)


async def reached(text: str, verify: bool | str) -> Finding:
    """Whether an answer comes from a URL, whatever it is."""
    try:
        url = URL(text)
        async with (
            Client(verify=verify, timeout=Timeout(total=SECONDS)) as client,
            client.stream("GET", url) as response,
        ):
            shown = f"{response.status} {response.status_message}".rstrip()
            times = response.timings._asdict()
    except (FastreqError, OSError) as exc:
        return Finding("connection", FAILED, str(exc), "`fastreq -v URL` tells more")
    phases = [f"{name} {times[name] * 1000:.1f} ms" for name in ("dns", "connect", "tls", "ttfb")]
    facts = {"url": url.redacted, "status": response.status, "timings": times}
    said = f"{url.redacted}: {shown} ({', '.join(phases)})"
    return Finding("connection", OK, said, facts=facts)
