"""`fastreq fetch --workers` and `--scheduler`: the same as in one process, by several."""

import json
import os
import signal
import sys
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor

import pytest
from servers.counting import counting

from fastreq import fan_out
from fastreq.bulk.progress import Progress
from fastreq.bulk.unfinished import so_far
from fastreq.cli import exits, fetch
from fastreq.cli.watch import Watch
from fastreq.testing.routes import item

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


def rows_of(out):
    return sorted(map(json.loads, out.read_text().splitlines()), key=lambda row: row["index"])


def listed(server, tmp_path, count):
    path = tmp_path / "urls"
    path.write_text("".join(f"{server.url}/item/{n}\n" for n in range(count)))
    return path


@pytest.mark.parametrize("kind", ["inline", "dir"])
def test_bodies(cli, server, tmp_path, out, kind):
    path = listed(server, tmp_path, 30)
    done = cli("fetch", "-i", path, "-o", out, "--workers", 1, "--bodies", kind)
    rows = rows_of(out)

    assert 0 == done.code, done.errors
    for row in rows:
        if kind == "inline":
            body = row["body"].encode()
        else:
            with open(row["body_path"], "rb") as file:
                body = file.read()
        assert item(row["index"]) == body
    assert 30 == len({row.get("body_path", row["index"]) for row in rows})
    folders = ["out.jsonl.bodies"] if kind == "dir" else []
    assert ["out.jsonl", *folders, "urls"] == sorted(os.listdir(tmp_path))


def test_bodies_in_warc(server, tmp_path):
    """A file for each part, whole or not there, which the rows name."""
    pytest.importorskip("warcio")
    from warcio.archiveiterator import ArchiveIterator

    urls = [f"{server.url}/item/{n}" for n in range(30)]
    (tmp_path / "bodies").mkdir()
    (tmp_path / "bodies" / "x.warc.gz.0000abcd.tmp").write_text("left by a worker that was killed")
    report = fan_out(urls, tmp_path, executor=1, part=20, bodies="warc")
    rows = list(report.lines())
    files = {row["warc"]["file"] for row in rows}

    assert 30 == report.ok
    assert sorted(map(os.path.basename, files)) == sorted(os.listdir(tmp_path / "bodies"))
    assert 2 == len(files)
    for row in rows:
        with open(row["warc"]["file"], "rb") as file:
            file.seek(row["warc"]["offset"])
            record = next(iter(ArchiveIterator(file)))
            assert row["final_url"] == record.rec_headers["WARC-Target-URI"]
            assert item(row["index"]) == record.content_stream().read()


def test_bodies_in_warc_of_fetch(cli, server, tmp_path, out):
    """Gone on with, there is nothing left to do."""
    pytest.importorskip("warcio")
    path = listed(server, tmp_path, 5)
    command = ["fetch", "-i", path, "-o", out, "--bodies", "warc"]
    assert 0 == cli(*command, "--workers", 1).code
    for more in (["--workers", 1], []):
        done = cli(*command, "--resume", *more)
        assert (0, True) == (done.code, "fetch: nothing left to do, " in done.errors)
    assert {str(tmp_path / "out.jsonl.bodies")} == {
        os.path.dirname(row["warc"]["file"]) for row in rows_of(out)
    }


def test_a_kind_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="bodies='tar'"):
        fan_out([], tmp_path / "out", bodies="tar")
    assert not (tmp_path / "out").exists()


# ---- one file of the parts


@pytest.mark.parametrize("workers", [[], ["--workers", 1]], ids=["one", "workers"])
def test_headers(cli, server, tmp_path, out, workers):
    """Those of all, and those of a line, which count more."""
    path = tmp_path / "urls"
    more = {"url": f"{server.url}/echo", "headers": {"x-b": "line", "X-C": "line"}}
    path.write_text(f"{server.url}/echo\n{json.dumps(more)}\n")
    given = ("-H", "X-A: all", "-H", "X-B: all")
    done = cli("fetch", "-i", path, "-o", out, "--bodies", "inline", *given, *workers)
    assert 0 == done.code, done.errors
    said = [dict(json.loads(row["body"])["headers"]) for row in rows_of(out)]
    assert [("all", "all", None), ("all", None, "line")] == [
        tuple(headers.get(name) for name in ("X-A", "X-B", "X-C")) for headers in said
    ]
    assert "line" == said[1]["x-b"]


def test_bad_lines(cli, server, tmp_path, out):
    """Each has the row that it has in one process; nothing else is sent in its place."""
    lines = [
        f"{server.url}/hello", "no url", "ftp://a/", "{torn", '{"url": 7}', "[1]",
        f'{{"url": "{server.url}/echo", "method": "DE LETE"}}',
        f'{{"url": "{server.url}/echo", "headers": {{"X": "a\\nb"}}}}',
        f'{{"url": "{server.url}/echo", "body": ["not", "text"]}}',
        f'{{"url": "{server.url}/echo", "method": "PUT", "headers": {{"A": "1"}}, "body": "c"}}',
    ]  # fmt: skip
    path = tmp_path / "urls"
    path.write_text("\n".join(lines))
    alone = tmp_path / "alone.jsonl"
    assert 1 == cli("fetch", "-i", path, "-o", alone).code
    assert 1 == cli("fetch", "-i", path, "-o", out, "--workers", 1).code

    names = "index url final_url status ok error attempts bytes sha256".split()
    here, there = (
        [[row[name] for name in names] for row in rows_of(file)] for file in (alone, out)
    )
    assert here == there
    assert [True, *[False] * 8, True] == [row["ok"] for row in rows_of(out)]


