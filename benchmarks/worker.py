"""One client, one scenario, one process: prints one line of JSON.

    python benchmarks/server.py > site.json &
    python benchmarks/worker.py fastreq small --site site.json

The line has the client's version and loop, and, after a warm-up:

    requests, requests_per_second     answered and checked
    cpu_us                            CPU time per request, user and system, of all threads
    p50_us, p90_us, p99_us, max_us    from asking to the whole answer
    peak_mb                           the most memory that the process had, MB of 10^6 bytes

and by scenario: megabytes_per_second, growth_mb (of memory during a download), drift (of memory,
from what it was at the 10,000th request, as a part of that), import_ms. Instead of all that,
"left_out" says why a client has no part in a scenario, "wrong" which answer was not what the server
sent, and "failed" what it raised; with the latter two, the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from clients import Adapter, LeftOut, Setup, adapter
from load import Expected, Load, WrongAnswer, neighbours
from measure import (
    allow_many_connections,
    forget_peak,
    peak_bytes,
    resident_bytes,
    stay_on,
)
from scenarios import SCENARIOS, Scenario
from served import POSTED, Site

WARM_UP = 0.2  # seconds; every caller has asked at least once, however long that takes
SAMPLE_EVERY = 10_000  # requests of `map`, for a look at the memory
IMPORTS = 3

Result = dict[str, Any]


def work(client: str, name: str, site: Site, seconds: float, requests: int) -> Result:
    """Measure a client in a scenario.

    Raises:
        LeftOut: the client cannot do this.
        WrongAnswer: it gave what the server did not send.
    """
    scenario = SCENARIOS[name]
    made = adapter(client)
    if scenario.callers > made.most_callers:
        raise LeftOut(f"is too slow for {scenario.callers} callers at once")
    if scenario.kind == "import":
        return said_by(made) | measure_import(made)
    if scenario.tls and site.tls_url is None:
        raise LeftOut("trustme is not installed, so there is no TLS")
    if scenario.origins and not site.origins:
        raise LeftOut("many origins need nginx, and Linux")
    setup = Setup(
        ca_file=site.ca_file if scenario.tls else None,
        connections=scenario.callers + scenario.neighbours,
    )
    instance = made(setup)
    run: Callable[..., Coroutine[Any, Any, Result]] = {
        "stream": partial(measure_stream, instance),
        "map": partial(measure_map, instance, requests=requests),
    }.get(scenario.kind, partial(measure_load, instance, seconds=seconds))
    with asyncio.Runner(loop_factory=loop_factory(made.loop)) as runner:
        result = runner.run(run(scenario, site))
        loop = type(runner.get_loop()).__module__.partition(".")[0]
    return said_by(made) | {"loop": loop} | result | {"peak_mb": peak_bytes() / 1e6}


def said_by(made: type[Adapter]) -> Result:
    """Which version it is."""
    try:
        return {"version": version(made.distribution)}
    except PackageNotFoundError:  # this checkout
        return {"version": getattr(sys.modules.get(made.distribution), "__version__", "?")}


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop


# ---- many requests


async def measure_load(
    client: Adapter, scenario: Scenario, site: Site, *, seconds: float
) -> Result:
    load = load_of(scenario, site, seconds)
    async with AsyncExitStack() as stack:
        await client.open()
        stack.push_async_callback(client.close)
        latencies = await client.drive(load)
        if latencies is None and client.blocks:
            latencies = await asyncio.to_thread(load.drive_threads, ask_by(client, scenario, site))
        elif latencies is None:
            ask = ask_by(client, scenario, site)
            if scenario.neighbours:
                slow = neighbours(client.get, url_of(site, "slow"), scenario.neighbours)
                await stack.enter_async_context(slow)
            latencies = await load.drive(ask)
    return summary(load, latencies)


def load_of(scenario: Scenario, site: Site, seconds: float) -> Load:
    path, names = site.answers[scenario.answer]
    bases = site.origins if scenario.origins else [base_of(site, scenario.tls)]
    plain = scenario.kind == "get" and scenario.answer != "close"
    return Load(
        [base + path for base in bases],
        Expected([Path(site.folder, name) for name in names]),
        concurrency=scenario.callers,
        seconds=seconds,
        warm_up=WARM_UP if scenario.kind != "upload" else 0.001,
        distinct=scenario.distinct,
        is_plain_get=plain and not (scenario.origins or scenario.distinct or scenario.neighbours),
    )


def base_of(site: Site, tls: bool) -> str:
    return site.tls_url or "" if tls else site.url


def url_of(site: Site, answer: str) -> str:
    return site.url + site.answers[answer][0]


def ask_by(client: Adapter, scenario: Scenario, site: Site) -> Callable[[str], Any]:
    """The adapter's method, as a function of the URL alone."""
    if scenario.neighbours and client.blocks:
        raise LeftOut("blocks, so it is not asked to do two things at once")
    if scenario.kind == "post":
        return lambda url: client.post(url, POSTED)
    if scenario.kind == "upload":
        file = Path(site.folder, site.upload)
        return lambda url: client.upload(url, file)
    return client.get


