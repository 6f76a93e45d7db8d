"""The scripts in benchmarks/ run, and say what they promise; how fast is not asserted."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastreq.testing import Server

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SEED = BENCHMARKS / "run_tests_functions.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

SETTINGS = """\
Benchmark settings
\tUrl: {url}
\tAsync lib test requests count: {count}
\tSync lib test requests count: {count}
"""
RESULT = r"Function test for {name} completed\. Total time: \d+\.\d+\nReceived statuses\n\t{said}\n"


def run(*arguments: str) -> str:
    """What the script prints; it has to succeed."""
    ended = subprocess.run(
        [sys.executable, SEED, *arguments], env=ENVIRONMENT, capture_output=True, timeout=120
    )
    assert (ended.returncode, ended.stderr) == (0, b""), ended
    return ended.stdout.decode()


def test_seed_benchmark() -> None:
    """Each library is compared, or said to be left out; redirects are not followed."""
    said = run()

    assert re.search(SETTINGS.format(url=r"https?://\S+/moved", count=200), said)
    assert re.search(SETTINGS.format(url=r"https?://\S+/chunked/10000", count=100), said)
    assert re.search(RESULT.format(name="fastreq", said="{301: 200}"), said)
    assert re.search(RESULT.format(name="fastreq", said="{200: 100}"), said)
    for name in "httpx", "requests":
        assert f"{name} is left out" in said or (
            re.search(RESULT.format(name=name, said="{301: 200}"), said)
            and re.search(RESULT.format(name=name, said="{200: 100}"), said)
        )


def test_seed_benchmark_of_another_url() -> None:
    with Server() as server:
        url = f"{server.url}/hello"
        said = run(url, "--count=5", "--only=fastreq")

    assert SETTINGS.format(url=url, count=5) in said
    assert re.search(RESULT.format(name="fastreq", said="{200: 5}"), said)


# ---- the comparison

MEASURED = {
    "client": str,
    "scenario": str,
    "python": str,
    "version": str,
    "loop": str,
    "requests": int,
    "seconds": float,
    "requests_per_second": float,
    "cpu_us": float,
    "p50_us": float,
    "p90_us": float,
    "p99_us": float,
    "max_us": float,
    "peak_mb": float,
}


@contextlib.contextmanager
def serving(path: Path, *arguments: str) -> Iterator[Path]:
    """The server of the benchmarks, and what a worker is told of it."""
    command = [sys.executable, BENCHMARKS / "server.py", "--large=3000000", *arguments]
    process = subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        try:
            assert process.stdout is not None
            path.write_bytes(process.stdout.readline())
            yield path
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """nginx where it is installed, or else the bundled server."""
    with serving(tmp_path_factory.mktemp("benchmarks") / "site.json") as path:
        yield path


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundled server."""
    with serving(tmp_path_factory.mktemp("benchmarks") / "site.json", "--bundled") as path:
        yield path


