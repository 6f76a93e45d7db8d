"""What is to be fetched, item by item: what is wrong with a line is said, nothing is guessed."""

import gzip
import os
from contextlib import closing

import pytest

from fastreq.bulk.inputs import MAX_SHOWN, Input, Item


@pytest.fixture
def read(tmp_path):
    """The items of a file of that name and content."""

    def read(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        with closing(Input(str(path), None, "url")) as given:
            return list(given)

    return read


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("urls.txt", b"http://h/caf\xe9\nhttp://h/b\n"),
        ("urls.jsonl", b'{"url": "http://h/caf\xe9"}\n"http://h/b"\n'),
        ("urls.csv", b"url\nhttp://h/caf\xe9\nhttp://h/b\n"),
    ],
    ids=["txt", "jsonl", "csv"],
)
def test_what_is_no_utf8_is_an_error(read, name, data):
    """It is not fetched as something else; the line is shown with its bytes."""
    wrong, right = read(name, data)
    assert "not UTF-8" in wrong.error
    assert "http://h/caf\\xe9" in wrong.url
    assert Item(1, "http://h/b") == right


def test_what_is_utf8_is_kept(read):
    assert [Item(0, "http://h/café"), Item(1, "http://h/\ufffd")] == read(
        "urls", "\ufeffhttp://h/café\nhttp://h/\ufffd\n".encode()
    )


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_named(read, coding):
    """As PowerShell writes it."""
    with pytest.raises(ValueError, match="UTF-16"):
        read("urls", "\ufeffhttp://h/a\n".encode(coding))


def test_what_is_no_list_is_not_copied(read):
    """A line that is too long for a URL is cut where it stands for one."""
    (item,) = read("urls", b"x" * 100_000)
    assert "x" * MAX_SHOWN == item.url
    assert item.error


def test_long_urls_are_left_whole(read):
    url = "http://h/" + "a" * 5000
    assert [Item(0, url)] == read("urls", url.encode())


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(b"http://h/\n" * 99)[:-9]], ids=["none", "torn"]
)
def test_what_is_no_gzip(read, data):
    with pytest.raises(ValueError, match="no whole gzip file"):
        read("urls.gz", data)


@pytest.mark.parametrize("root", ["html", "rss"])
def test_what_is_no_sitemap(read, root):
    with pytest.raises(ValueError, match=f"begins with <{root}>"):
        read("urls.xml", f"<{root}><url><loc>http://h/</loc></url></{root}>".encode())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(
    ("root", "kind", "fraction"), [("urlset", "url", 1.0), ("sitemapindex", "sitemap", None)]
)
def test_how_much_was_read(tmp_path, root, kind, fraction):
    """Of an index that says nothing: what its sitemaps name is not in it."""
    path = tmp_path / "sitemap.xml"
    path.write_text(f"<{root}><{kind}><loc>http://h/a</loc></{kind}></{root}>")
    with closing(Input(str(path), None, "url")) as given:
        assert 0.0 == given.fraction
        assert 1 == len(list(given))
        assert fraction == given.fraction


def test_what_may_block(tmp_path):
    """Reading a file cannot take for ever, reading a pipe can."""
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(b"http://h/\n")
    os.mkfifo(pipe)
    keeps = os.open(pipe, os.O_RDWR)
    try:
        given = [Input(str(path), None, "url") for path in (file, pipe)]
        assert [False, True] == [one.blocks for one in given]
        for one in given:
            one.close()
    finally:
        os.close(keeps)