def summary(load: Load, latencies: array[float]) -> Result:
    times = sorted(latencies)
    count = len(times)
    return {
        "requests": count,
        "seconds": load.wall,
        "requests_per_second": count / load.wall,
        "cpu_us": load.cpu / count * 1e6,
        **{
            f"p{percent}_us": times[min(count - 1, count * percent // 100)] * 1e6
            for percent in (50, 90, 99)
        },
        "max_us": times[-1] * 1e6,
    }


# ---- a large body


async def measure_stream(client: Adapter, scenario: Scenario, site: Site) -> Result:
    """Download into a file. What was allocated for the first, small one does not count."""
    path, names = site.answers[scenario.answer]
    expected = Expected([Path(site.folder, name) for name in names])
    with tempfile.TemporaryDirectory(prefix="fastreq-bench-") as folder:
        target = Path(folder, "body")

        async def get(url: str) -> None:
            download: Callable[..., Any] = client.download
            if client.blocks:
                download = partial(asyncio.to_thread, download)
            await download(url, target)

        await client.open()
        try:
            await get(url_of(site, "10m"))
            target.unlink()
            forget_peak()
            before, wall, cpu = resident_bytes(), perf_counter(), process_time()
            await get(site.url + path)
            wall, cpu = perf_counter() - wall, process_time() - cpu
            grown = peak_bytes() - before
            size = target.stat().st_size
            expected.check_file(target)
        finally:
            await client.close()
    return {
        "requests": 1,
        "seconds": wall,
        "requests_per_second": 1 / wall,
        "cpu_us": cpu * 1e6,
        "megabytes_per_second": size / wall / 1e6,
        "growth_mb": grown / 1e6,
    }


# ---- client.map


async def measure_map(client: Adapter, scenario: Scenario, site: Site, *, requests: int) -> Result:
    """So many requests by one call, with a look at the memory every 10,000."""
    load = load_of(scenario, site, 0)
    urls = load.urls_of(0)
    check = load.expected.check
    memory = []
    await client.open()
    try:
        async for answer in client.map((next(urls) for _ in range(2000)), scenario.callers):
            load.expected.check_all(*answer)
        load.begin()
        number = 0
        async for status, body in client.map(
            (next(urls) for _ in range(requests)), scenario.callers
        ):
            check(status, body)
            number += 1
            if not number % SAMPLE_EVERY:
                memory.append(resident_bytes())
        load.end()
    finally:
        await client.close()
    if number != requests:
        raise WrongAnswer(f"{number} answers to {requests} requests")
    return {
        "requests": number,
        "seconds": load.wall,
        "requests_per_second": number / load.wall,
        "cpu_us": load.cpu / number * 1e6,
        "drift": max(abs(each / memory[0] - 1) for each in memory) if memory else None,
    }


# ---- import


def measure_import(made: type[Adapter]) -> Result:
    """CPU time of importing a client in a new interpreter, the least of several."""
    if not made.imports:
        raise LeftOut("is not imported")
    code = (
        "import time; began = time.process_time()\n"
        f"import {made.imports}\n"
        "print(time.process_time() - began)"
    )
    times = []
    with tempfile.TemporaryDirectory(prefix="fastreq-bench-") as folder:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(1 + IMPORTS):
            said = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, check=True
            )
            times.append(float(said.stdout) * 1e3)
    return {"import_ms": min(times[1:])}  # the first wrote the .pyc files


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure one client in one scenario.")
    parser.add_argument("client")
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--site", type=Path, required=True, help="the line of server.py")
    parser.add_argument("--seconds", type=float, help="to measure [as the scenario has it]")
    parser.add_argument("--requests", type=int, default=100_000, help="of map [100000]")
    parser.add_argument("--core", type=int, help="to stay on")
    options = parser.parse_args(arguments)
    stay_on(options.core)
    allow_many_connections()
    site = Site.load(options.site.read_text())
    seconds = options.seconds or SCENARIOS[options.scenario].seconds
    start = {
        "client": options.client,
        "scenario": options.scenario,
        "python": platform.python_version(),
    }
    try:
        result = work(options.client, options.scenario, site, seconds, options.requests)
    except Exception as exc:  # each client has its own
        result = reason(exc)
    print(json.dumps(start | result))
    return 1 if result.keys() & {"wrong", "failed"} else 0


def reason(exc: BaseException) -> Result:
    """Why there is no result."""
    while isinstance(exc, BaseExceptionGroup):  # of the callers, who fail together
        exc = exc.exceptions[0]
    if isinstance(exc, LeftOut):
        return {"left_out": str(exc)}
    if isinstance(exc, WrongAnswer):
        return {"wrong": str(exc)}
    return {"failed": f"{type(exc).__name__}: {exc}"}


if __name__ == "__main__":
    sys.exit(main())
