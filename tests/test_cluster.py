"""`fan_out`: each request one row, whatever happens to those who work."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing import get_context
from zlib import crc32

import pytest
from servers.counting import counting

import fastreq
from fastreq import URL, Limits, Response, cluster, fan_out
from fastreq.bulk import executors, jobs, unfinished
from fastreq.headers import Headers
from fastreq.testing import MockTransport, Server

needs_many_hosts = pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8")


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        yield running


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as executor:
        yield executor


def items(server, count, start=0):
    return [f"{server.url}/item/{number}" for number in range(start, start + count)]


def rows_of(report):
    return sorted(report.lines(), key=lambda row: row["index"])


def assert_each_once(urls, report):
    rows = rows_of(report)
    assert list(range(len(urls))) == [row["index"] for row in rows]
    assert urls == [row["url"] for row in rows]
    assert len(urls) == report.rows


# ---- rows


def test_each_url_one_row(server, tmp_path, threads):
    urls = items(server, 1234)
    report = fan_out(urls, tmp_path / "out", executor=threads, part=100, concurrency=20)

    assert_each_once(urls, report)
    assert (1234, 0, 13, 0) == (report.ok, report.failed, report.parts, report.skipped)
    assert report.bytes == sum(row["bytes"] for row in report.lines()) > 0
    assert all(200 == row["status"] and row["sha256"] for row in report.lines())
    assert not list((tmp_path / "out").glob("*.tmp"))


def test_processes(server, tmp_path):
    """`executor=None` is a process per core."""
    urls = items(server, 300)
    report = fan_out(urls, tmp_path, shards=4, part=50)
    assert_each_once(urls, report)
    assert 300 == report.ok


def test_what_is_no_url(server, tmp_path, threads):
    """Rows like any others."""
    urls = [
        "no url",
        f"{server.url}/hello",
        "http://[::1",
        "ftp://x/",
        f"{server.url}/status/404",
        "",
    ]
    report = fan_out([*urls, "http://\ud800/"], tmp_path, executor=threads)
    rows = rows_of(report)

    assert (7, 1, 6) == (report.rows, report.ok, report.failed)
    assert urls == [row["url"] for row in rows[:6]]
    assert ["InvalidURL", None, "InvalidURL", "UnsupportedProtocol", None, "InvalidURL"] == [
        row["error"] and row["error"]["type"] for row in rows[:6]
    ]
    assert [None, 200, None, None, 404, None, None] == [row["status"] for row in rows]


def test_requests(server, tmp_path, threads):
    """Requests with bodies of bytes, beside URLs; options are the client's, or those of a URL."""
    headers = Headers({"X-Mine": "1"})
    made = fastreq.Request("POST", URL(f"{server.url}/upload"), headers, b"x" * 1000)
    report = fan_out(
        [made, f"{server.url}/redirect/1"],
        tmp_path,
        executor=threads,
        follow_redirects=False,
        max_redirects=1,
        timeout=20,
        headers={"X-All": "2"},
    )
    assert [200, 302] == [row["status"] for row in rows_of(report)]
    said = f'{{"received": 1000, "crc32": {crc32(b"x" * 1000)}}}'
    assert len(said) == rows_of(report)[0]["bytes"]


def test_nothing(tmp_path, threads):
    report = fan_out([], tmp_path / "a" / "b", executor=threads)
    assert (0, 0) == (report.rows, report.parts)


def test_a_row(server, tmp_path, threads):
    fan_out([f"{server.url}/redirect/2"], tmp_path, executor=threads)
    (file,) = tmp_path.glob("*.jsonl")
    (line,) = file.read_text().splitlines()
    row = json.loads(line)
    names = "index url final_url status ok error attempts elapsed timings bytes sha256 ts"
    assert names.split() == list(row)
    assert row["final_url"] == f"{server.url}/hello"
    assert abs(time.time() - row["ts"]) < 60


# ---- again


class Counted(ThreadPoolExecutor):
    """Counts the parts that are submitted, and breaks after some."""

    def __init__(self, width, breaks_after=10**9):
        super().__init__(width)
        self.submitted = 0
        self._breaks_after = breaks_after

    def submit(self, call, *args):
        self.submitted += 1
        if self.submitted > self._breaks_after:
            raise LookupError("out of order")
        return super().submit(call, *args)


