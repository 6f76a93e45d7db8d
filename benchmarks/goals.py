"""What is asked of fastreq: ratios of figures from the same round, and a few figures as such."""

from __future__ import annotations

from dataclasses import dataclass

BEST = ("pyreqwest", "wreq")
"""The fastest of the others."""

NAMES = {
    "cpu_us": "CPU",
    "p50_us": "p50 latency",
    "p99_us": "p99 latency",
    "peak_mb": "memory",
    "seconds": "time",
    "growth_mb": "memory grows, MB",
    "drift": "memory drifts",
    "import_ms": "import, ms of CPU",
}


@dataclass(frozen=True)
class Goal:
    """A figure that is to be at most so much: of the best of some clients, or as it is."""

    scenario: str
    at_most: float
    against: tuple[str, ...] = ()  # none: the figure itself
    metric: str = "cpu_us"
    client: str = "fastreq"
    against_scenario: str = ""  # where it is another

    @property
    def wanted(self) -> str:
        """Such as "CPU ≤ 0.60 × the best of pyreqwest and wreq"."""
        named = f"{NAMES[self.metric]} ≤ {self.at_most:.2f}"
        if not self.against:
            return named
        if len(self.against) > 1:
            return f"{named} × the best of {' and '.join(self.against)}"
        return f"{named} × {self.against[0]}" + (
            f", {self.against_scenario}" if self.against_scenario else ""
        )


GOALS = (
    Goal("small", 0.60, BEST),
    Goal("small", 0.19, ("aiohttp",)),
    Goal("small", 0.03, ("httpx2",)),
    Goal("small", 3.0, ("floor",)),
    Goal("small", 0.75, BEST, client="fastreq-asyncio"),
    Goal("tls", 0.75, BEST),
    Goal("tls", 0.21, ("aiohttp",)),
    Goal("tls", 2.3, ("floor",)),
    Goal("64k", 0.75, BEST),
    Goal("10m", 1.0, BEST),
    Goal("chunked", 0.80, BEST),
    Goal("gzip", 1.0, BEST),
    Goal("post", 0.65, BEST),
    Goal("c1", 0.85, BEST, "p50_us"),
    Goal("c1000", 0.65, BEST),
    Goal("c1000", 0.60, BEST, "peak_mb"),
    Goal("c5000", 0.65, BEST),
    Goal("c5000", 0.60, BEST, "peak_mb"),
    Goal("stream", 4 * 2**20 / 1e6, (), "growth_mb"),
    Goal("stream", 1.0, BEST, "seconds"),
    Goal("map", 0.10, (), "drift"),
    Goal("map", 1.25, ("fastreq",), against_scenario="distinct"),
    Goal("import", 80, (), "import_ms"),
)