def work(site: Path, client: str, scenario: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a worker, and what it says."""
    command = [sys.executable, BENCHMARKS / "worker.py", client, scenario, f"--site={site}"]
    ended = subprocess.run(
        [*command, "--seconds=0.05", *arguments], env=ENVIRONMENT, capture_output=True, timeout=60
    )
    assert b"" == ended.stderr
    lines = ended.stdout.splitlines()
    assert 1 == len(lines)
    return ended.returncode, json.loads(lines[0])


def test_worker(site: Path) -> None:
    """One line, with every figure."""
    code, said = work(site, "fastreq", "small")

    assert 0 == code
    assert MEASURED == {name: type(value) for name, value in said.items()}
    assert said["requests"] >= 64
    assert 0 < said["p50_us"] <= said["p90_us"] <= said["p99_us"] <= said["max_us"]
    assert 0 < said["cpu_us"]
    assert 5 < said["peak_mb"] < 1000


LOADS = "tls 64k 10m chunked gzip post c1 connect connect-tls slow upload stream distinct map"


def test_every_load(site: Path) -> None:
    """Every kind of answer is what the server's files say."""
    check_loads(site, LOADS.split())


def test_every_load_of_the_bundled_server(bundled: Path) -> None:
    check_loads(bundled, "tls 64k chunked gzip post connect slow upload stream".split())


def check_loads(site: Path, scenarios: list[str]) -> None:
    """Run all scenarios in one process, for most of a short one is its start."""
    code = (
        "import sys, worker\n"
        "site, *scenarios = sys.argv[1:]\n"
        "rest = ['--site', site, '--seconds=0.05', '--requests=10000']\n"
        "sys.exit(any([worker.main(['fastreq', name, *rest]) for name in scenarios]))"
    )
    environment = ENVIRONMENT | {
        "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), ENVIRONMENT["PYTHONPATH"]])
    }
    ended = subprocess.run(
        [sys.executable, "-c", code, site, *scenarios],
        env=environment,
        capture_output=True,
        timeout=120,
    )
    assert (0, b"") == (ended.returncode, ended.stderr), ended
    results = [json.loads(line) for line in ended.stdout.splitlines()]
    assert scenarios == [said["scenario"] for said in results]
    for said in results:
        if "left_out" in said:
            assert said["left_out"].startswith("trustme is not installed")
        else:
            assert said["requests"] >= 1
        for name, scenario_of in {"growth_mb": "stream", "drift": "map"}.items():
            assert (name in said) == (said["scenario"] == scenario_of), said


def test_import(site: Path) -> None:
    _, said = work(site, "fastreq", "import")

    assert said["import_ms"] > 0


@pytest.mark.parametrize("client", ["fastreq-asyncio", "fastreq-bare", "floor"])
def test_other_clients(site: Path, client: str) -> None:
    code, said = work(site, client, "small")

    assert 0 == code
    assert MEASURED.keys() == said.keys()


@pytest.mark.parametrize(
    ("scenario", "file"), [("small", "json"), ("64k", "64k"), ("stream", "large")]
)
def test_wrong_answer(site: Path, tmp_path: Path, scenario: str, file: str) -> None:
    """An answer that differs in one byte of the middle is no answer, and the worker fails."""
    other = json.loads(site.read_text())
    body = bytearray(Path(other["folder"], file).read_bytes())
    body[len(body) // 3] ^= 1
    (tmp_path / file).write_bytes(body)
    for answer, (path, files) in other["answers"].items():
        wanted = tmp_path if files == [file] else Path(other["folder"])
        other["answers"][answer] = (path, [str(wanted / name) for name in files])
    (tmp_path / "site.json").write_text(json.dumps(other))

    code, said = work(tmp_path / "site.json", "fastreq", scenario)

    assert 1 == code
    assert {"client", "scenario", "python", "wrong"} == said.keys()


def test_failure(site: Path, tmp_path: Path) -> None:
    """A client that raises is said to, and the worker fails."""
    other = json.loads(site.read_text()) | {"url": "http://127.0.0.1:9"}
    (tmp_path / "site.json").write_text(json.dumps(other))

    code, said = work(tmp_path / "site.json", "fastreq", "small")

    assert 1 == code
    assert said["failed"].startswith("ConnectError: ")


def compare(*arguments: str | Path, code: int = 0) -> str:
    ended = subprocess.run(
        [sys.executable, BENCHMARKS / "compare.py", *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (code, ""), ended
    return ended.stdout


def test_compare(tmp_path: Path) -> None:
    """The rounds are run; table, JSON and chart are written; who is missing is named."""
    choice = ["--scenario=small", "--client=fastreq", "--client=floor", "--client=zapros"]
    said = compare("--bundled", "--rounds=2", f"--results={tmp_path}", *choice)

    name = f"cpython-{sys.version_info[0]}.{sys.version_info[1]}"
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert 2 == len(found["rounds"])
    assert {"fastreq", "floor"} <= found["rounds"][1]["small"].keys()
    assert re.search(r"CPU ≤ 3\.00 × floor \| \d+\.\d+ \(\d+\.\d+–\d+\.\d+\) \| .*met", said)
    assert "zapros is left out: not installed" in said or "zapros" in found["rounds"][1]["small"]
    assert "| fastreq" in (tmp_path / f"{name}.md").read_text()
    assert (tmp_path / f"{name}.svg").read_text().startswith("<svg ")


RETRIED = """
import compare

lost = iter([0, 9e9, 9e9, 18e9, 20e9, 20e9, 30e9, 31e9, 40e9])  # seconds, before and after each
answers = iter([{"version": "1", "n": 1}, {"version": "1", "n": 2}, {"version": "1", "n": 3},
                {"failed": "at once"}, {"version": "1", "n": 5}])
compare.stolen_seconds = lambda: next(lost)
bench = compare.Bench(options)
bench._measure = lambda *_: next(answers)
bench.last_retry = float("inf")
print(bench._work("fastreq", "small", None)["n"])
print(bench._work("fastreq", "small", None))
bench.last_retry = 0.0
print(bench._work("fastreq", "small", None)["n"])
"""


def test_what_lost_its_time_is_measured_again() -> None:
    """Up to twice, while there is time for it; what lost least counts, and no failure is hidden."""
    options = "type('', (), dict.fromkeys(['full', 'scenario', 'client', 'bundled'], '')"
    options += " | {'rounds': 1, 'minutes': 1, 'python': []})"
    script = f"options = {options}\n{RETRIED}"
    ended = subprocess.run(
        [sys.executable, "-c", script], env=ENVIRONMENT, cwd=BENCHMARKS, capture_output=True
    )

    said = ended.stdout.decode().splitlines()
    assert ["3", "{'failed': 'at once'}", "5"] == said, ended.stderr


def results(**cpu: list[float]) -> dict[str, Any]:
    """A result of compare.py: by client, the CPU time of each round."""
    rounds = [
        {
            "small": {
                client.replace("_", "-"): {"version": "1", "cpu_us": values[number]}
                for client, values in cpu.items()
            }
        }
        for number in range(3)
    ]
    return {
        "python": "3.13.0",
        "server": "nginx",
        "machine": "a machine",
        "made": "2026-11-22",
        "form": "short",
        "load": 0.0,
        "versions": dict.fromkeys((name.replace("_", "-") for name in cpu), "1"),
        "rounds": rounds,
        "left_out": {"wreq": "not installed"},
    }


def test_goals(tmp_path: Path) -> None:
    """A ratio is the median of the rounds' ratios, and says how far these are apart."""
    found = results(
        floor=[5.0, 10.0, 5.0],
        fastreq=[10.0, 20.0, 16.0],
        pyreqwest=[20.0, 40.0, 20.0],
        aiohttp=[50.0, 100.0, 50.0],
    )
    path = tmp_path / "results.json"
    path.write_text(json.dumps(found))

    said = compare("--from", path)

    assert "| CPU ≤ 3.00 × floor | 2.00 (2.00–3.20) | met, but not in every round |" in said
    assert (
        "| CPU ≤ 0.60 × the best of pyreqwest and wreq (pyreqwest) | 0.50 (0.50–0.80) "
        "| met, but not in every round |"
    ) in said
    assert "| CPU ≤ 0.19 × aiohttp | 0.20 (0.20–0.32) | **not met** |" in said
    assert "| CPU ≤ 0.03 × httpx2 | nobody to compare with | - |" in said
    assert "Left out: wreq (not installed)." in said


def test_page(tmp_path: Path) -> None:
    """What is between the marks is written anew, and nothing else."""
    path, page = tmp_path / "results.json", tmp_path / "speed.md"
    path.write_text(json.dumps(results(fastreq=[10.0] * 3, pyreqwest=[9.0] * 3)))
    before, after = (
        "# Speed\n\n<!-- benchmarks: begin -->",
        "<!-- benchmarks: end -->\n\nThe rest.\n",
    )
    page.write_text(f"{before}\nold\n{after}")

    compare("--from", path, "--docs", page)

    text = page.read_text()
    assert text.startswith(before)
    assert text.endswith(after)
    assert "yesterday" not in text
    assert "- 66 bytes of JSON, 64 at once: CPU: pyreqwest 0.90×" in text
    assert (tmp_path / "speed.svg").exists()


def test_page_without_marks(tmp_path: Path) -> None:
    path, page = tmp_path / "results.json", tmp_path / "speed.md"
    path.write_text(json.dumps(results(fastreq=[10.0] * 3)))
    page.write_text("# Speed\n")

    with pytest.raises(AssertionError, match="has no lines"):
        compare("--from", path, "--docs", page)
    assert "# Speed\n" == page.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_memory() -> None:
    """Each measure gives its figures."""
    choice = ["--measure=plain", "--measure=queued", "--measure=clients", "--json"]
    ended = subprocess.run(
        [sys.executable, BENCHMARKS / "memory.py", *choice],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=120,
    )
    said = json.loads(ended.stdout)

    assert {"idle", "after"} == said["plain"].keys()
    assert {"queued"} == said["queued"].keys()
    assert {"fresh", "used"} == said["clients"].keys()


def test_adapters() -> None:
    """Each client that can be compared has an adapter, and each adapter a client."""
    with contextlib.chdir(BENCHMARKS):
        names = subprocess.run(
            [sys.executable, "-c", "import clients; print(*clients.CLIENTS)"],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        ).stdout.split()
    files = {path.stem for path in (BENCHMARKS / "clients").glob("*.py")}

    assert {name.replace("-", "_") for name in names} == files - {"__init__", "base", "httpx_like"}
