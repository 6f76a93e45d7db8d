"""`fastreq doctor`: what fastreq finds where it runs, and what had better be changed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from itertools import chain
from typing import Final

import fastreq
from fastreq import URL, FastreqError
from fastreq.cli import checks, exits
from fastreq.cli.checks import FAILED, OK, WARNING, Finding
from fastreq.cli.request import add_trust, verify_of
from fastreq.cli.screen import Screen

STYLES: Final = {OK: "green", WARNING: "yellow", FAILED: "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Look at what fastreq depends on here. Passwords are not shown."
    parser.epilog = "exit codes: 0 all of it works, 1 something does not, 2 wrong arguments\n"
    add = parser.add_argument
    add("url", metavar="URL", nargs="?", help="a URL to get an answer from")
    add("--host", metavar="NAME", help="to look up [that of the URL, else localhost]")
    add("--json", action="store_true", help="one JSON object")
    add_trust(parser)


def run(options: argparse.Namespace) -> int:
    findings = list(chain(_here(), fastreq.run(_network(options))))
    works = all(finding.level != FAILED for finding in findings)
    if options.json:
        shown = [finding._asdict() for finding in findings]
        print(json.dumps({"ok": works, "findings": shown}, indent=2))
    else:
        _show(findings)
    return exits.OK if works else exits.WRONG


def _here() -> Iterable[Finding]:
    looks = (checks.python, checks.loop, checks.trust, checks.extras, checks.proxies)
    return chain.from_iterable(look() for look in (*looks, checks.descriptors, checks.others))


async def _network(options: argparse.Namespace) -> list[Finding]:
    host = options.host or _host_of(options.url) or "localhost"
    proxy = checks.resolving_proxy(options.url) if options.url and not options.host else None
    findings = [checks.names_of_proxy(host, proxy) if proxy else await checks.names(host)]
    if options.url is not None:
        findings.append(await checks.reached(options.url, verify_of(options)))
    return findings


def _host_of(url: str | None) -> str:
    try:
        return URL(url).host.strip("[]") if url else ""
    except FastreqError:
        return ""  # the connection says so


def _show(findings: list[Finding]) -> None:
    screen = Screen()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        text = " ".join(finding.text.split())
        screen.line(
            (f"{finding.level:9}", STYLES[finding.level]), f"{finding.name:{width}}  {text}"
        )
        if finding.advice:
            screen.line((f"{'':{9 + width}}  {finding.advice}", "dim"))
    counts = {level: sum(finding.level == level for finding in findings) for level in STYLES}
    screen.line()
    screen.line(f"ok: {counts[OK]}, warnings: {counts[WARNING]}, failed: {counts[FAILED]}")
