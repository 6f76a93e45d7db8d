"""Who does the parts of `fan_out`: processes of our own, which end in time, and Dask clusters."""

import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor, CancelledError, Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from fastreq import ConnectError
from fastreq.bulk import executors
from fastreq.bulk.dispatch import Dispatch
from fastreq.bulk.jobs import Part

PARENT = """
import os, sys
from fastreq.bulk.executors import processes

def begin(descriptor):
    import time
    os.write(descriptor, b"begun")
    time.sleep(60)

if __name__ == "__main__":
    with processes(1) as workers:
        workers.submit(begin, 1).result()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path, how):
    """However it ends, and in the midst of their work."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    process = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert b"begun" == process.stdout.read(5)
    process.send_signal(how)
    process.communicate(timeout=20)  # to the end of stdout: nobody has it open any more
    assert process.returncode


def test_an_exception_ends_them_at_once():
    """What they are at is not waited for."""
    with pytest.raises(LookupError), executors.processes(1) as workers:
        future = workers.submit(signal.pause)
        raise LookupError
    assert isinstance(future.exception(20), (BrokenExecutor, CancelledError))


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
def test_a_second_interrupt_waits(monkeypatch):
    """Until the processes have ended, which the first has asked for."""
    ended = []
    with pytest.raises(KeyboardInterrupt), executors.processes(1) as workers:
        future = workers.submit(signal.pause)
        shutdown = workers.executor.shutdown

        def interrupted(**options):
            signal.raise_signal(signal.SIGINT)
            shutdown(**options)
            ended.append(future.done())

        monkeypatch.setattr(workers.executor, "shutdown", interrupted)
        raise KeyboardInterrupt
    assert [True] == ended


def test_what_nobody_waits_for_is_not_begun():
    """Where one part fails, those that have not begun are called off, in a pool of yours too."""
    futures = [Future(), Future()]
    futures[0].set_exception(LookupError())

    def work(part):
        return futures[part.shard]

    parts = iter([Part(shard, 1, []) for shard in range(3)])
    reports = Dispatch(parts, executors.Workers(None, 2), work, list, None).reports()
    with pytest.raises(LookupError):
        next(reports)
    assert [False, True] == [future.cancelled() for future in futures]


# ---- Dask, as far as we know it


class KilledWorker(Exception):
    """As a scheduler says that a part takes every worker with it."""


class Cluster:
    """What we use of a `distributed.Client`."""

    def __init__(self, address, timeout):
        if "gone" in address:
            raise OSError(f"Timed out trying to connect to {address} after {timeout} s")
        self.closed = False

    def get_executor(self, pure, retries):
        return ThreadPoolExecutor(2)

    def nthreads(self):
        return {"one": 1, "two": 2}

    def close(self):
        self.closed = True


@pytest.fixture
def dask(monkeypatch):
    module = SimpleNamespace(Client=Cluster, KilledWorker=KilledWorker)
    monkeypatch.setitem(sys.modules, "distributed", module)


def test_a_scheduler_that_is_not_there(dask):
    with pytest.raises(ConnectError, match="no Dask scheduler at tcp://gone:1"):
        with executors.opened("tcp://gone:1"):
            pass


def test_a_cluster_is_left(dask):
    with pytest.raises(LookupError), executors.opened("tcp://here:1") as workers:
        assert 3 == workers.width
        assert 7 == workers.submit(int, "7").result()
        raise LookupError
    assert workers._client.closed


@pytest.mark.parametrize("error", [KilledWorker, CancelledError, BrokenExecutor])
def test_a_cluster_that_loses_its_workers(dask, error):
    """Or that is gone: it ends, with what says so and why."""

    def work(part):
        future = Future()
        future.set_exception(error("lost"))
        return future

    with executors.opened("tcp://here:1") as workers:
        parts = iter([Part(0, 1, []), Part(1, 1, [])])
        with pytest.raises(BrokenExecutor, match="are kept") as caught:
            list(Dispatch(parts, workers, work, list, None).reports())
    assert isinstance(caught.value.__cause__, error)
