"""`fastreq URL`: what is sent, and what comes out where."""

import json
import signal
import subprocess
import sys

import pytest
from servers.scripted import reply, serving

from fastreq.testing.routes import pattern

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")


def echo_of(done):
    assert (0, "") == (done.code, done.errors)
    said = json.loads(done.out)
    said["headers"] = {name.lower(): value for name, value in said["headers"]}
    return said


@pytest.mark.parametrize("command", [[], ["get"]])
@pytest.mark.parametrize("path", ["/bytes/300000", "/chunked/300000", "/close/300000"])
def test_stdout_is_the_body(cli, server, command, path):
    assert (0, pattern(0, 300000), "") == cli(*command, server.url + path)


@pytest.mark.parametrize("path", ["/gzip/300000", "/deflate/300000"])
def test_body_is_decoded(cli, server, path):
    assert (0, pattern(0, 300000), "") == cli(server.url + path)


# What a process counts as its peak begins with that of the process it was forked of: a small one.
PEAK = """
import os, resource, sys
code = os.spawnv(os.P_WAIT, sys.argv[1], sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


@needs_posix
def test_body_is_not_kept(cli, server):
    """A body of 512 MiB needs no memory to speak of."""
    path = f"/bytes/{2**29}"
    before = [sys.executable, "-c", PEAK]
    done = cli(server.url + path, before=before, stdout=subprocess.DEVNULL)

    assert 0 == done.code
    assert int(done.errors) * (1 if sys.platform == "darwin" else 1024) < 200 * 2**20


@needs_posix
def test_body_comes_as_it_comes(start, server):
    """The first bytes are there long before the last."""
    with start(server.url + "/bytes/100000000") as process:
        assert pattern(0, 1000) == process.stdout.read(1000)
        process.kill()


def test_request_by_default(cli, server):
    said = echo_of(cli(server.url + "/echo"))

    assert ("GET", "") == (said["method"], said["body"])


def test_method_and_headers(cli, server):
    """Each `-H` adds a field, or replaces one that is sent anyway."""
    fields = ["-H", "X-One: 1", "-H", "X-Two:2", "-H", "user-agent: me", "-H", "X-Empty:"]
    said = echo_of(cli("-X", "DELETE", *fields, server.url + "/echo"))

    assert "DELETE" == said["method"]
    assert {"x-one": "1", "x-two": "2", "user-agent": "me", "x-empty": ""}.items() <= said[
        "headers"
    ].items()


@pytest.mark.parametrize(
    ("option", "kind"),
    [("-d", "application/x-www-form-urlencoded"), ("--json", "application/json")],
)
def test_data(cli, server, tmp_path, option, kind):
    """A body makes it a POST; it is an argument, a file, or stdin."""
    url = server.url + "/echo"
    file = tmp_path / "body"
    file.write_bytes(b"[1]\n")

    for done in (cli(option, "[1]\n", url), cli(option, f"@{file}", url)):
        said = echo_of(done)
        assert ("POST", "[1]\n", kind) == (
            said["method"],
            said["body"],
            said["headers"]["content-type"],
        )
    assert "[2]" == echo_of(cli(option, "@-", url, given=b"[2]"))["body"]
    assert "PUT" == echo_of(cli(option, "", "-X", "PUT", url))["method"]


def test_header_of_data_can_be_set(cli, server):
    done = cli("-d", "x", "-H", "content-type: text/plain", server.url + "/echo")

    assert "text/plain" == echo_of(done)["headers"]["content-type"]


def test_redirects(cli, server):
    assert (0, b"hello", "") == cli(server.url + "/redirect/3")
    assert (0, b"", "") == cli("--no-follow", server.url + "/redirect/3")


def test_status_is_no_error_by_default(cli, server):
    assert (0, b"status 500\n", "") == cli(server.url + "/status/500")


def test_verbose(cli, server):
    """Heads go to stderr: each request, and each response, in their order."""
    done = cli("-v", server.url + "/redirect/1")
    lines = done.errors.splitlines()

    assert (0, b"hello") == (done.code, done.out)
    assert lines[0].startswith("* connected to 127.0.0.1 port ")
    assert "> GET /redirect/1 HTTP/1.1" == lines[1]
    assert f"> Host: {server.url.removeprefix('http://')}" in lines
    starts = [line for line in lines if "HTTP/1.1" in line]
    assert starts == [
        "> GET /redirect/1 HTTP/1.1",
        "< HTTP/1.1 302 Found",
        "> GET /hello HTTP/1.1",
        "< HTTP/1.1 200 OK",
    ]
    assert "< Content-Length: 5" in lines
    assert 1 == sum(line.startswith("* connected to 127.0.0.1 port ") for line in lines)
    assert lines[-1].startswith("* ")
    assert lines[-1].endswith(" ms")


def test_verbose_shows_no_request_that_was_not_sent(cli):
    done = cli("-v", "http://127.0.0.1:1/path")

    assert 7 == done.code
    assert done.errors.startswith("fastreq: ConnectError: ")
    assert 1 == len(done.errors.splitlines())


async def test_verbose_does_not_let_a_server_drive_the_terminal(cli_async):
    """C1 controls are legal in a field, and some terminals obey them."""
    async with serving(reply(b"x", "X-Evil: \x9b2J")) as server:
        done = await cli_async("-v", server.url())

    assert r"< X-Evil: \xc2\x9b2J" in done.errors


def test_tls(cli, server):
    pytest.importorskip("trustme")
    url = server.tls_url + "/hello"

    assert (0, b"hello", "") == cli("--cacert", server.ca_file, url)
    assert (0, b"hello", "") == cli("-k", url)


@needs_posix
def test_nobody_reads_any_more(start, server):
    """As in `fastreq URL | head`: no complaint."""
    with start(server.url + "/bytes/100000000") as process:
        process.stdout.read(10)
        process.stdout.close()
        assert b"" == process.stderr.read()
        assert 23 == process.wait(30)


@needs_posix
@pytest.mark.parametrize("path", ["/delay/60", "/bytes/1000000000"])
async def test_interrupt(start, server, path):
    """Ctrl-C ends it at once, also while nobody reads what it writes."""
    with start("-v", server.url + path) as process:
        assert process.stderr.readline()  # it has begun
        if path.startswith("/bytes"):
            process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(10)
        assert b"Traceback" not in process.stderr.read()


@needs_posix
@pytest.mark.parametrize(("closed", "out"), [("0", b"hello"), ("1", b""), ("2", b"hello")])
def test_closed_streams(cli, server, closed, out):
    """No socket takes the place of a standard stream."""
    shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh"]

    assert (0, out, "") == cli(server.url + "/hello", before=shell)
