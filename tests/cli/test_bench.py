"""`fastreq bench`: what is sent, when, and what is said of it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from time import perf_counter
from xml.etree import ElementTree

import pytest
from servers.scripted import reply, scripted

from fastreq.cli import main, rivals
from fastreq.cli.latencies import Latencies
from fastreq.cli.load import Crew, Load, Tally
from fastreq.cli.rivals import Order
from fastreq.cli.scores import Score, show_comparison
from fastreq.cli.screen import Screen

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")

NAMES = """
    load connections rate python loop interrupted client version requests ok failed unsent dropped
    seconds requests_per_second cpu_us_per_request bytes bytes_per_second status_codes errors
    latency histogram compare left_out
""".split()
PERCENTILES = "mean min p50 p75 p90 p95 p99 p99.9 max".split()
NOBODY = "http://127.0.0.1:1/"


def said(done):
    return json.loads(done.out)


# ---- what comes out


def test_for_people(cli, server):
    done = cli("bench", server.url + "/hello", "-n", 120, "-c", 4)
    lines = done.out.decode().splitlines()

    assert (0, "") == (done.code, done.errors)
    assert f"GET {server.url}/hello: 120 requests, 4 connections" == lines[1]
    assert any(line.startswith("  120 requests in ") for line in lines)
    assert ["status", "200", "120"] in [line.split() for line in lines]
    assert any("p50" in line and "p99.9" in line and "max" in line for line in lines)
    assert any("█" in line for line in lines)
    assert "all 120 requests went well" == lines[-1]
    assert max(map(len, lines)) <= 80
    assert b"\x1b" not in done.out


def test_json(cli, server):
    """The result, and nothing else, on stdout; its parts agree with each other."""
    done = cli("bench", server.url + "/bytes/1000", "-n", 100, "-c", 3, "--json")
    found = said(done)

    assert (0, "", 1) == (done.code, done.errors, done.out.count(b"\n"))
    assert set(NAMES) == found.keys()
    assert (100, 100, 0, 100_000) == tuple(found[k] for k in ("requests", "ok", "failed", "bytes"))
    assert ({"200": 100}, {}, False) == (
        found["status_codes"], found["errors"], found["interrupted"],
    )  # fmt: skip
    assert PERCENTILES == list(found["latency"])
    values = [found["latency"][name] for name in PERCENTILES[1:]]
    assert sorted(values) == values
    assert 0 < values[0] <= found["latency"]["mean"] <= values[-1] <= found["seconds"]
    assert 100 == sum(row["count"] for row in found["histogram"])
    assert pytest.approx(100 / found["seconds"]) == found["requests_per_second"]


def test_usual_number(cli, server):
    assert 200 == said(cli("bench", server.url + "/hello", "--json"))["requests"]


def test_duration(cli, server):
    """Nothing is started after it; a number beside it holds as well."""
    url = server.url + "/hello"
    found = said(cli("bench", url, "-z", "150ms", "-c", 2, "--json"))
    assert 1 < found["requests"]
    assert 0.15 <= found["seconds"]
    assert 7 == said(cli("bench", url, "-z", "1m", "-n", 7, "--json"))["requests"]


def test_help_says_how_latency_is_measured(cli):
    told = " ".join(cli("bench", "--help").out.decode().split())

    assert "Latency is measured from when a request was due" in told
    assert "there is no coordinated omission" in told


# ---- what is sent


async def test_request(cli_async):
    """Method, fields and body are those that `fastreq get` would send, as often as was said."""

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(reply(b"ok"))

    options = ("-m", "PUT", "-H", "X-Key: 7", "-d", "a=1", "-n", 5, "-c", 2, "--json")
    async with scripted(handler) as server:
        done = await cli_async("bench", server.url("/there"), *options)
        sent = server.requests

    assert (0, "") == (done.code, done.errors)
    assert [sent[0]] * 5 == sent
    assert sent[0].startswith(b"PUT /there HTTP/1.1\r\n")
    assert sent[0].endswith(b"\r\n\r\na=1")
    assert b"\r\nX-Key: 7\r\n" in sent[0]
    assert b"\r\nContent-Type: application/x-www-form-urlencoded\r\n" in sent[0]


def test_tls(cli, server):
    if server.tls_url is None:
        pytest.skip("trustme is not installed")
    call = ("bench", server.tls_url + "/hello", "-n", 4, "-c", 1, "--json")
    refused, trusted = cli(*call), cli(*call, "--cacert", server.ca_file)

    assert (1, {"TLSError": 4}) == (refused.code, said(refused)["errors"])
    assert (0, {"200": 4}) == (trusted.code, said(trusted)["status_codes"])
    assert 0 == cli(*call, "--insecure").code


def test_redirects(cli, server):
    call = ("bench", server.url + "/moved", "-n", 3, "--json")

    assert {"200": 3} == said(cli(*call))["status_codes"]
    assert {"301": 3} == said(cli(*call, "--no-follow"))["status_codes"]


# ---- what fails


def test_bad_status(cli, server):
    done = cli("bench", server.url + "/status/503", "-n", 10)

    assert 1 == done.code
    assert done.out.endswith(b"10 of 10 requests failed\n")


def test_no_answer(cli):
    """Errors are counted by type, and there is no latency to tell."""
    done = cli("bench", NOBODY, "-n", 10, "--json")
    found = said(done)

    assert (1, {"ConnectError": 10}, {}) == (done.code, found["errors"], found["status_codes"])
    assert ({None}, []) == (set(found["latency"].values()), found["histogram"])
    assert b"nothing listens there" in cli("bench", NOBODY, "-n", 2).out


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["http://"], 3, "InvalidURL"),
        ([NOBODY, "-n", "0"], 2, "invalid count value: '0'"),
        ([NOBODY, "-z", "10x"], 2, "invalid duration value: '10x'"),
        ([NOBODY, "-q", "-1"], 2, "invalid rate value: '-1'"),
        ([NOBODY, "--compare", "curl"], 2, "there are httpx, aiohttp"),
        ([NOBODY, "--plot", "nowhere/at/all.svg"], 23, "nowhere/at/all.svg"),
        ([NOBODY, "-H", "a b: c"], 2, "LocalProtocolError"),
    ],
)
def test_mistakes(capsys, arguments, code, named):
    """One line, before anything is sent."""
    assert code == main(["bench", *arguments])

    out, errors = capsys.readouterr()
    assert ("", 1) == (out, len(errors.splitlines()))
    assert named in errors


# ---- when it is sent


async def carried(load, ask):
    """The tally of a load on something that is no server."""
    tally = Tally()
    await Crew(load, ask, tally).work()
    return tally


async def test_crew_is_fixed():
    """A worker for each connection, and no task for a request."""
    tasks, running = [], 0

    async def ask():
        nonlocal running
        running += 1
        tasks.append((running, len(asyncio.all_tasks())))
        await asyncio.sleep(0)
        running -= 1
        return 200, 1

    others = len(asyncio.all_tasks())
    tally = await carried(Load(5, 300, None, None), ask)

    assert (300, 300, 0) == (tally.done, tally.bytes, tally.failed)
    assert (5, others + 5) == tuple(map(max, zip(*tasks, strict=True)))


async def test_rate_without_bursts():
    """After s seconds, no more than 1 + RATE * s were sent."""
    started = []

    async def ask():
        started.append(perf_counter())
        await asyncio.sleep(0)
        return 200, 0

    since = perf_counter()
    await carried(Load(20, 60, None, 1000), ask)

    assert 60 == len(started)
    assert all(n / 1000 <= moment - since for n, moment in enumerate(started))


async def test_no_coordinated_omission():
    """Those that had to wait behind a slow one count with their wait."""
    number = 0

    async def ask():
        nonlocal number
        number += 1
        await asyncio.sleep(0.05 if number == 1 else 0)
        return 200, 0

    tally = await carried(Load(1, 20, None, 1000), ask)

    # The n-th was due n ms after the first, which took 50: 0.81 s in all, and 0.05 if only the
    # slow one counted. The timers of a loop may be early by one of their steps.
    assert tally.latencies.total > 0.75
    assert 20 == tally.done


async def test_what_was_due_and_not_sent_is_told():
    """A server that cannot keep up is not made to look as if less had been asked of it."""

    async def ask():
        await asyncio.sleep(0.06)
        return 200, 0

    tally = await carried(Load(1, None, 0.05, 1000), ask)

    assert (1, 49) == (tally.done, tally.unsent)


async def test_errors_let_others_in():
    """What fails without waiting does not keep the loop to itself."""
    turns = 0

    async def ask():
        raise ValueError("no")

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    tally = await carried(Load(1, 50, None, None), ask)
    counting.cancel()

    assert ({"ValueError": 50}, {"ValueError": "no"}) == (tally.errors, tally.said)
    assert turns >= 50


@needs_posix
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["people", "json"])
async def test_interrupt(start, options):
    """Ctrl-C ends it, with the result so far."""
    answered, hanging = 0, asyncio.Event()

    async def handler(conn):
        nonlocal answered
        while answered < 3:
            await conn.read_request()
            answered += 1
            await conn.send(reply(b"ok"))
        await conn.read_request()
        hanging.set()
        await conn.wait_closed()

    async with scripted(handler) as server:
        process = start("bench", server.url("/"), "-z", "1h", "-c", 1, *options)
        await hanging.wait()
        process.send_signal(signal.SIGINT)
        out, errors = await asyncio.to_thread(process.communicate, timeout=20)

    assert (130, b"") == (process.returncode, errors)
    if options:
        found = json.loads(out)
        assert (3, 1, True) == (found["requests"], found["dropped"], found["interrupted"])
    else:
        assert b"  3 requests in " in out
        assert b"  1 under way were dropped\n" in out
        assert out.endswith(b"interrupted; this is what there is so far\n")


@needs_posix
def test_terminal(on_terminal, server):
    """A line that changes tells how far it is."""
    options = ("-n", 300, "-q", 500, "-c", 4)
    environment = {"TERM": "xterm", "COLUMNS": "120"}
    code, out, shown = on_terminal("bench", server.url + "/hello", *options, env=environment)

    assert 0 == code
    assert b" done, 0 failed, " in shown
    assert b"p99 " in shown
    assert shown.endswith(b"\r\x1b[K")
    assert b"300 requests in " in out


# ---- charts


def test_plot(cli, server, tmp_path):
    """The URL is named, a password in it is not."""
    url = server.url.replace("://", "://me:secret@") + "/hello?a=1&b=<2>"
    path = tmp_path / "out.svg"
    done = cli("bench", url, "-n", 50, "--plot", path)
    root = ElementTree.parse(path).getroot()

    assert (0, "") == (done.code, done.errors)
    assert "/hello?a=1&b=%3C2%3E: 50 requests, 50 connections" in root[0].text
    assert "half of 50 answers came within " in root[1].text
    assert b"secret" not in path.read_bytes() + done.out


def test_plot_of_nothing(cli, tmp_path):
    assert 1 == cli("bench", NOBODY, "-n", 2, "--plot", tmp_path / "out.svg").code
    assert "nothing was answered" in ElementTree.parse(tmp_path / "out.svg").getroot()[1].text


# ---- others


def order(url, **options):
    usual = Order(Load(2, 20, None, None), "GET", url, [], None, None, True, True)
    return usual._replace(**options)


def test_others_carry_the_same_load(cli, server):
    """Each in a process of its own; what they did stands beside what we did."""
    there = [name for name in rivals.CLIENTS if rivals.find_spec(name)]
    if not there:
        pytest.skip("none is installed")
    call = ("bench", server.url + "/echo", "-n", 20, "-c", 2, "-m", "PUT", "-d", "a=1", "--json")
    done = cli(*call, "--compare", ",".join(there))
    others = said(done)["compare"]

    assert (0, "") == (done.code, done.errors)
    assert there == [other["client"] for other in others]
    assert all((20, 20) == (other["requests"], other["ok"]) for other in others)
    assert all(other["cpu_us_per_request"] > 0 for other in others)
    assert all(set(PERCENTILES) == other["latency"].keys() for other in others)


def test_table_of_others(capsys):
    tally = Tally(seconds=2.0, cpu=0.001)
    for number in range(100):
        tally.answered(200 if number else 500, 10, 0.004)
    show_comparison(Screen(), [Score("one", "1.0", tally), Score("none", "2", Tally())])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert ["one", "1.0", "50", "10.0", "4.00", "4.00", "4.00", "1"] in rows
    assert ["none", "2", "0", "0.0", "-", "-", "-", "0"] in rows


async def test_others_send_the_same_request():
    """Method, fields, body, whoever sends them."""

    async def handler(conn):
        while True:
            await conn.read_request()
            await conn.send(reply(b"hello"))

    there = [name for name in rivals.CLIENTS if rivals.find_spec(name)]
    if not there:
        pytest.skip("none is installed")
    for name in there:
        async with scripted(handler) as server:
            given = order(
                server.url("/a%2Fb?c=%20"), method="PUT", headers=[("X-Key", "7")], body=b"\x00\xff"
            )
            found = Tally.load((await rivals.carry(name, Order.load_from(given.dump())))["tally"])
            sent = server.requests

        assert (20, 100, {200: 20}) == (found.done, found.bytes, found.statuses)
        assert 20 == len(sent)
        assert all(each.startswith(b"PUT /a%2Fb?c=%20 HTTP/1.1\r\n") for each in sent)
        assert all(b"\r\nx-key: 7\r\n" in each.lower() for each in sent)
        assert all(each.endswith(b"\r\n\r\n\x00\xff") for each in sent)


def test_who_is_missing_is_named(server, monkeypatch, capsys):
    monkeypatch.setattr(rivals, "find_spec", lambda name: None)
    code = main(["bench", f"{server.url}/hello", "-n", "3", "--compare", "httpx", "--json"])
    out, errors = capsys.readouterr()

    assert 0 == code
    assert "fastreq: httpx is left out: it is not installed; pip install httpx\n" == errors
    assert ([], ["httpx"]) == (json.loads(out)["compare"], list(json.loads(out)["left_out"]))


def test_who_cannot_be_imported_is_left_out(cli, server, tmp_path):
    """What went wrong in its process is told, and the rest goes on."""
    (tmp_path / "httpx.py").write_text("raise ImportError('half of it is missing')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    call = ("bench", server.url + "/hello", "-n", 3, "--compare", "httpx", "--json")
    done = cli(*call, env={"PYTHONPATH": path})

    assert 0 == done.code
    assert "fastreq: httpx is left out: ImportError: half of it is missing\n" == done.errors
    assert 3 == said(done)["requests"]


def test_others_are_imported_by_nobody_else():
    """Nor by the command itself, while it only asks whether they are there."""
    code = (
        "import sys; from fastreq.cli import main; "
        f"main(['bench', '{NOBODY}', '-n', '1', '--json']); print(list(sys.modules))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)

    assert b"fastreq.cli.bench" in done.stdout
    for name in (b"'httpx'", b"'aiohttp'", b"'rich'"):
        assert name not in done.stdout


# ---- latencies


def test_latencies():
    """Any percentile is right to 0.1 %, the ends are exact, and room does not grow."""
    values = [(number + 1) / 7000 for number in range(50_000)]
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    loaded = Latencies.load(json.loads(json.dumps(latencies.dump())))

    for each in (latencies, loaded):
        assert (50_000, values[0], values[-1]) == (each.count, each.least, each.most)
        assert pytest.approx(sum(values)) == each.total
        assert [pytest.approx(part * values[-1], rel=0.001) for part in (0.01, 0.5, 0.999)] == (
            each.percentiles([0.01, 0.5, 0.999])
        )
        assert [values[-1]] == each.percentiles([1.0])
    assert len(list(latencies)) < 11_000


def test_no_latencies():
    latencies = Latencies()

    assert [None, None] == latencies.percentiles([0.5, 1.0])
    assert [] == list(latencies)
    latencies.add(0.0)  # as clocks are
    assert [0.0, 0.0] == latencies.percentiles([0.5, 1.0])