def test_resume_skips_what_is_done(server, tmp_path):
    urls = items(server, 500)
    with Counted(2, breaks_after=4) as executor, pytest.raises(LookupError):
        fan_out(urls, tmp_path, executor=executor, part=50)
    done = {file.name: file.stat().st_mtime_ns for file in tmp_path.glob("*.jsonl")}
    assert done

    part = "0001-000001-0123456789ab.jsonl"
    for ours in (f"{part}.0a1b2c3d.tmp", f"{part}.0a1b2c3d.note.tmp", f"{part}.note.tmp"):
        (tmp_path / ours).write_text("left by a worker that was killed")
    (tmp_path / "mine.tmp").write_text("not ours")
    with Counted(2) as executor:
        report = fan_out(urls, tmp_path, executor=executor, part=50)
    assert_each_once(urls, report)
    assert len(done) == report.skipped
    assert done == {name: (tmp_path / name).stat().st_mtime_ns for name in done}
    assert [tmp_path / "mine.tmp"] == list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("bodies", ["none", "dir", "warc"])
def test_what_is_swept_is_ours(server, tmp_path, bodies):
    """Of what lies where the bodies go, only what a killed worker has begun is removed."""
    if bodies == "warc":
        pytest.importorskip("warcio", reason="warcio is not installed")
    kept = tmp_path / "kept"
    (kept / "000000").mkdir(parents=True)
    (kept / "a folder.tmp").mkdir()
    theirs = [kept / "mine.tmp", kept / "000000" / "mine.tmp"]
    ours = {
        "none": [],
        "dir": [kept / "000000" / "000000007.123.tmp"],
        "warc": [kept / "x.0000.warc.gz.0a1b2c3d.tmp"],
    }[bodies]
    for path in (*theirs, *ours):
        path.write_text("unfinished")
    with Counted(2) as executor:
        fan_out(
            items(server, 3), tmp_path / "out", executor=executor, bodies=bodies, bodies_folder=kept
        )
    assert all(path.exists() for path in theirs)
    assert not any(path.exists() for path in ours)


def unfinish(report):
    """Make of the only part one whose worker was killed before it had a name."""
    (file,) = report.files
    file.rename(f"{file}.0a1b2c3d.tmp")
    note = {"file": f"{file.name}.0a1b2c3d.tmp", "report": [3, 3, 0, False, None]}
    file.with_name(f"{file.name}.note.tmp").write_text(json.dumps(note))


@pytest.mark.parametrize(("more", "again"), [({}, 0), ({"resume": False}, 3)])
def test_rows_of_a_worker_that_was_killed(tmp_path, threads, more, again):
    """They are kept, but where all is to begin anew."""
    transport = MockTransport(lambda request: Response(200, content=b"1"))
    urls = [f"http://a.example/{n}" for n in range(3)]
    options = {"executor": threads, "transport": transport}
    unfinish(fan_out(urls, tmp_path, **options))
    report = fan_out(urls, tmp_path, **options, **more)
    assert_each_once(urls, report)
    assert 3 + again == len(transport.requests)
    assert not list(tmp_path.glob("*.tmp"))


def test_records_of_a_worker_that_was_killed(tmp_path, threads):
    """They are lost with it, and made again: no row names what is not there."""
    pytest.importorskip("warcio", reason="warcio is not installed")
    transport = MockTransport(lambda request: Response(200, content=b"1"))
    urls = [f"http://a.example/{n}" for n in range(3)]
    options = {"executor": threads, "transport": transport, "bodies": "warc"}
    first = fan_out(urls, tmp_path, **options)
    os.remove(next(first.lines())["warc"]["file"])
    unfinish(first)
    report = fan_out(urls, tmp_path, **options)
    assert_each_once(urls, report)
    for record in (row["warc"] for row in report.lines()):
        assert os.path.getsize(record["file"]) >= record["offset"] + record["length"]


def test_a_job_that_is_done_sends_nothing(tmp_path, threads):
    with Server() as server:
        urls = items(server, 100)
        fan_out(urls, tmp_path, executor=threads, part=30)
    report = fan_out(urls, tmp_path, executor=threads, part=30)
    assert (100, 100, 4, 4) == (report.rows, report.ok, report.parts, report.skipped)


