"""What a worker knows of the server. It imports nothing, since a worker's memory is measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Self

POSTED: dict[str, Any] = {
    "id": 7,
    "name": "fastreq",
    "tags": ["http", "async", "uvloop"],
    "rows": [{"n": n, "square": n * n, "text": "x" * 10} for n in range(23)],
}
"""1 KB of JSON."""


@dataclass
class Site:
    """What worker.py has to know of a server."""

    server: str  # what it is
    url: str
    tls_url: str | None  # None: trustme is missing
    ca_file: str | None
    folder: str  # of the files below
    # What can be asked for: path on the server, and the files that hold what may come.
    answers: dict[str, tuple[str, list[str]]]
    origins: list[str] = field(default_factory=list)  # of many more, on other addresses
    upload: str = "upload"  # the file to be sent

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Self:
        return cls(**json.loads(text))
