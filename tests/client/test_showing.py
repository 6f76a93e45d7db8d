"""`Response.table()`, and what a notebook shows: all of it text, and no secret."""

import subprocess
import sys

import pytest
from servers.scripted import reply, serving

from fastreq import URL, Client, Response
from fastreq.policies.redirects import DEFAULT_SENSITIVE


@pytest.fixture(params=["table", "_repr_html_"])
def shown(request):
    return lambda response: getattr(response, request.param)()


async def test_what_is_shown(shown):
    answer = reply(b"first\nsecond", "Content-Type: text/plain", "X-A: b")
    async with serving(answer) as server, Client() as client:
        url = server.url("/path").replace("://", "://me:hush@")
        text = shown(await client.get(url))
        streamed = await client.send(client.build_request("GET", url), stream=True)
        stream = shown(streamed)
        await streamed.aclose()
    for part in ("200 OK (HTTP/1.1)", "GET http://127.0.0.1:", "/path", "127.0.0.1 port "):
        assert part in text
    for part in ("12 bytes", "ttfb ", "X-A", "text/plain", "first\nsecond"):
        assert part in text
    assert "a stream, not read" in stream
    assert "hush" not in text + stream


def test_the_table():
    response = Response(404, headers={"X-Long-Name": "1", "A": "2"}, content="gone")
    assert response.table().splitlines() == [
        "Status       404 Not Found (HTTP/1.1)",
        "URL          GET http://localhost/",
        "Body         4 bytes",
        "",
        "X-Long-Name  1",
        "A            2",
        "",
        "gone",
    ]
    assert "<Response 404 Not Found>" == repr(response)


def test_no_secret_is_shown(shown):
    names = [*DEFAULT_SENSITIVE, "Authorization", "Cookie", "Set-Cookie", "Proxy-Authorization"]
    text = shown(Response(200, headers=dict.fromkeys(names, "hush")))
    assert "hush" not in text
    assert len(names) == text.count("[secure]")


def test_no_secret_of_a_url_is_shown(shown):
    """Wherever it stands: who leads elsewhere may say a password, or a token."""
    target = "http://me:hush@example.com/?a=plain&X-Amz-Signature=hush#access_token=hush"
    fields = {"Location": target, "Refresh": f"0; url={target}", "Link": f"<{target}>; rel=next"}
    response = Response(302, headers=fields)
    response.request.url = URL("http://me:hush@localhost/?a=plain&api_key=hush")

    text = shown(response)
    assert "hush" not in text
    assert 4 == text.count("a=plain")
    assert 3 == text.count("example.com/?")


def test_challenges_are_shown(shown):
    assert "Basic realm" in shown(Response(401, headers={"WWW-Authenticate": "Basic realm=x"}))


def test_nothing_runs_and_nothing_is_obeyed(shown):
    """Neither markup, nor what drives a terminal, nor what turns the direction of text."""
    evil = "<script>&\x9b2J\u202e\x7f"
    text = shown(Response(200, headers={"X-Evil": "<b>\x9b2J"}, content=f"{evil}\x1b[2J\r\n{evil}"))
    assert not [char for char in text if not char.isprintable() and char != "\n"]
    assert r"\x1b[2J" in text
    assert r"\u202e" in text


def test_html_is_escaped():
    response = Response(200, headers={"X": "<i>&'\""}, content="<script>alert(1)</script>")
    html = response._repr_html_()
    assert "<script>" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


@pytest.mark.parametrize(
    ("content", "preview"),
    [(b"\x89PNG\0\1", ""), (b"x" * 1000, "x" * 500 + "…"), (b"\xff\xfe", ""), (b"", "")],
    ids="binary long bom empty".split(),
)
def test_bodies(content, preview):
    table = Response(200, headers={"A": "b"}, content=content).table()
    assert preview == table.partition("\n\n")[2].partition("\n\n")[2]
    assert f"{len(content):,} bytes" in table


def test_a_charset_that_is_none(shown):
    response = Response(200, content="grüße")
    response.encoding = "no such"
    assert "grüße" in shown(response)


def test_it_costs_nothing_to_those_who_do_not_ask():
    code = "import sys, fastreq; sys.exit('fastreq.showing' in sys.modules)"
    assert (
        0
        == subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}
        ).returncode
    )
