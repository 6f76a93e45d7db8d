"""Each exit code, by what has to happen for it."""

import os

import pytest
from servers.scripted import reply, scripted, serving

import fastreq
from fastreq.cli import main
from fastreq.cli.exits import code_of

USAGE = [
    [],
    ["--no-such-option"],
    ["--verb"],  # no abbreviations: a later option may begin likewise
    ["-H", "no colon"],
    ["-H", "bad name: x"],
    ["-H", "X: a\nY: b"],
    ["-X", "GET /"],
    ["-m", "0"],
    ["-m", "soon"],
    ["-k", "--cacert", __file__],
    ["--cacert", "/no/such/file"],
    ["-d", "a", "--json", "b"],
    ["-d", "@/no/such/file"],
    ["http://127.0.0.1:1"],  # a second URL
]


def is_one_line(errors, kind):
    return errors.startswith(f"fastreq: {kind}: ") and 1 == len(errors.splitlines())


@pytest.mark.parametrize("line", USAGE, ids=" ".join)
def test_usage(line, capsys):
    code = main(["get", *line, *(["http://127.0.0.1:1"] if line else [])])
    said = capsys.readouterr()

    assert (2, "") == (code, said.out)
    assert said.err.startswith("fastreq: ")
    assert 1 == len(said.err.splitlines())


def test_usage_as_a_process(cli):
    done = cli("--no-such-option", "http://127.0.0.1:1")

    assert (2, b"") == (done.code, done.out)
    assert (
        "fastreq: unrecognized arguments: --no-such-option; see `fastreq get --help`\n"
        == done.errors
    )


@pytest.mark.parametrize(
    ("code", "kind", "url"),
    [
        (3, "InvalidURL", "example.org"),
        (3, "InvalidURL", "http://"),
        (3, "InvalidURL", "http://a\nb/"),
        (3, "UnsupportedProtocol", "ftp://example.org"),
        (6, "DNSError", "http://no-such-host.invalid"),
        (7, "ConnectError", "http://127.0.0.1:1"),
        (7, "ConnectError", "http+unix://%2Fno%2Fsuch.sock/"),
    ],
)
def test_not_reached(cli, code, kind, url):
    done = cli(url)

    assert (code, b"") == (done.code, done.out)
    assert is_one_line(done.errors, kind)


def test_status(cli, server):
    """Nothing of the body comes out."""
    assert 0 == cli("-f", server.url + "/status/399").code
    done = cli("-f", server.url + "/status/400")

    assert (22, b"") == (done.code, done.out)
    assert is_one_line(done.errors, "HTTPStatusError")
    assert "400 Bad Request" in done.errors


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_no_room(cli, server):
    with open("/dev/full", "wb") as full:
        done = cli(server.url + "/bytes/100000", stdout=full)

    assert 23 == done.code
    assert is_one_line(done.errors, "OSError")


@pytest.mark.parametrize("kind", ["head", "body"])
async def test_timeout(cli_async, kind):
    """`-m` is for all of it."""

    async def handler(conn):
        await conn.read_request()
        if kind == "body":
            await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        await conn.wait_closed()

    async with scripted(handler) as server:
        done = await cli_async("-m", "0.5", server.url())

    assert (28, b"he" if kind == "body" else b"") == (done.code, done.out)
    assert is_one_line(done.errors, "TotalTimeout")


async def test_no_tls(cli_async):
    async def handler(conn):
        await conn.reader.read(1)
        await conn.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with scripted(handler) as server:
        done = await cli_async(server.url().replace("http:", "https:"))

    assert (35, b"") == (done.code, done.out)
    assert is_one_line(done.errors, "TLSError")


def test_redirects(cli, server):
    done = cli(server.url + "/redirect/100")

    assert (47, b"") == (done.code, done.out)
    assert is_one_line(done.errors, "TooManyRedirects")


BROKEN = {
    b"": ("ReadError", b""),
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel": ("IncompleteBody", b"hel"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n": ("RemoteProtocolError", b""),
    b"SSH-2.0-OpenSSH_9.2\r\n": ("RemoteProtocolError", b""),
}


@pytest.mark.parametrize("response", BROKEN)
async def test_broken_response(cli_async, response):
    """What came of the body before is out already, as with curl."""

    async def handler(conn):
        await conn.read_request()
        await conn.send(response)

    async with scripted(handler) as server:
        done = await cli_async(server.url())

    kind, out = BROKEN[response]
    assert (56, out) == (done.code, done.out)
    assert is_one_line(done.errors, kind)


@pytest.mark.parametrize("kind", ["wrong_name", "expired", "self_signed", "unknown_ca"])
async def test_certificate(cli_async, certs, kind):
    async with serving(reply(b"hello"), tls=getattr(certs, kind)) as server:
        url = server.url(host="localhost")
        trust = [] if kind == "self_signed" else ["--cacert", certs.ca_file]
        refused = await cli_async(*trust, url)
        accepted = await cli_async("-k", url)

    assert (60, b"") == (refused.code, refused.out)
    assert is_one_line(refused.errors, "TLSError")
    assert (0, b"hello", "") == accepted


async def test_decoding(cli_async):
    async with serving(reply(b"not gzip", "Content-Encoding: gzip")) as server:
        done = await cli_async(server.url())

    assert (61, b"") == (done.code, done.out)
    assert is_one_line(done.errors, "DecodingError")


@pytest.mark.parametrize(
    "kind",
    sorted(
        (e for e in vars(fastreq).values() if isinstance(e, type) and issubclass(e, Exception)),
        key=lambda kind: kind.__name__,
    ),
)
def test_every_error_has_a_code(kind):
    """No error counts as done, nor as Python's own failure, which is 1, unless nothing fits."""
    never = {"FastreqError", "BodyTooLarge", "ClientClosed", "StreamConsumed"}

    assert (1 == code_of(kind("text"))) == (kind.__name__ in never)
