"""Results → rows: one JSON object per request, as `fan_out` and `fastreq fetch` write them."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

from fastreq.bulk.crew import Result
from fastreq.errors import FastreqError
from fastreq.messages import Response

DIGITS = 6  # of seconds


def row_of(result: Result, *, index: int | None = None, inline: bool = False) -> dict[str, Any]:
    """What is kept of a result.

    Args:
        result: an item of `Client.map`.
        index: its place in the whole job, where that is not its place in the map.
        inline: keep the body as well: `body` where it is UTF-8, else `body_base64`.
    """
    response, error = result.response, result.error
    row: dict[str, Any] = {
        "index": result.index if index is None else index,
        "url": str(result.given if result.request is None else result.request.url.given),
        "final_url": None,
        "status": None,
        "ok": result.ok,
        "error": _error(error) if error is not None else None,
        "attempts": error.attempts if error is not None else 0,
        "elapsed": round(error.elapsed, DIGITS) if error is not None else 0.0,
        "timings": None,
        "bytes": 0,
        "sha256": None,
        "ts": round(time.time(), 3),
    }
    if response is not None:
        row |= _answer(response)
        if inline:
            row |= _body(response.body)
    return row


def _answer(response: Response) -> dict[str, Any]:
    timings = response.timings
    return {
        "final_url": response.url.redacted,
        "status": response.status,
        "attempts": response.attempts,
        "elapsed": round(timings.total, DIGITS),
        "timings": {name: round(value, DIGITS) for name, value in timings._asdict().items()},
        "bytes": len(response.body),
        "sha256": hashlib.sha256(response.body).hexdigest(),
    }


def _error(error: FastreqError) -> dict[str, str]:
    return {"type": type(error).__name__, "phase": error.phase, "message": str(error)}


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}
