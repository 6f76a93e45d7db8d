"""How the bundled server's process begins and ends."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import fastreq.testing.launch as launch
from fastreq.testing import Server

COMMAND = [sys.executable, "-m", "fastreq.testing.server"]
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def spawn(*arguments: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [*COMMAND, *arguments], stdin=stdin, stdout=pipe, stderr=pipe, env=environment
    )


def fetch(url: str | None, ca_file: str | None = None) -> bytes:
    assert url is not None
    context = ssl.create_default_context(cafile=ca_file) if ca_file else None
    with urllib.request.urlopen(url, context=context, timeout=10) as response:
        body: bytes = response.read()
    return body


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def test_plain() -> None:
    server = Server()
    assert "<Server stopped>" == repr(server)

    with server:
        url = server.url
        assert f"<Server {url}>" == repr(server)
        assert server.tls_url is None
        assert server.ca_file is None
        assert b"hello" == fetch(url + "/hello")

    assert not is_listening(int(url.rpartition(":")[2]))
    assert "" == server.url


def test_starts_again() -> None:
    server = Server()
    for _ in range(2):
        with server:
            assert b"hello" == fetch(server.url + "/hello")


def test_tls() -> None:
    """Clients that trust `ca_file` reach it by name and by address, and no others do."""
    pytest.importorskip("trustme")
    with Server(tls=True) as server:
        ca_file, tls_url = server.ca_file, server.tls_url
        assert ca_file
        assert tls_url
        assert b"hello" == fetch(tls_url + "/hello", ca_file)
        assert b"hello" == fetch(tls_url.replace("127.0.0.1", "localhost") + "/hello", ca_file)
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(tls_url)

    assert not Path(ca_file).exists()


def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with Server(host="::1", tls="auto") as server:
        assert server.url.startswith("http://[::1]:")
        assert b"hello" == fetch(server.url + "/hello")
        if server.tls_url:
            assert b"hello" == fetch(server.tls_url + "/hello", server.ca_file)


def test_any_address() -> None:
    with Server(host="0.0.0.0") as server:
        assert b"hello" == fetch(server.url + "/hello")


def test_without_trustme(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS that was asked for is missed in so many words; "auto" goes on without."""
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(ImportError, match=r"pip install 'fastreq-http\[cli\]'"):
        Server(tls=True).__enter__()
    with Server(tls="auto") as server:
        assert server.tls_url is None
        assert b"hello" == fetch(server.url + "/hello")


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"{port}.* in use"):
            Server(port=port).__enter__()

        with spawn(f"--port={port}") as process:
            said, errors = process.communicate(timeout=20)

    assert "in use" in json.loads(said)["error"]
    assert b"" == errors
    assert 1 == process.returncode


def test_certificate_missing() -> None:
    with spawn("--certfile=/none") as process:
        said, _ = process.communicate(timeout=20)

    assert "/none" in json.loads(said)["error"]
    assert 1 == process.returncode


def test_tls_port_without_certificate() -> None:
    with spawn("--tls-port=0") as process:
        _, errors = process.communicate(timeout=20)

    assert b"TLS needs a --certfile" in errors
    assert 2 == process.returncode


def test_ends_with_its_input() -> None:
    with spawn() as process:
        assert process.stdin
        assert process.stdout
        assert json.loads(process.stdout.readline())["pid"]
        process.stdin.close()

        assert 0 == process.wait(10)
        assert process.stderr
        assert b"" == process.stderr.read()


@needs_signals
def test_stays_without_input() -> None:
    """As in the background, where its input is /dev/null: what takes a while is answered."""
    with spawn(stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        try:
            assert b"hello" == fetch(f"http://127.0.0.1:{said['port']}/delay/0.5")
        finally:
            process.terminate()

        assert 0 == process.wait(10)


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_by_signal(number: signal.Signals) -> None:
    """It ends cleanly, open connections and answers on their way or not."""
    with spawn() as process:
        assert process.stdout
        port = json.loads(process.stdout.readline())["port"]
        with (
            socket.create_connection(("127.0.0.1", port)),
            socket.create_connection(("127.0.0.1", port)) as reading,
        ):
            reading.sendall(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert reading.recv(1000)
            process.send_signal(number)

            assert 0 == process.wait(10)
        assert process.stderr
        assert b"" == process.stderr.read()


@needs_signals
def test_killed_if_it_does_not_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.2)
    with Server() as server:
        port = int(server.url.rpartition(":")[2])
        os.kill(server.pid, signal.SIGSTOP)

    assert not is_listening(port)


@needs_signals
def test_ends_when_its_starter_is_killed() -> None:
    """Nobody has to tidy up after a benchmark that was killed."""
    script = (
        "import time; from fastreq.testing import Server\n"
        "with Server() as server: print(server.url, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as starter:
        assert starter.stdout
        port = int(starter.stdout.readline().decode().rpartition(":")[2])
        assert is_listening(port)
        starter.kill()

    deadline = time.monotonic() + 10
    while is_listening(port) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_listening(port)
