"""What to test with: a server on loopback, and a transport without a socket.

    with fastreq.testing.Server() as server:
        ...  # server.url: "http://127.0.0.1:43121"

What it answers is in `routes.py`. By hand: `python -m fastreq.testing.server --port 8000`.
"""

from __future__ import annotations

from fastreq.testing.launch import Server
from fastreq.testing.mock import MockTransport

__all__ = ["MockTransport", "Server"]