def killed_when_done(folder, out):
    """As of a run that was killed when all that it had to do was to remove the parts."""
    parts = folder / f"{out.name}.parts"
    parts.mkdir()
    (parts / "manifest.json").write_text("{}")
    return parts


def test_killed_after_it_was_done(cli, server, tmp_path, out):
    """What is there is the whole of it: it goes on by removing the parts."""
    path = listed(server, tmp_path, 5)
    assert 0 == cli("fetch", "-i", path, "-o", out).code
    before = out.read_bytes()
    parts = killed_when_done(tmp_path, out)
    assert 0 == cli("fetch", "-i", path, "-o", out, "--workers", 1, "--resume").code
    assert not parts.exists()
    assert before == out.read_bytes()


def test_what_others_have_beside_it(cli, server, tmp_path, out):
    """It stays as it is, when the parts are removed."""
    path = listed(server, tmp_path, 5)
    parts = out.with_name("out.jsonl.parts")
    parts.mkdir()
    others = [parts / "mine", out.with_name("out.jsonl.tmp")]
    for other in others:
        other.write_text("precious")
    for _ in range(2):  # done, and found to be done
        assert 0 == cli("fetch", "-i", path, "-o", out, "--workers", 1, "--resume").code
        assert ["precious", "precious"] == [other.read_text() for other in others]
        assert ["mine"] == os.listdir(parts)


def test_an_output_that_is_not_of_this_job(cli, server, tmp_path, out):
    """It is left as it is, and what lies beside it."""
    path = listed(server, tmp_path, 5)
    more = ["-o", out, "--workers", 1]
    assert 0 == cli("fetch", "-i", path, *more).code
    before = out.read_bytes()

    done = cli("fetch", "-i", path, *more)
    assert (2, True) == (done.code, "--resume goes on with it" in done.errors)
    for count in (4, 6):
        parts = killed_when_done(tmp_path, out)
        done = cli("fetch", "-i", listed(server, tmp_path, count), *more, "--resume")
        assert (2, before, True) == (done.code, out.read_bytes(), parts.exists())
        parts.joinpath("manifest.json").unlink()
        parts.rmdir()


@pytest.mark.parametrize("bad", ["a folder", "no/such/out.jsonl"])
def test_an_output_that_cannot_be(cli, server, tmp_path, bad):
    (tmp_path / "a folder").mkdir()
    path = listed(server, tmp_path, 5)
    done = cli("fetch", "-i", path, "-o", tmp_path / bad, "--workers", 1)
    assert done.code in (exits.USAGE, exits.WRITE)
    assert ["a folder", "urls"] == sorted(os.listdir(tmp_path))


def test_nothing_is_left_of_what_was_refused(cli, server, tmp_path, out, monkeypatch):
    path = listed(server, tmp_path, 5)
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = cli("fetch", "-i", path, "-o", out, "--scheduler", "tcp://127.0.0.1:1")
    assert (2, True) == (done.code, "fastreq-http[dask]" in done.errors)
    assert 2 == cli("fetch", "-i", path, "-o", out, "--workers", 1, "--format", "csv").code
    assert 2 == cli("fetch", "-i", path, "-o", out, "--workers", 1, "--scheduler", "tcp://a").code
    assert ["urls"] == os.listdir(tmp_path)


@pytest.fixture
def in_threads(monkeypatch):
    """What `--scheduler` names does it in threads, and `spoil` gets the report."""

    def replace(spoil):
        def fan_out_in_threads(requests, folder, **options):
            with ThreadPoolExecutor(1) as executor:
                report = fan_out(requests, folder, **options | {"executor": executor})
            spoil(report)
            return report

        monkeypatch.setattr("fastreq.fan_out", fan_out_in_threads)

    return replace


def test_rows_that_are_missing(cli, server, tmp_path, out, in_threads):
    """They are noticed before the parts are removed."""
    in_threads(lambda report: report.files[0].write_bytes(b""))
    path = listed(server, tmp_path, 5)
    done = cli("fetch", "-i", path, "-o", out, "--scheduler", "threads")
    assert exits.WRITE == done.code
    assert "0 rows, where 5 were written" in done.errors
    assert ["out.jsonl", "out.jsonl.parts", "urls"] == sorted(os.listdir(tmp_path))
    assert b"" == out.read_bytes()


@needs_posix
def test_through_a_symlink(cli, server, tmp_path, out, in_threads):
    """The file that it leads to is written."""
    in_threads(lambda report: None)
    (tmp_path / "there").mkdir()
    out.symlink_to(tmp_path / "there" / "rows")
    path = listed(server, tmp_path, 5)
    assert 0 == cli("fetch", "-i", path, "-o", out, "--scheduler", "threads").code
    assert out.is_symlink()
    assert 5 == len(rows_of(tmp_path / "there" / "rows"))


