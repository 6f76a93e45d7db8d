"""The clients that are compared: a small adapter each, all used in the same way.

A name here is a module of this folder, `-` written as `_`, whose class `Adapter` is the client.
"""

from __future__ import annotations

import importlib

from clients.base import Adapter, Answer, LeftOut, Setup

__all__ = ["CLIENTS", "Adapter", "Answer", "LeftOut", "Setup", "adapter"]

CLIENTS = (
    "floor",
    "fastreq",
    "fastreq-bare",
    "fastreq-asyncio",
    "pyreqwest",
    "wreq",
    "primp",
    "aiohttp",
    "curl_cffi",
    "aiosonic",
    "zapros",
    "httpx2",
    "niquests",
    "requests",
    "httpx",
)


def adapter(name: str) -> type[Adapter]:
    """The adapter of a client.

    Raises:
        LeftOut: the client is not installed.
    """
    try:
        module = importlib.import_module(f"clients.{name.replace('-', '_')}")
    except ImportError as exc:
        raise LeftOut(f"not installed: {exc}") from exc
    made: type[Adapter] = module.Adapter
    return made
