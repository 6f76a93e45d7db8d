"""What compare.py found, as Markdown: the goals, the tables, and where fastreq is not first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from figures import MORE_IS_BETTER, NOT_CLIENTS, OURS, Comparison, Figure
from goals import GOALS
from scenarios import SCENARIOS

UNITS = {
    "cpu_us": "µs of CPU a request",
    "p50_us": "µs, p50",
    "p99_us": "µs, p99",
    "import_ms": "ms of CPU",
    "megabytes_per_second": "MB/s",
}
LOOKED_AT = {  # where somebody may be ahead of us
    "cpu_us": "CPU",
    "p50_us": "p50 latency",
    "p99_us": "p99 latency",
    "peak_mb": "memory",
    "growth_mb": "growth of memory",
    "megabytes_per_second": "throughput",
    "import_ms": "time to import",
}
MOST_COLUMNS = 9
AHEAD = """\
The number is how many times fastreq's figure the other's is. Where there is more than one caller,
latencies are mostly those of waiting for the others."""
BEST = """\
The best of each line is bold; in brackets is how many times fastreq's figure it is."""


def goals(found: Comparison) -> str:
    """Each goal, the ratio, and whether it is met."""
    rows = []
    for goal in GOALS:
        if goal.scenario not in found.scenarios:
            continue
        verdict = found.verdict(goal)
        figure = verdict.figure
        if figure is None:
            said, met = "nobody to compare with", "-"
        else:
            said = f"{figure.median:.2f} ({figure.low:.2f}–{figure.high:.2f})"
            met = "met" if verdict.is_met else "**not met**"
            met += "" if verdict.is_clear else ", but not in every round"
        if verdict.is_met is False and figure is not None and not verdict.is_clear:
            met = "**not met**, but in some rounds"
        title = SCENARIOS[goal.scenario].title
        if goal.client != "fastreq":
            title += f" ({goal.client})"
        wanted = goal.wanted
        if len(goal.against) > 1 and verdict.against:
            wanted += f" ({verdict.against})"
        rows.append((title, wanted, said, met))
    return table(("scenario", "goal", "median (min–max)", "verdict"), rows)


def overview(found: Comparison) -> str:
    """A row per scenario, a column per client: the figure, and how many times fastreq's it is."""
    counted = {
        client: sum(client in found.clients(scenario) for scenario in found.scenarios)
        for client in {name for each in found.scenarios for name in found.clients(each)}
    }
    wide = max(counted.values(), default=0) // 2
    clients = [
        name
        for name in (*NOT_CLIENTS, *OURS, *found.versions)
        if counted.get(name, 0) > (1 if name in OURS or name in NOT_CLIENTS else wide)
    ]
    clients = list(dict.fromkeys(clients))[:MOST_COLUMNS]
    rows = []
    for scenario in found.scenarios:
        metric = SCENARIOS[scenario].metric
        others = found.others(scenario)
        best = found.best(scenario, [*OURS, *others], metric) if others else None
        cells = [cell(found, scenario, client, metric, client == best) for client in clients]
        rows.append((f"{SCENARIOS[scenario].title}: {UNITS[metric]}", *cells))
    return table(("", *clients), rows)


def cell(found: Comparison, scenario: str, client: str, metric: str, is_best: bool) -> str:
    figure = found.figure(scenario, client, metric)
    if figure is None:
        return ""
    ratio = found.ratio((scenario, client), (scenario, "fastreq"), metric)
    text = number(figure.median)
    if client != "fastreq" and ratio is not None:
        text += f" ({ratio.median:.2f}×)"
    return f"**{text}**" if is_best else text


def everybody(found: Comparison, scenario: str) -> str:
    """Every client in one scenario, the best first."""
    metric = SCENARIOS[scenario].metric
    columns = {
        "cpu_us": "CPU µs",
        "requests_per_second": "requests/s",
        "p50_us": "p50 µs",
        "p90_us": "p90 µs",
        "p99_us": "p99 µs",
        "megabytes_per_second": "MB/s",
        "growth_mb": "growth MB",
        "import_ms": "import ms",
        "peak_mb": "peak MB",
    }
    used = [
        name
        for name in columns
        if any(found.values(scenario, client, name) for client in found.clients(scenario))
    ]

    def key(client: str) -> float:
        figure = found.figure(scenario, client, metric)
        worth = figure.median if figure is not None else float("inf")
        return -worth if metric in MORE_IS_BETTER else worth

    rows = []
    for client in sorted(found.clients(scenario), key=key):
        figures = [found.figure(scenario, client, name) for name in used]
        ratio = found.ratio((scenario, client), (scenario, "fastreq"), metric)
        rows.append(
            (
                f"{client} {found.versions[client]}",
                "" if ratio is None else spread(ratio),
                *(number(figure.median) if figure else "" for figure in figures),
            )
        )
    return table(("", "to fastreq (min–max)", *(columns[name] for name in used)), rows)


