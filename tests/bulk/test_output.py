"""The file with the rows: each is whole, none is lost, and nothing of anybody else's is touched."""

import errno
import json
import os
import sys

import pytest

from fastreq.bulk.output import Output, kind_of, write_all

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def row(index, **more):
    return {"index": index, "url": f"http://h/{index}", "status": 200, "ok": True, **more}


def indexes(path):
    return [json.loads(line)["index"] for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.jsonl"


@pytest.mark.parametrize(
    "data",
    [b'{"precious": "settings"}', b"http://h/x", os.urandom(500).replace(b"\n", b"") + b"\xff"],
    ids=["json", "url", "binary"],
)
def test_what_is_not_ours_stays(path, data):
    """Without a newline at its end it is no torn row."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match="no row of ours"):
        Output(str(path), True)
    assert data == path.read_bytes()


class FullDisk:
    """`os.write` on a disk that has room for so many bytes."""

    def __init__(self, room):
        self.room = room
        self.write = os.write

    def __call__(self, number, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.write(number, data[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 10, 70, 150])
def test_a_disk_that_is_full_for_a_moment(path, monkeypatch, room):
    """The file ends with a whole row, and what was not written is written later."""
    output = Output(str(path), False)
    for index in range(5):
        output.write(row(index))
    disk = FullDisk(room)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", disk)
        with pytest.raises(OSError, match="No space"):
            output.flush()
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    output.write(row(5))
    output.close()
    assert list(range(6)) == indexes(path)


def test_a_refused_job_leaves_no_file(path):
    output = Output(str(path), False)
    output.forget_if_empty()
    output.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "data", [b"", b'{"index": 0, "url": "http://h/", "status": 1, "ok": true}\n']
)
def test_a_refused_job_leaves_the_file_of_another(path, data):
    path.write_bytes(data)
    output = Output(str(path), True)
    output.forget_if_empty()
    output.close()
    assert data == path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("none", {}),
        ("inline", {"body": ""}),
        ("inline", {"body_base64": "/w=="}),
        ("dir", {"body_path": "x"}),
        ("warc", {"warc": {"offset": 5, "length": 7}}),
    ],
)
def test_what_was_kept_of_bodies_is_known(path, kind, more):
    """A row without a response says nothing of it."""
    with_error = row(0) | {"status": None, "ok": False}
    path.write_bytes(b"".join(json.dumps(r).encode() + b"\n" for r in (with_error, row(1, **more))))
    output = Output(str(path), True)
    output.close()
    assert kind == kind_of(row(1, **more)) == output.bodies
    assert (12 if kind == "warc" else 0) == output.warc_end


@posix
def test_a_pipe_that_does_not_block():
    """What does not fit is written once there is room: as others hand their pipes on."""
    from threading import Thread

    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    data = os.urandom(1_000_000)
    writer = Thread(target=lambda: (write_all(writes, data), os.close(writes)))
    writer.start()
    with open(reads, "rb") as file:
        assert data == file.read()
    writer.join()
