"""Many times in little room: how often each was there, in steps of 0.1 %, without I/O.

A day of requests takes no more memory than a minute of them: from a microsecond to an hour there
are 22,000 steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

STEPS = 1000
"""Steps of a time that is e times another: what is given is off by 0.05 % at most."""

SHORTEST = 1e-9
"""Seconds; of what is shorter, clocks tell nothing."""


class Latencies:
    """Seconds, counted.

    Attributes:
        count: how many there are.
        total: their sum, exact, as are `least` and `most`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.most = 0.0
        self._steps: dict[int, int] = {}  # how many there are of each

    def add(self, seconds: float) -> None:
        step = round(math.log(max(seconds, SHORTEST)) * STEPS)
        self._steps[step] = self._steps.get(step, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.most:
            self.most = seconds
        if seconds < self.least:
            self.least = seconds

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """Values in ascending order, each with how often it was there."""
        for step, count in sorted(self._steps.items()):
            yield min(max(math.exp(step / STEPS), self.least), self.most), count

    def percentiles(self, parts: Sequence[float]) -> list[float | None]:
        """For each part (in ascending order), the value that so many do not exceed (nearest
        rank); None where there are no values."""
        found: list[float | None] = []
        upto = 0
        values = iter(self)
        value = None
        for part in parts:
            rank = max(math.ceil(part * self.count), 1)
            while upto < rank and (each := next(values, None)) is not None:
                value, upto = each[0], upto + each[1]
            found.append(self.most if value is not None and rank >= self.count else value)
        return found

    # ---- from one process to another

    def dump(self) -> Dumped:
        return Dumped(list(self._steps.items()), self.total, self.least, self.most)

    @classmethod
    def load(cls, dumped: Dumped) -> Latencies:
        loaded = cls()
        loaded._steps = {int(step): int(count) for step, count in dumped[0]}
        loaded.count = sum(loaded._steps.values())
        _, loaded.total, loaded.least, loaded.most = dumped
        return loaded


class Dumped(NamedTuple):
    """Latencies, as JSON has them."""

    steps: list[tuple[int, int]]
    total: float
    least: float
    most: float