def test_another_job_is_refused(server, tmp_path, threads):
    """Before anything of it is sent; nor is what it has in its rows mixed with that of others."""
    urls = items(server, 100)
    fan_out(urls, tmp_path, executor=threads, part=30)
    before = sorted(tmp_path.iterdir())

    for wrong in (
        {"part": 31},
        {"shards": 7},
        {"bodies": "inline"},
        {"robots": True},
        {"params": {"page": "2"}},
        {"base_url": server.url},
    ):
        with Counted(2) as executor, pytest.raises(ValueError, match="another output"):
            fan_out(urls, tmp_path, executor=executor, **{"part": 30, **wrong})
        assert 0 == executor.submitted
    elsewhere = [url.replace("127.0.0.1", "localhost") for url in urls]
    for others in (urls[1:], urls[::-1], items(server, 100, start=1), [], elsewhere):
        with Counted(2) as executor, pytest.raises(ValueError, match="another output"):
            fan_out(others, tmp_path, executor=executor, part=30)
        assert 0 == executor.submitted
    with pytest.raises(FileExistsError):
        fan_out(urls, tmp_path, executor=threads, part=30, resume=False)
    assert before == sorted(tmp_path.iterdir())


def test_a_job_that_begins_as_another_does(server, tmp_path, threads):
    """It is refused where it differs, at the latest at its end; no part is mixed in, or removed."""
    urls = items(server, 60)
    fan_out(urls, tmp_path, executor=threads, part=30)
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match="other requests"):
        fan_out([*urls[:30], *items(server, 30, start=1)], tmp_path, executor=threads, part=30)
    with pytest.raises(ValueError, match=r"that has .*-000002-"):
        fan_out(urls[:30], tmp_path, executor=threads, part=30)
    with pytest.raises(ValueError, match=r"that has .*-000002-"):
        fan_out([*urls[:30], "no url"], tmp_path, executor=threads, part=30)

    (other,) = set(tmp_path.iterdir()) - before
    with pytest.raises(ValueError, match=f"that has {other.name}"):
        fan_out(urls, tmp_path, executor=threads, part=30)
    other.unlink()
    report = fan_out(urls, tmp_path, executor=threads, part=30)
    assert_each_once(urls, report)
    assert 2 == report.skipped


def test_headers_may_be_others_when_it_goes_on(server, tmp_path, threads):
    """They bear what is another by then, such as tokens; so may limits, and how long it takes."""
    urls = items(server, 10)
    fan_out(urls, tmp_path, executor=threads, headers={"X": "1"}, timeout=10)
    again = fan_out(urls, tmp_path, executor=threads, headers={"X": "2"}, max_per_host=2)
    assert (1, 1) == (again.parts, again.skipped)


def test_what_else_is_in_the_folder(server, tmp_path, threads):
    """Files that are no parts are nobody's business here; a manifest that is none of ours is."""
    (tmp_path / "mine.jsonl").write_text("mine")
    report = fan_out(items(server, 3), tmp_path, executor=threads)
    assert 3 == len(rows_of(report))

    for other in ("{torn", '["another"]', None):
        manifest = tmp_path / "manifest.json"
        manifest.write_text(other) if other else manifest.unlink()
        with pytest.raises(ValueError, match="manifest"):
            fan_out(items(server, 3), tmp_path, executor=threads)


def test_one_process_at_a_time(server, tmp_path, threads):
    """Two would do everything twice."""
    refused = []

    def urls():
        yield f"{server.url}/hello"
        yield f"{server.url}/item/1"
        try:
            fan_out([f"{server.url}/hello"], tmp_path, executor=threads, part=1)
        except BlockingIOError as exc:
            refused.append(exc)

    assert 2 == fan_out(urls(), tmp_path, executor=threads, part=1).rows
    assert 1 == len(refused)


class Elsewhere(Executor):
    """Works in another folder, as processes do that were started there."""

    def __init__(self, folder):
        self._folder = folder

    def submit(self, call, *args):
        here = os.getcwd()
        os.chdir(self._folder)
        try:
            future = Future()
            future.set_result(call(*args))
            return future
        finally:
            os.chdir(here)


