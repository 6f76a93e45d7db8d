"""The examples of docs/ do what they say: each block marked `python` is run, page by page.

They are written as in `python -m asyncio`, with `await` at the top. A page has `fastreq`,
`asyncio`, and the bundled server: its URL is BASE, over TLS it is TLS, and CA is whom to trust.
Where a page starts the server by hand, its URL is `STARTED`.
"""

import ast
import asyncio
import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastreq
import fastreq.testing

ROOT = Path(__file__).parent.parent
PAGES = """
    tutorial requests redirects-and-secrets retries-and-pace guard reading hooks-and-testing errors
    timeouts tls
""".split()
STARTED = "http://127.0.0.1:8000"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


@pytest.fixture(scope="module")
def server() -> Iterator[fastreq.testing.Server]:
    with fastreq.testing.Server(tls="auto") as server:
        yield server


@pytest.mark.parametrize("page", PAGES)
async def test_page(server, page, tmp_path, monkeypatch):
    if page == "tls" and server.tls_url is None:
        pytest.skip("trustme is not installed")
    monkeypatch.chdir(tmp_path)
    path = ROOT / "docs" / f"{page}.md"
    text = path.read_text()
    names = {"fastreq": fastreq, "asyncio": asyncio}
    names |= {"BASE": server.url, "TLS": server.tls_url, "CA": server.ca_file}

    blocks = list(BLOCK.finditer(text))
    assert blocks, "a page has an example"
    for block in blocks:
        lines = "\n" * text.count("\n", 0, block.start(1))  # for the numbers of the lines
        lines += block[1].replace(STARTED, server.url)
        code = compile(lines, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result


@pytest.mark.parametrize("file", sorted(ROOT.glob("docs/*.md")), ids=lambda file: file.stem)
def test_links_lead_somewhere(file):
    for link in LINK.findall(file.read_text()):
        assert (file.parent / link).exists(), link


def test_reference():
    """It has every public name, as its docstring has it now."""
    made = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["reference"]()

    page = (ROOT / "docs" / "reference.md").read_text()
    assert made == page, "python docs/make_reference.py"
    missing = [name for name in fastreq.__all__ if f"`fastreq.{name}`" not in page]
    assert [] == missing
