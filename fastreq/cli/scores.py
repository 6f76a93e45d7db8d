"""How a client did under a load: as a value for JSON, as lines for people, as a chart."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastreq.bulk.progress import size_shown
from fastreq.cli.chart import (
    KINDS,
    Curve,
    Histogram,
    Length,
    Lengths,
    Panel,
    Series,
    Weighted,
    chart,
)
from fastreq.cli.histogram import lines_of, weighted_rows
from fastreq.cli.load import Load, Tally
from fastreq.cli.screen import Screen, is_drawable

PARTS = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999, "max": 1.0}


class Score(NamedTuple):
    """A client, and what it did."""

    name: str
    version: str
    tally: Tally

    @property
    def rate(self) -> float:
        """Requests per second that ended, well or not."""
        return self.tally.done / self.tally.seconds if self.tally.seconds else 0.0

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU time per request, user and system, of the client's process."""
        return self.tally.cpu / self.tally.done * 1e6 if self.tally.done else 0.0

    def milliseconds(self) -> list[tuple[float, int]]:
        return [(1000 * value, count) for value, count in self.tally.latencies]

    def percentiles(self) -> dict[str, float | None]:
        """Seconds, by the names of `PARTS`; None where nothing was answered."""
        found = self.tally.latencies.percentiles(list(PARTS.values()))
        return dict(zip(PARTS, found, strict=True))


# ---- for machines


def for_json(score: Score) -> dict[str, Any]:
    """All of it, in seconds and bytes."""
    tally = score.tally
    values = list(tally.latencies)
    return {
        "client": score.name,
        "version": score.version,
        "requests": tally.done,
        "ok": tally.done - tally.failed,
        "failed": tally.failed,
        "unsent": tally.unsent,
        "dropped": tally.dropped,
        "seconds": tally.seconds,
        "requests_per_second": score.rate,
        "cpu_us_per_request": score.cpu_us,
        "bytes": tally.bytes,
        "bytes_per_second": tally.bytes / tally.seconds if tally.seconds else 0.0,
        "status_codes": {str(status): n for status, n in sorted(tally.statuses.items())},
        "errors": dict(tally.errors.most_common()),
        "latency": {
            "mean": tally.latencies.total / tally.latencies.count if values else None,
            "min": tally.latencies.least if values else None,
            **score.percentiles(),
        },
        "histogram": [
            {"from": row.low, "count": row.counts[0]}
            for row in (weighted_rows([values]) if values else [])
        ],
    }


# ---- for people


def show(screen: Screen, score: Score) -> None:
    """What our own client did."""
    tally = score.tally
    screen.line()
    screen.line(
        f"  {tally.done:,} requests in {tally.seconds:.2f} s, {score.rate:,.0f} per second, "
        f"{score.cpu_us:.0f} {_micro()} of CPU each"
    )
    per_second = size_shown(tally.bytes / tally.seconds if tally.seconds else 0)
    screen.line(f"  {size_shown(tally.bytes)} of bodies, {per_second}/s")
    if tally.unsent:
        screen.line(
            (f"  {tally.unsent:,} more were due, and not sent: no connection was free", "bold")
        )
    if tally.dropped:
        screen.line(f"  {tally.dropped:,} under way were dropped")
    screen.line()
    for status, count in sorted(tally.statuses.items()):
        screen.line((f"  {'status ' + str(status):24}", ""), f"{count:>10,}")
    for kind, count in tally.errors.most_common():
        screen.line((f"  {kind:24}", "bold"), f"{count:>10,}  {tally.said[kind]}")
    if tally.latencies.count:
        _show_latencies(screen, score)


def _show_latencies(screen: Screen, score: Score) -> None:
    screen.line()
    shown = [_ms(value) for value in score.percentiles().values()]
    screen.table(["", *PARTS], [["latency, ms", *shown]])
    screen.line()
    ascii_only = not is_drawable("█▏", sys.stdout)
    for line in lines_of([""], [score.milliseconds()], ascii_only=ascii_only):
        screen.line(*line)


def show_comparison(screen: Screen, scores: Sequence[Score]) -> None:
    """Clients beside each other."""
    header = ("", "req/s", f"CPU {_micro()}", "p50 ms", "p90 ms", "p99 ms", "failed")
    screen.line()
    screen.table(header, [_compared(score) for score in scores])


def _compared(score: Score) -> list[str]:
    times = score.percentiles()
    return [
        f"{score.name} {score.version}",
        f"{score.rate:,.0f}",
        f"{score.cpu_us:.1f}",
        *(_ms(times[name]) for name in ("p50", "p90", "p99")),
        f"{score.tally.failed:,}",
    ]


def _micro() -> str:
    return "µs" if is_drawable("µ", sys.stdout) else "us"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.2f}"


# ---- as a chart


class Drawn(NamedTuple):
    """A series of latencies, and how many requests there were in a second."""

    name: str
    milliseconds: Weighted
    rate: float
    cpu_us: float | None = None


def drawn_of(score: Score) -> Drawn:
    return Drawn(score.name, score.milliseconds(), score.rate, score.cpu_us)


def drawing(all_drawn: Sequence[Drawn], title: str) -> str:
    """An SVG document: histograms and percentiles of latencies, and rates where there are more."""
    answered = [each for each in all_drawn if each.milliseconds]
    low = min((each.milliseconds[0][0] for each in answered), default=1.0)
    high = max((each.milliseconds[-1][0] for each in answered), default=1.0)
    kinds = dict(zip((each.name for each in all_drawn), KINDS, strict=False))
    panels: list[Panel] = [
        Histogram(
            f"Latency, {each.name}", "answers, by milliseconds", each.milliseconds, low, high,
            kinds[each.name],
        )
        for each in all_drawn
    ]  # fmt: skip
    series = [Series(each.name, each.milliseconds, kinds[each.name]) for each in all_drawn]
    panels.insert(1, Curve("Latency by percentile", "milliseconds", series))
    if len(all_drawn) > 1:
        rates = [Length(each.name, each.rate, kinds[each.name]) for each in all_drawn]
        panels.append(Lengths("Requests per second", "", rates))
        costs = [
            Length(each.name, each.cpu_us, kinds[each.name])
            for each in all_drawn
            if each.cpu_us is not None
        ]
        if costs:
            panels.append(Lengths("CPU time per request", "microseconds", costs))
    return chart(panels, title, " ".join(map(_told, all_drawn)))


def _told(drawn: Drawn) -> str:
    """What there is to see of it, in words."""
    total = sum(count for _, count in drawn.milliseconds)
    if not total:
        return f"{drawn.name}: nothing was answered."
    reached: list[float] = []
    upto = 0
    for value, count in drawn.milliseconds:
        upto += count
        while len(reached) < 2 and upto >= total * (0.5, 0.99)[len(reached)]:
            reached.append(value)
    return (
        f"{drawn.name}: {drawn.rate:,.0f} requests per second; half of {total:,} answers came "
        f"within {reached[0]:.3g} ms, 99 % within {reached[1]:.3g} ms, "
        f"the last within {drawn.milliseconds[-1][0]:.3g} ms."
    )


# ---- what was asked


def asked(method: str, url: str, load: Load) -> str:
    """The load in words."""
    parts = [] if load.requests is None else [f"{load.requests:,} requests"]
    parts += [] if load.seconds is None else [f"{load.seconds:g} s"]
    parts += [] if load.rate is None else [f"{load.rate:g} per second"]
    return f"{method} {url}: {', '.join(parts)}, {load.connections:,} connections"