def test_a_folder_is_the_same_for_all(server, tmp_path, monkeypatch):
    """However it was spelt, and wherever workers are."""
    for name in ("me", "them", "them/out"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "me")
    executor = Elsewhere(tmp_path / "them")
    report = fan_out(items(server, 5), "out", executor=executor, bodies="dir", bodies_folder="kept")

    assert_each_once(items(server, 5), report)
    assert all(os.path.isfile(row["body_path"]) for row in report.lines())
    assert ["kept", "out"] == sorted(os.listdir())
    assert [] == os.listdir(tmp_path / "them" / "out")


def test_a_folder_that_workers_do_not_share(server, tmp_path, monkeypatch):
    """They say so; and if they see one of their own, its parts are missed."""

    class OfTheirOwn(Executor):
        def submit(self, call, items, path, *rest):
            future = Future()
            future.set_result(call(items, f"{tmp_path}/theirs/{os.path.basename(path)}", *rest))
            return future

    (tmp_path / "theirs").mkdir()
    with pytest.raises(FileNotFoundError, match="not to be seen where this worker is"):
        fan_out(items(server, 5), tmp_path / "ours", executor=OfTheirOwn())

    (tmp_path / "theirs" / "manifest.json").write_text("{}")
    monkeypatch.setattr(jobs, "SEEN_SECONDS", 0.0)
    with pytest.raises(FileNotFoundError, match="lacks 1 parts"):
        fan_out(items(server, 5), tmp_path / "ours", executor=OfTheirOwn())


