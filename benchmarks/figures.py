"""Medians and ratios over the rounds of a comparison."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from goals import Goal

OURS = ("fastreq", "fastreq-bare", "fastreq-asyncio")
NOT_CLIENTS = ("floor",)
MORE_IS_BETTER = ("megabytes_per_second", "requests_per_second")


class Figure(NamedTuple):
    """A median, and how far the rounds were apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        return cls(statistics.median(values), min(values), max(values)) if values else None


class Verdict(NamedTuple):
    """How a goal was done by."""

    goal: Goal
    figure: Figure | None  # None: nobody to compare with
    against: str  # the client that it was

    @property
    def is_met(self) -> bool:
        return self.figure is not None and self.figure.median <= self.goal.at_most

    @property
    def is_clear(self) -> bool:
        """Whether every round says the same."""
        if self.figure is None:
            return False
        most = self.goal.at_most
        return (self.figure.high <= most) if self.is_met else (self.figure.low > most)


@dataclass
class Comparison:
    """What a run of compare.py found."""

    python: str
    server: str
    machine: str
    made: str  # the day
    form: str  # "short" or "full"
    load: float  # what the machine was busy with before: processes that were running
    commit: str = ""  # of fastreq, where that is known
    versions: dict[str, str] = field(default_factory=dict)
    rounds: list[dict[str, dict[str, dict[str, Any]]]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # clients that are not there

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls(**json.loads(path.read_text()))

    def note(self, number: int, scenario: str, client: str, result: dict[str, Any]) -> None:
        """Keep what a worker said."""
        while len(self.rounds) <= number:
            self.rounds.append({})
        self.rounds[number].setdefault(scenario, {})[client] = result
        if "version" in result:
            self.versions[client] = result["version"]

    @property
    def scenarios(self) -> list[str]:
        """Those that somebody took part in, in their order."""
        return list(self.rounds[0]) if self.rounds else []

    def clients(self, scenario: str) -> list[str]:
        """Those that have a figure in a scenario."""
        found = {
            client: None
            for each in self.rounds
            for client, result in each.get(scenario, {}).items()
            if "version" in result
        }
        return list(found)

    def trouble(self) -> Iterable[tuple[str, str, str]]:
        """What went wrong: scenario, client, what."""
        seen = set()
        for each in self.rounds:
            for scenario, results in each.items():
                for client, result in results.items():
                    what = result.get("failed") or result.get("wrong")
                    if what and (scenario, client) not in seen:
                        seen.add((scenario, client))
                        yield scenario, client, what

    def values(self, scenario: str, client: str, metric: str) -> dict[int, float]:
        """By round."""
        found = {}
        for number, each in enumerate(self.rounds):
            value = each.get(scenario, {}).get(client, {}).get(metric)
            if value is not None:
                found[number] = float(value)
        return found

    @property
    def stolen(self) -> Figure | None:
        """Which part of the machine's time its host took away, measurement by measurement."""
        shares = [
            result["stolen"]
            for each in self.rounds
            for results in each.values()
            for result in results.values()
            if "stolen" in result
        ]
        return Figure.of(shares)

    def figure(self, scenario: str, client: str, metric: str) -> Figure | None:
        return Figure.of(list(self.values(scenario, client, metric).values()))

    def ratio(self, of: tuple[str, str], to: tuple[str, str], metric: str) -> Figure | None:
        """One (scenario, client) to another, round by round."""
        ours, theirs = self.values(*of, metric), self.values(*to, metric)
        return Figure.of([ours[number] / theirs[number] for number in ours if theirs.get(number)])

    def best(self, scenario: str, clients: Iterable[str], metric: str) -> str | None:
        """Whose median is the best."""
        found = {}
        for client in clients:
            if (figure := self.figure(scenario, client, metric)) is not None:
                found[client] = figure.median
        choose = max if metric in MORE_IS_BETTER else min
        return choose(found, key=lambda client: found[client]) if found else None

    def verdict(self, goal: Goal) -> Verdict:
        if not goal.against:
            return Verdict(goal, self.figure(goal.scenario, goal.client, goal.metric), "")
        scenario = goal.against_scenario or goal.scenario
        best = self.best(scenario, goal.against, goal.metric)
        if best is None:
            return Verdict(goal, None, "")
        ratio = self.ratio((goal.scenario, goal.client), (scenario, best), goal.metric)
        return Verdict(goal, ratio, best)

    def others(self, scenario: str) -> list[str]:
        """The clients that are not ours."""
        return [
            name for name in self.clients(scenario) if name not in OURS and name not in NOT_CLIENTS
        ]
