"""nginx, as Debian ships it: a server that nobody here wrote."""

import asyncio

import pytest

import fastreq
from fastreq import Client, Limits, StreamClient

SCHEMES = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


@SCHEMES
async def test_every_file(nginx, tls):
    """Length, chunks, until close, gzip, 10 MiB: each body as it is on disk."""
    async with Client(verify=nginx.ca_file) as client:
        for path, body in nginx.files.items():
            response = await client.get(nginx.url(path, tls=tls))

            assert (200, "OK", "HTTP/1.1") == (
                response.status,
                response.status_message,
                response.http_version,
            )
            assert body == response.body
            assert response.headers["server"].startswith("nginx")


@SCHEMES
async def test_every_file_streamed(nginx, tls):
    async with StreamClient(verify=nginx.ca_file) as client:
        for path, body in nginx.files.items():
            pieces = [piece async for piece in client.get(nginx.url(path, tls=tls))]

            assert body == b"".join(pieces)


@SCHEMES
async def test_keep_alive(nginx, tls):
    """One after the other, one connection carries them all."""
    async with Client(verify=nginx.ca_file) as client:
        for path in ("/hello", "/chunked", "/gzip.json", "/204", "/10m", "/busy", "/hello"):
            await client.get(nginx.url(path, tls=tls))
        await client.head(nginx.url("/10m", tls=tls))
        await client.head(nginx.url("/chunked", tls=tls))

        total = client.stats().total
        assert (1, 1, 8) == (total.open, total.opened, total.reused)


@pytest.mark.parametrize("path", ["/close", "/until-close"])
async def test_a_server_that_closes(nginx, path):
    async with Client() as client:
        for _ in range(2):
            assert nginx.files[path] == (await client.get(nginx.url(path))).body

        assert {} == client.stats()


@SCHEMES
async def test_many_at_once(nginx, tls):
    """Every answer is its own: over more requests than connections."""
    paths = [path for path in nginx.files if path not in ("/10m", "/slow")] * 20
    limits = Limits(max_per_host=20)
    async with Client(verify=nginx.ca_file, limits=limits) as client:
        responses = await asyncio.gather(*(client.get(nginx.url(path, tls=tls)) for path in paths))

        assert [nginx.files[path] for path in paths] == [r.body for r in responses]
        assert client.stats().total.open <= 20


async def test_head_has_the_length_and_no_body(nginx):
    async with Client() as client:
        response = await client.head(nginx.url("/10m"))

        assert str(len(nginx.files["/10m"])) == response.headers["content-length"]
        assert b"" == response.body
        assert b"" == (await client.get(nginx.url("/204"))).body
        assert 1 == client.stats().total.opened


async def test_compressed_in_chunks(nginx):
    """Decoded unless it is wanted as it was sent."""
    async with Client() as client:
        response = await client.get(nginx.url("/gzip.json"))
        assert "gzip" == response.headers["content-encoding"]
        assert 1800 == len(response.json())

        async with client.stream("GET", nginx.url("/gzip.json")) as streamed:
            raw = b"".join([piece async for piece in streamed.iter_raw()])
        assert raw.startswith(b"\x1f\x8b")
        assert len(raw) < len(response.body)

        plain = await client.get(nginx.url("/gzip.json"), headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert response.body == plain.body


async def test_put_get_delete(nginx):
    async with Client() as client:
        url = nginx.url("/dav/kept")
        body = bytes(range(256)) * 8192

        async def pieces():
            for start in range(0, len(body), 100_000):
                yield body[start : start + 100_000]

        for content in (body, pieces()):
            assert (await client.put(url, content=content)).status in (201, 204)
            assert body == (await client.get(url)).body
        assert 204 == (await client.delete(url)).status
        assert 404 == (await client.get(url)).status


async def test_a_body_that_is_too_large(nginx):
    """413 before the body is sent: the answer counts, the connection goes."""
    async with Client() as client:
        response = await client.put(nginx.url("/dav/large"), content=bytes(65 * 2**20))

        assert 413 == response.status
        assert {} == client.stats()


async def test_statuses(nginx):
    async with Client() as client:
        busy = await client.get(nginx.url("/busy"))
        assert (503, "1") == (busy.status, busy.headers["retry-after"])
        with pytest.raises(fastreq.HTTPStatusError, match="503 Service"):
            busy.raise_for_status()

        moved = await client.get(nginx.url("/redirect"), follow_redirects=False)
        assert 301 == moved.status


async def test_plain_http_on_a_tls_port_and_the_other_way(nginx):
    """1e: a typed error, and no fallback."""
    async with Client(verify=nginx.ca_file) as client:
        response = await client.get(nginx.url("/hello", tls=True).replace("https", "http"))
        assert 400 == response.status
        with pytest.raises(fastreq.TLSError, match="does not speak TLS"):
            await client.get(nginx.url("/hello").replace("http", "https"))
