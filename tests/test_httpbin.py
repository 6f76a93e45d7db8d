"""httpbin under waitress: it says what it was sent, and has a page for most of what HTTP does."""

import asyncio

import pytest

import fastreq
from fastreq import Client, Timeout


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_methods(httpbin, method):
    async with Client() as client:
        seen = (await client.request(method, httpbin.url("/anything?a=b"), content=b"x")).json()

    assert (method, {"a": "b"}, "x") == (seen["method"], seen["args"], seen["data"])
    assert "1" == seen["headers"]["Content-Length"]


async def test_what_is_sent_by_itself(httpbin):
    async with Client() as client:
        seen = (await client.get(httpbin.url("/headers"))).json()["headers"]

    assert f"127.0.0.1:{httpbin.port}" == seen["Host"]
    assert "*/*" == seen["Accept"]
    assert "gzip, deflate" == seen["Accept-Encoding"][:13]
    assert seen["User-Agent"].startswith("fastreq/")
    assert "Content-Length" not in seen


@pytest.mark.parametrize("status", [200, 201, 204, 304, 400, 404, 418, 429, 500, 503])
async def test_status_codes(httpbin, status):
    async with Client() as client:
        response = await client.get(httpbin.url(f"/status/{status}"))

        assert status == response.status == response.status_code
        assert (status < 400) == response.ok


@pytest.mark.parametrize(("path", "key"), [("/gzip", "gzipped"), ("/deflate", "deflated")])
async def test_codings(httpbin, path, key):
    async with Client() as client:
        response = await client.get(httpbin.url(path))

    assert response.json()[key]
    assert path[1:] == response.headers["content-encoding"]


@pytest.mark.parametrize("size", [0, 1, 1024, 100_000])
async def test_bodies_of_any_size(httpbin, size):
    """The same seed gives the same bytes: whole, streamed, and in chunks."""
    async with Client() as client:
        whole = (await client.get(httpbin.url(f"/bytes/{size}?seed=1"))).body
        async with client.stream("GET", httpbin.url(f"/stream-bytes/{size}?seed=1")) as response:
            streamed = await response.aread()

    assert size == len(whole)
    assert whole == streamed


async def test_lines(httpbin):
    async with Client() as client, client.stream("GET", httpbin.url("/stream/20")) as response:
        lines = [line async for line in response.iter_lines()]

    assert 20 == len(lines)


async def test_a_delay_that_is_too_long(httpbin):
    """The client goes on: its next request is answered."""
    async with Client() as client:
        with pytest.raises(fastreq.ReadTimeout, match=r"no byte for .* Timeout\(read="):
            await client.get(httpbin.url("/delay/1"), timeout=Timeout(read=0.1))
        with pytest.raises(fastreq.TotalTimeout):
            await client.get(httpbin.url("/delay/1"), timeout=0.1)

        assert 200 == (await client.get(httpbin.url("/get"))).status


async def test_many_at_once(httpbin):
    """Every answer is that of its request."""
    async with Client(limits=fastreq.Limits(max_per_host=6)) as client:
        responses = await asyncio.gather(
            *(client.get(httpbin.url(f"/get?number={n}")) for n in range(40))
        )

    assert [str(n) for n in range(40)] == [r.json()["args"]["number"] for r in responses]


async def test_text_and_charset(httpbin):
    async with Client() as client:
        response = await client.get(httpbin.url("/encoding/utf8"))

    assert "utf-8" == response.encoding
    assert "∮ E⋅da = Q" in response.text
