"""Compare fastreq with the others, in rounds, and say which goals are met.

    python benchmarks/compare.py                          # the short form: under 5 minutes
    python benchmarks/compare.py --full                   # all clients in all scenarios: hours
    python benchmarks/compare.py --scenario small --scenario tls --client fastreq --client wreq
    python benchmarks/compare.py --docs docs/speed.md     # and write the tables into that page
    python benchmarks/compare.py --from benchmarks/results/cpython-3.13.json --docs docs/speed.md

Writes results/<python>.json, .md and .svg. The README beside this file says how to read them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import report
from clients import CLIENTS
from figures import OURS, Comparison
from measure import allow_many_connections, stolen_seconds
from scenarios import LARGE, MAPPED, SCENARIOS, Scenario
from server import cores, serving

from fastreq.cli.chart import Dot, Dots, chart

HERE = Path(__file__).parent
CHECKOUT = HERE.parent
ROUNDS = {"short": 3, "full": 5}
MINUTES = {"short": 4.5, "full": math.inf}
FULL_SECONDS = 5  # times the short form's
PATIENCE = {"short": 60, "full": 600}  # seconds for one worker
TRIES = 3  # of a measurement from whose time the host has taken ...
STOLEN = 0.05  # ... more than this part
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What would make clients trust others than they are told to; proxies are taken away too."""
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


class Bench:
    """One run of the comparison."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.form = "full" if options.full else "short"
        self.rounds = options.rounds or ROUNDS[self.form]
        self.minutes = options.minutes or MINUTES[self.form]
        self.scenarios = options.scenario or list(SCENARIOS)
        self.clients = options.client
        self.pythons = dict(each.split("=", 1) for each in options.python)
        self.bundled = options.bundled
        self.core: int | None = None
        self.last_retry = 0.0

    def run(self) -> Comparison:
        """Measure, in rounds; after each, the next, if there is time for it. Ctrl-C ends it."""
        server_core, self.core = cores()
        busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
        with (
            serving(large=LARGE[self.form], core=server_core, bundled=self.bundled) as site,
            tempfile.NamedTemporaryFile("w", suffix=".json") as file,
        ):
            file.write(site.dump())
            file.flush()
            on = "" if self.core is None else f"; clients on core {self.core}"
            found = Comparison(
                platform.python_version(),
                site.server + on,
                machine(),
                datetime.now(UTC).date().isoformat(),
                self.form,
                busy,
                commit(),
            )
            print(f"{found.server}\n{found.machine}, CPython {found.python}", flush=True)
            began = monotonic()
            self.last_retry = began + self.minutes * 60 / 2
            try:
                for number in range(self.rounds):
                    self._round(number, Path(file.name), found)
                    spent = (monotonic() - began) / 60
                    print(f"round {number + 1}: {spent:.1f} min so far", flush=True)
                    if spent * (number + 2) / (number + 1) > self.minutes:
                        break
            except KeyboardInterrupt:
                print("stopped; what follows is what there is", flush=True)
        return found

    def _round(self, number: int, site: Path, found: Comparison) -> None:
        for name in self.scenarios:
            for client in self._clients(SCENARIOS[name], number):
                if client in found.left_out:
                    continue
                result = self._work(client, name, site)
                why = result.get("left_out", "")
                if why.startswith("not installed"):
                    found.left_out[client] = why
                    print(f"{client} is left out: {why}", flush=True)
                    continue
                found.note(number, name, client, result)
                print(f"  {line(result, SCENARIOS[name])}", flush=True)

    def _clients(self, scenario: Scenario, number: int) -> Iterator[str]:
        """Who takes part; each round begins with another."""
        chosen = [
            client
            for client in CLIENTS
            if (self.clients and client in self.clients)
            or (not self.clients and self._takes_part(client, scenario, number))
        ]
        for place in range(len(chosen)):
            yield chosen[(place + number) % len(chosen)]

    def _takes_part(self, client: str, scenario: Scenario, number: int) -> bool:
        if self.form == "full" or client in scenario.clients:
            return True
        return number == 0 and client in scenario.once

    def _work(self, client: str, scenario: str, site: Path) -> dict[str, Any]:
        """Measure; and again, while the host of a virtual machine takes its cores away, for then
        it is the neighbours who are measured. What lost least of its time counts."""
        tries = []
        while len(tries) < TRIES:
            began, before = monotonic(), stolen_seconds()
            result = self._measure(client, scenario, site)
            if "version" not in result:  # it failed, or is not there
                return result
            wall = (monotonic() - began) * (os.cpu_count() or 1)
            result["stolen"] = (stolen_seconds() - before) / wall
            tries.append(result)
            if result["stolen"] <= STOLEN or monotonic() > self.last_retry:
                break
        return min(tries, key=lambda each: each["stolen"])

    def _measure(self, client: str, scenario: str, site: Path) -> dict[str, Any]:
        longer = FULL_SECONDS if self.form == "full" else 1
        command = [
            self.pythons.get(client, sys.executable),
            str(HERE / "worker.py"),
            client,
            scenario,
            f"--site={site}",
            f"--seconds={SCENARIOS[scenario].seconds * longer}",
            f"--requests={MAPPED[self.form]}",
        ]
        if self.core is not None:
            command.append(f"--core={self.core}")
        paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in CERTIFICATES and not name.lower().endswith("_proxy")
        }
        # The fastreq of this checkout, whatever is installed.
        environment["PYTHONPATH"] = os.pathsep.join(paths)
        try:
            ended = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE[self.form],
                check=False,
            )
        except OSError as exc:
            return {"client": client, "left_out": f"not installed: {exc}"}
        except subprocess.TimeoutExpired:
            return {"client": client, "failed": f"no end after {PATIENCE[self.form]} s"}
        try:
            said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            last = (ended.stderr.strip().splitlines() or ["it said nothing"])[-1]
            return {"client": client, "failed": f"exit code {ended.returncode}: {last}"}
        return said


def line(result: dict[str, Any], scenario: Scenario) -> str:
    """One result, for those who watch."""
    start = f"{result.get('scenario', ''):12} {result['client']:16}"
    for why in "failed", "wrong", "left_out":
        if why in result:
            return f"{start} {why.replace('_', ' ')}: {result[why]}"
    if "cpu_us" not in result:
        return f"{start} {result[scenario.metric]:10.1f} {report.UNITS[scenario.metric]}"
    return (
        f"{start} {result['cpu_us']:10.1f} µs CPU {result['requests_per_second']:9.0f}/s "
        + (f"{result['p50_us']:9.0f} µs p50 " if "p50_us" in result else "")
        + f"{result['peak_mb']:7.1f} MB"
    )


def machine() -> str:
    """What it runs on."""
    model = platform.machine()
    try:
        for each in Path("/proc/cpuinfo").read_text().splitlines():
            if each.startswith("model name"):
                model = each.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()}"


def commit() -> str:
    """Which fastreq it is: the commit of this checkout, and whether it has been changed since."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=, changed"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.strip()


