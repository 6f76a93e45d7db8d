"""A part of `fan_out` that is being done: what it has so far is known, and not lost."""

import json
import os

import pytest

from fastreq.bulk import unfinished
from fastreq.bulk.jobs import PartReport
from fastreq.bulk.unfinished import Unfinished, so_far


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "NOTE_SECONDS", 0.0)
    return str(tmp_path / "part.jsonl")


def row(index, ok=True, total=0.5, **more):
    timings = {"queue": 0.25, "total": total} if ok else None
    return {"index": index, "ok": ok, "bytes": 10, "timings": timings, "elapsed": 3.0, **more}


def indexes(path):
    with open(path) as lines:
        return [json.loads(line)["index"] for line in lines]


def test_what_it_has_so_far(path):
    """The slowest host is that of the longest answers; to wait for a turn is not its fault."""
    part = Unfinished(path)
    assert so_far(path) is None
    part.write(row(0), "a")
    part.write(row(1, total=1.25), "b")
    assert PartReport(2, 2, 20, False, ("b", 1.0)) == so_far(path)
    part.write(row(2, total=2.25), "a")
    part.write(row(3, total=2.25), "b")
    part.write(row(4, ok=False), "")  # what is no URL has no host
    assert PartReport(5, 4, 50, False, ("b", 1.5)) == so_far(path)
    part.write(row(5, ok=False), "c")
    assert PartReport(6, 4, 60, False, ("c", 3.0)) == part.finish()

    assert so_far(path) is None
    assert [0, 1, 2, 3, 4, 5] == indexes(path)
    assert ["part.jsonl"] == os.listdir(os.path.dirname(path))


def test_the_next_takes_over(path):
    """What the first had, but for what is torn, and what it did not have to have."""
    first = Unfinished(path)
    for index in (7, 3, 99):
        first.write(row(index), "a")
    first.close()
    (file,) = [name for name in os.listdir(os.path.dirname(path)) if "note" not in name]
    with open(os.path.join(os.path.dirname(path), file), "a") as lines:
        lines.write('{"index": 8, "ok"')

    second = Unfinished(path)
    assert {5, 8} == second.take_over([3, 5, 7, 8])
    assert (2, 2, 20) == so_far(path)[:3]  # for whoever comes third
    second.write(row(5), "a")
    second.write(row(8), "a")
    assert 4 == second.finish().rows
    assert [7, 3, 5, 8] == indexes(path)


@pytest.mark.parametrize("torn", ["{", "[]", '{"file": "gone", "report": [1, 1, 1, false, null]}'])
def test_a_note_that_is_of_no_use(path, torn):
    """Then all of it is done."""
    with open(f"{path}.note.tmp", "w") as note:
        note.write(torn)
    part = Unfinished(path)
    assert {1, 2} == part.take_over([1, 2])
    part.write(row(1), "")
    part.write(row(2), "")
    assert 2 == part.finish().rows


@pytest.mark.parametrize("torn", [b"\0\0\0\0", b"\xff\xfe\n", b"[1]\n", b'{"index": 5}\n'])
def test_a_file_that_is_torn(path, torn):
    """As by a machine that lost its power: the rows before that count."""
    first = Unfinished(path)
    first.write(row(1), "a")
    first.close()
    (file,) = [name for name in os.listdir(os.path.dirname(path)) if "note" not in name]
    with open(os.path.join(os.path.dirname(path), file), "ab") as lines:
        lines.write(torn + json.dumps(row(2)).encode() + b"\n")
    second = Unfinished(path)
    assert {2} == second.take_over([1, 2])
    second.close()
