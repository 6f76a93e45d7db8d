"""The bundled HTTP/1.1 server, to try fastreq and one's own code against on loopback.

    with fastreq.testing.Server() as server:
        ...  # server.url: "http://127.0.0.1:43121"

What it answers is in `routes.py`. By hand: `python -m fastreq.testing.server --port 8000`.
"""

from __future__ import annotations

from fastreq.testing.launch import Server

__all__ = ["Server"]