def test_nothing_is_left_of_what_was_refused(tmp_path):
    for executor, error in ((2.5, TypeError), (True, ValueError), (0, ValueError)):
        with pytest.raises(error, match="executor="):
            fan_out(["http://a/"], tmp_path / "out", executor=executor)
    with pytest.raises(TypeError, match="not one URL"):
        fan_out("http://a/", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [{"shards": 0}, {"part": 0}, {"concurrency": 0}, {"max_per_host": 0}, {"part": None}]
)
def test_options_that_cannot_be(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        fan_out([], tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_unknown_options(tmp_path):
    with pytest.raises(TypeError, match="timeout"):
        fan_out([], tmp_path / "out", timeuot=3)
    assert not (tmp_path / "out").exists()


def test_limits_are_kept(server, tmp_path):
    """`max_per_host` replaces that of `limits`, and nothing else of it."""
    seen = []

    class Looking(Executor):
        _max_workers = 1

        def submit(self, call, items, path, concurrency, of_client, of_request):
            seen.append((concurrency, of_client, of_request))
            future = Future()
            future.set_result(call(items, path, concurrency, of_client, of_request))
            return future

    limits = Limits(max_connections=7, max_age=9)
    fan_out(
        items(server, 1), tmp_path, executor=Looking(), limits=limits, max_per_host=3, timeout=5
    )
    expected = Limits(max_connections=7, max_age=9, max_per_host=3)
    assert [(100, {"limits": expected}, {"timeout": 5})] == seen


def test_progress(server, tmp_path, threads, capsys):
    told = []
    fan_out(items(server, 100), tmp_path / "a", executor=threads, part=20, progress=told.append)
    assert 100 == told[-1].done
    assert told[-1].bytes > 0

    fan_out(items(server, 100), tmp_path / "b", executor=threads, progress=True)
    said = capsys.readouterr()
    assert "" == said.out
    assert said.err.startswith("100 done, 0 failed")


# ---- parts under way


class Manual(Executor):
    """Does nothing by itself."""

    _max_workers = 3

    def __init__(self):
        self.parts = []

    def submit(self, call, items, path, *rest):
        open(path, "w").close()
        future = Future()
        self.parts.append((os.path.basename(path)[:4], future))
        return future


def test_one_part_of_a_shard_at_a_time(tmp_path):
    """So a limit per host holds over all workers; and the source is not read ahead of them."""
    pulled = 0

    def source():
        nonlocal pulled
        for number in range(5000):
            pulled += 1
            yield f"http://host{number % 40}.example/{number}"

    executor, most = Manual(), 0
    running = []

    def work():
        fan_out(source(), tmp_path, executor=executor, shards=8, part=10)

    thread = threading.Thread(target=work)
    thread.start()
    finished = 0
    while thread.is_alive():
        if finished == len(executor.parts):
            time.sleep(0.001)
            continue
        time.sleep(0.002)
        running = [shard for shard, future in executor.parts if not future.done()]
        most = max(most, len(running))
        assert len(set(running)) == len(running) <= 3
        assert pulled <= (len(executor.parts) + 4 * 3 + 8) * 10 + 10
        executor.parts[finished][1].set_result(cluster.PartReport(10, 10, 0, False))
        finished += 1
    thread.join()
    assert 3 == most


class Breaking(Executor):
    """Breaks as a pool does whose process was killed: in a future, or when it is asked."""

    def __init__(self, at_submit, after, log):
        self.count = 0
        self._at_submit = at_submit
        self._after = after
        self._log = log

    def submit(self, call, *args):
        self.count += 1
        future = Future()
        if self._log["left"] and self.count == self._after:
            self._log["left"] -= 1
            if self._at_submit:
                raise BrokenExecutor
            future.set_exception(BrokenExecutor("a process was killed"))
        else:
            future.set_result(call(*args))
        return future


@pytest.mark.parametrize("at_submit", [False, True])
@pytest.mark.parametrize(
    ("times", "after", "survives"), [(2, 1, True), (3, 1, False), (2, 3, True), (4, 3, True)]
)
def test_a_pool_that_breaks(server, tmp_path, monkeypatch, at_submit, times, after, survives):
    """Our own is made anew, as long as some parts are done in between; these are not done again."""
    log = {"left": times}
    monkeypatch.setattr(
        "concurrent.futures.ProcessPoolExecutor", lambda *a, **k: Breaking(at_submit, after, log)
    )
    urls = items(server, 100)
    if survives:
        report = fan_out(urls, tmp_path, part=10, shards=1)
        assert_each_once(urls, report)
        assert 0 == report.skipped
    else:
        with pytest.raises(BrokenExecutor, match="are kept"):
            fan_out(urls, tmp_path, part=10, shards=1)


@needs_many_hosts
def test_the_limit_per_host_holds_over_processes(tmp_path):
    """As the server counts connections, by the address it was called at."""
    with counting() as server:
        urls = [f"http://127.0.1.{n % 16}:{server.port}/{n}" for n in range(2000)]
        context = get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            report = fan_out(
                urls, tmp_path, executor=executor, shards=8, part=100, concurrency=60,
                max_per_host=3,
            )  # fmt: skip
        most = server.most()
    assert_each_once(urls, report)
    assert 2000 == report.ok
    assert 16 == len(most)
    assert 3 == max(most.values())


# ---- killed

JOB = """
import sys
from fastreq import fan_out

if __name__ == "__main__":
    url, out, executor = sys.argv[1:]
    urls = (f"{url}/item/{n}" for n in range(6000))
    hosts = (u.replace("127.0.0.1", f"127.0.0.{1 + i % 8}") for i, u in enumerate(urls))
    report = fan_out(hosts, out, executor=executor or None, part=200, shards=16, concurrency=20)
    print(report.rows, report.ok, report.skipped)
"""


def children(pid):
    """The processes that a process has started, and theirs."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                with open(f"/proc/{entry}/cmdline") as file:
                    command = file.read()
            except OSError:
                continue
            if parent == pid:
                found += [(int(entry), command), *children(int(entry))]
    return found


def blocked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


class Asked(Executor):
    """Whose processes would be started with these signals blocked."""

    def submit(self, call, *args):
        future = Future()
        future.set_result(blocked())
        return future


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_an_interrupt_while_a_worker_starts(monkeypatch):
    """It is held back until the worker can end of it without a word; no other is touched."""
    with executors.processes(1) as pool:
        mask = pool.submit(signal.pthread_sigmask, signal.SIG_BLOCK, [])
        how = pool.submit(signal.getsignal, signal.SIGINT)
        assert signal.SIGINT not in mask.result(20)
        assert signal.SIG_DFL == how.result(20)
        monkeypatch.setattr(pool, "executor", Asked())
        assert signal.SIGINT in pool.submit(blocked).result()
        assert signal.SIGINT not in blocked()
        monkeypatch.undo()
    with executors.opened(Asked()) as theirs:
        assert signal.SIGINT not in theirs.submit(blocked).result()


@needs_many_hosts
@pytest.mark.parametrize("victim", ["worker", "all"])
def test_killed(tmp_path, victim):
    """A worker killed in mid-run costs nothing; if all are, the next run goes on."""
    script, out = tmp_path / "job.py", tmp_path / "out"
    script.write_text(JOB)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with Server(host="0.0.0.0") as server:
        command = [sys.executable, script, server.url, out, ""]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        wait_for_parts(out, 3)
        workers = [pid for pid, command in children(process.pid) if "spawn_main" in command]
        assert workers
        if victim == "worker":
            os.kill(workers[0], signal.SIGKILL)
            said, _ = process.communicate(timeout=60)
            assert 0 == process.returncode
        else:
            for pid in [process.pid, *workers]:
                os.kill(pid, signal.SIGKILL)
            process.communicate()
            kept = len(list(out.glob("*.jsonl")))
            said = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, timeout=60, check=True
            ).stdout
            assert int(said.split()[2]) >= kept >= 3
    assert [b"6000", b"6000"] == said.split()[:2]
    assert_whole(out, 6000)


def wait_for_parts(out, count):
    deadline = time.monotonic() + 30
    while len(list(out.glob("*.jsonl"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_whole(out, count):
    rows = [
        json.loads(line) for file in out.glob("*.jsonl") for line in file.read_text().splitlines()
    ]
    assert Counter(range(count)) == Counter(row["index"] for row in rows)
    assert not list(out.glob("*.tmp"))


@needs_many_hosts
def test_dask(tmp_path):
    """A worker of a real cluster is killed in mid-run: its part is done by another."""
    pytest.importorskip("distributed")
    script, out = tmp_path / "job.py", tmp_path / "out"
    script.write_text(JOB)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    cluster = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with Server(host="0.0.0.0") as server, cluster:
        try:
            address, *pids = cluster.stdout.readline().decode().split()
            command = [sys.executable, script, server.url, out, address]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
            wait_for_parts(out, 3)
            os.kill(int(pids[0]), signal.SIGKILL)
            said, _ = process.communicate(timeout=90)
        finally:
            cluster.stdin.close()
    assert 0 == process.returncode
    assert [b"6000", b"6000"] == said.split()[:2]
    assert_whole(out, 6000)


CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        pids = [worker.process.process.pid for worker in cluster.workers.values()]
        print(cluster.scheduler_address, *pids, flush=True)
        sys.stdin.read()
"""


def test_dask_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="dask"):
        fan_out(["http://a/"], tmp_path, executor="tcp://127.0.0.1:1")


# ---- parts that take their time


class Held:
    """A transport whose last answer is held back until it is let go."""

    def __init__(self, last):
        self._last = last
        self.let_go = threading.Event()

    async def __call__(self, request):
        if request.url.path == self._last:
            assert await asyncio.to_thread(self.let_go.wait, 20)
        return Response(200, content=b"12345")


@pytest.fixture
def at_once(monkeypatch):
    """Nobody waits a second to tell, or to look."""
    monkeypatch.setattr(unfinished, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.01)


def test_progress_within_a_part(tmp_path, threads, at_once):
    """It is told what a part has come to, while it is under way."""
    held, told = Held("/3"), []

    def tell(state):
        told.append(state)
        if state.done == 3:
            held.let_go.set()

    urls = [f"http://a.example/{n}" for n in range(4)]
    options = {"executor": threads, "transport": MockTransport(held), "progress": tell}
    fan_out(urls, tmp_path, **options)
    assert [3, 4] == [done for done in sorted({state.done for state in told}) if done > 2]
    assert {(3, 0, 15, 0, "a.example")} == {
        (*state[:2], state.bytes, state.before, state.slowest[0])
        for state in told
        if state.done == 3
    }

    fan_out(urls, tmp_path, **options)
    assert (4, 4, 0.0) == (told[-1].done, told[-1].before, told[-1].rate)