def test_workers_that_are_killed_again_and_again(cli, server, tmp_path, out, in_threads):
    """It ends as one that is killed, and is to be gone on with."""

    def fail(report):
        raise BrokenExecutor("a worker process was killed")

    in_threads(fail)
    path = listed(server, tmp_path, 5)
    done = cli("fetch", "-i", path, "-o", out, "--scheduler", "threads")
    assert exits.KILLED == done.code
    assert "to go on: fastreq fetch" in done.errors


# ---- ended in the midst of it


def wait_for_note(folder):
    """Wait until a worker has said what its part has come to; gives the path of the part."""
    deadline = time.monotonic() + 20
    while not (notes := list(folder.glob("*.jsonl.note.tmp"))):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return str(notes[0]).removesuffix(".note.tmp")


@needs_posix
def test_interrupted_alone(start, server, tmp_path, out):
    """As by a supervisor: the workers, which hear nothing of it, are not waited for."""
    path = tmp_path / "urls"
    path.write_text(f"{server.url}/delay/30\n")
    with start("fetch", "-i", path, "-o", out, "--workers", 1) as process:
        wait_for_note(out.with_name("out.jsonl.parts"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert 130 == process.returncode
    assert b"Traceback" not in errors
    assert errors.decode().splitlines()[-1].endswith(" --resume")


@needs_posix
def test_two_at_once_are_refused(start, cli, server, tmp_path, out):
    """Whether the second is one process, or has workers."""
    path = tmp_path / "urls"
    path.write_text(f"{server.url}/delay/30\n")
    command = ["fetch", "-i", path, "-o", out, "--resume"]
    with start(*command, "--workers", 1) as process:
        wait_for_note(out.with_name("out.jsonl.parts"))
        for more in ([], ["--workers", 1]):
            done = cli(*command, *more)
            assert (exits.WRITE, True) == (done.code, "another process" in done.errors)
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.0/8")
def test_what_a_part_had_is_kept(start, cli, tmp_path, out):
    """A worker that is killed costs what was on its way, and not all of its part."""
    with counting() as server:
        urls = [f"http://127.0.1.1:{server.port}/{n}" for n in range(1000)]
        path = tmp_path / "urls"
        path.write_text("\n".join(urls))
        command = ["fetch", "-i", path, "-o", out, "--workers", 1, "--rate", "100/s", "--resume"]
        with start(*command, start_new_session=True) as process:
            part = wait_for_note(out.with_name("out.jsonl.parts"))
            while not (kept := so_far(part).rows):
                time.sleep(0.005)
            os.killpg(process.pid, signal.SIGKILL)
        before = sum(server.asked().values())
        done = cli(*command[:-2], "5000/s", "--resume")
        after = sum(server.asked().values())
    assert 0 == done.code, done.errors
    assert urls == [row["url"] for row in rows_of(out)]
    assert after - before <= 1000 - kept


# ---- how far it is


def test_what_is_left(monkeypatch):
    """By what was read of the input, and what is done of that; an earlier run is no merit."""

    class Half:
        fraction = 0.5

    monkeypatch.setattr(fetch, "_all", lambda given, options: iter(range(100)))
    feed = fetch._Feed(Half(), None)
    assert feed.fraction is None
    items = feed.items()
    for _ in range(100):
        next(items)
    for done, before, fraction in [(0, 0, 0.0), (50, 0, 0.25), (100, 20, 80 / 180), (200, 200, 1)]:
        feed.state = Progress(done, 0, None, 0, 1.0, before)
        assert fraction == feed.fraction
    assert [] == list(items)
    feed.state = Progress(50, 0, None, 0, 1.0)
    assert 0.5 == feed.fraction


def test_the_line(capsys, monkeypatch):
    """Rates are of this run; and a log is not told the same twice in the end."""
    now = 1000.0
    monkeypatch.setattr("fastreq.cli.watch.monotonic", lambda: now)
    shown = Watch("plain", lambda: 0.25)
    now += 10
    shown.set(Progress(110, 10, None, 2_200_000, 1.0, 10, ("slow.example", 1.25)))
    shown.show()
    shown.show(end=True)
    said = "110 done, 100 ok, 10 failed, 10/s, 195 KiB/s, 30 s left, slowest slow.example 1,250 ms"
    assert f"fetch: {said}\n" == capsys.readouterr().err


@needs_posix
def test_it_is_told_within_a_part(start, server, tmp_path, out):
    """The lines come while the first part is under way."""
    path = tmp_path / "urls"
    path.write_text(f"{server.url}/hello\n{server.url}/delay/1.1\n{server.url}/delay/30\n")
    with start("fetch", "-i", path, "-o", out, "--workers", 1, "--progress", "json") as process:
        states = map(json.loads, process.stderr)
        state = next(state for state in states if state["done"])
        process.kill()
    assert state["done"] in (1, 2)  # one, where that took its time
    assert (state["done"], "127.0.0.1") == (state["ok"], state["slowest"])