def drawn(found: Comparison) -> str:
    """The chart: CPU time, of the scenarios that have it, with more than one client."""
    panels = []
    for scenario in found.scenarios:
        metric = SCENARIOS[scenario].metric
        metric = "cpu_us" if metric not in ("import_ms", "p50_us", "p99_us") else metric
        rows = []
        for client in found.clients(scenario):
            if (figure := found.figure(scenario, client, metric)) is not None:
                kind = "ours" if client in OURS else "floor" if client == "floor" else ""
                rows.append(Dot(client, figure.low, figure.median, figure.high, kind))
        if len(rows) > 1:
            rows.sort(key=lambda row: row.middle)
            panels.append(Dots(SCENARIOS[scenario].title, report.UNITS[metric], rows))
    title = f"CPU time per request, CPython {found.python}, {found.made}"
    said = "By scenario: the median of each client, and how far its rounds were apart."
    return chart(panels, title, said, columns=3)


def fill(page: Path, runs: list[Comparison]) -> None:
    """Write tables and chart into a page, between its marks, and leave the rest of it."""
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines {BEGIN} and {END}")
    picture = page.with_suffix(".svg")
    picture.write_text(drawn(runs[0]))
    page.write_text(f"{before}{BEGIN}\n\n{report.for_docs(runs, picture.name)}\n\n{END}{after}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare fastreq with other clients.", epilog=f"Scenarios: {list(SCENARIOS)}"
    )
    add = parser.add_argument
    add("--full", action="store_true", help="all clients in all scenarios, and longer")
    add("--rounds", type=int, help="at the most [3, full: 5]")
    add("--minutes", type=float, help="no round is begun that would end later [4.5, full: none]")
    add("--scenario", action="append", choices=SCENARIOS, metavar="NAME", help="may be repeated")
    add("--client", action="append", choices=CLIENTS, metavar="NAME", help="may be repeated")
    add(
        "--python", action="append", default=[], metavar="CLIENT=PATH",
        help="the interpreter of an environment of its own, such as niquests needs",
    )  # fmt: skip
    add("--bundled", action="store_true", help="serve by the bundled server, not by nginx")
    add("--results", type=Path, default=HERE / "results", help="folder for what was found")
    add("--docs", type=Path, help="a page whose tables are written anew")
    add(
        "--from", action="append", type=Path, default=[], metavar="JSON", dest="given",
        help="measure nothing, take this result; of a second one --docs takes the goals",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.given:
        runs = [Comparison.read(path) for path in options.given]
    else:
        allow_many_connections()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nginx is not left
        runs = [Bench(options).run()]
        name = f"cpython-{'.'.join(platform.python_version_tuple()[:2])}"
        options.results.mkdir(parents=True, exist_ok=True)
        runs[0].save(options.results / f"{name}.json")
        (options.results / f"{name}.svg").write_text(drawn(runs[0]))
        (options.results / f"{name}.md").write_text(report.whole(runs[0], f"{name}.svg"))
    if options.docs:
        fill(options.docs, runs)
    for found in runs:
        print(f"\n{report.settings(found)}\n\n{report.goals(found)}")
        print(f"\nWhere fastreq is not first:\n\n{report.not_first(found)}")
    ours = [client for found in runs for _, client, _ in found.trouble() if client in OURS]
    return 1 if ours else 0


if __name__ == "__main__":
    sys.exit(main())