def not_first(found: Comparison) -> str:
    """Every figure in which another client is ahead of fastreq."""
    lines = []
    for scenario in found.scenarios:
        ahead = [
            f"{name}: {', '.join(clients)}"
            for metric, name in LOOKED_AT.items()
            if (clients := ahead_of_us(found, scenario, metric))
        ]
        if ahead:
            lines.append(f"- {SCENARIOS[scenario].title}: " + "; ".join(ahead))
    return "\n".join(lines) or "Nowhere."


def ahead_of_us(found: Comparison, scenario: str, metric: str) -> list[str]:
    """The clients that are better in something, and by how much; the best first."""
    ahead = []
    for client in found.others(scenario):
        ratio = found.ratio((scenario, client), (scenario, "fastreq"), metric)
        if ratio is not None and metric in MORE_IS_BETTER:
            ratio = Figure(1 / ratio.median, 1 / ratio.high, 1 / ratio.low)
        if ratio is not None and ratio.median < 1:
            doubt = " (not in every round)" if ratio.high >= 1 else ""
            ahead.append((ratio.median, f"{client} {ratio.median:.2f}×{doubt}"))
    return [text for _, text in sorted(ahead)]


def settings(found: Comparison) -> str:
    """Where and how it was measured."""
    loops = ", ".join(f"{client} {version}" for client, version in found.versions.items())
    lines = [
        f"CPython {found.python}, {found.made}, the {found.form} form, {len(found.rounds)} rounds"
        + (f"; fastreq at commit {found.commit}." if found.commit else "."),
        f"Machine: {found.machine}; {found.load:.1f} processes were running when it began.",
        f"Server: {found.server}.",
        f"Clients: {loops}.",
    ]
    if (stolen := found.stolen) is not None:
        lines.append(
            "Of the machine's time its host took away, measurement by measurement: "
            f"{stolen.median:.0%} ({stolen.low:.0%}–{stolen.high:.0%})."
        )
    if found.left_out:
        left = "; ".join(f"{client} ({why})" for client, why in found.left_out.items())
        lines.append(f"Left out: {left}.")
    lines += [
        f"Trouble: {client}, {SCENARIOS[scenario].title}: {what[:160]}"
        for scenario, client, what in found.trouble()
    ]
    return "\n".join(f"- {line}" for line in lines)


def whole(found: Comparison, chart: str) -> str:
    """All of it."""
    parts = [
        "# Benchmarks",
        settings(found),
        "## Goals",
        goals(found),
        "## Where fastreq is not first",
        AHEAD,
        not_first(found),
        "## Scenarios",
        BEST,
        overview(found),
        f"![CPU time per request]({chart})",
    ]
    for scenario in found.scenarios:
        parts += [f"### {SCENARIOS[scenario].title}", everybody(found, scenario)]
    return "\n\n".join(parts) + "\n"


def for_docs(runs: Sequence[Comparison], chart: str) -> str:
    """What docs/speed.md has between its marks: the first run, and the goals of the others."""
    first = runs[0]
    parts = [
        settings(first),
        "### Goals",
        goals(first),
        *(
            part
            for run in runs[1:]
            for part in (f"### Goals on CPython {run.python}", settings(run), goals(run))
        ),
        "### Where fastreq is not first",
        AHEAD,
        not_first(first),
        "### Scenarios",
        BEST,
        overview(first),
        f"![CPU time per request, by client and scenario]({chart})",
        "### Every client",
        f"{SCENARIOS['small'].title}:",
        everybody(first, "small"),
    ]
    return "\n\n".join(parts)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def spread(figure: Figure) -> str:
    return f"{figure.median:.2f} ({figure.low:.2f}–{figure.high:.2f})"


def number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
