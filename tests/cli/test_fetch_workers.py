"""`fastreq fetch --workers` with `--bodies`: as in one process."""

import json
import os

import pytest

from fastreq import fan_out
from fastreq.testing.routes import item


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
        assert 0 == cli(*command, "--resume", *more).code
    assert {str(tmp_path / "out.jsonl.bodies")} == {
        os.path.dirname(row["warc"]["file"]) for row in rows_of(out)
    }


def test_a_kind_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="bodies='tar'"):
        fan_out([], tmp_path / "out", bodies="tar")
    assert not (tmp_path / "out").exists()
