"""`fastreq doctor`: what it finds, what it advises, and that it shows no password."""

import json
import os
import platform
import ssl
import sys
from collections import namedtuple

import certifi
import pytest
from servers.proxies import relaying
from servers.scripted import reply, serving

import fastreq
from fastreq.cli import checks, main

VARIABLES = "SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE FASTREQ_LOOP HTTP_PROXY HTTPS_PROXY ALL_PROXY"


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """An environment that says nothing."""
    for name in f"{VARIABLES} {VARIABLES.lower()} NO_PROXY no_proxy".split():
        monkeypatch.delenv(name, raising=False)


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_lines(capsys):
    code = main(["doctor"])
    said = capsys.readouterr()
    lines = said.out.splitlines()

    assert (0, "") == (code, said.err)
    version = platform.python_version()
    assert (
        f"fastreq {fastreq.__version__}, {platform.python_implementation()} {version}" in lines[0]
    )
    assert any(line.startswith("ok       DNS") and "localhost is " in line for line in lines)
    assert lines[-1].endswith("failed: 0")


async def test_json(cli_async):
    """All of it for a program, with a URL that answers."""
    async with serving(reply(status="404 Not Found")) as server:
        done = await cli_async("doctor", "--json", server.url("/x"))
        told = json.loads(done.out)
        asked = server.requests
    found = {finding["name"]: finding for finding in told["findings"]}

    assert (0, "", True) == (done.code, done.errors, told["ok"])
    assert 1 == len(asked)
    assert 404 == found["connection"]["facts"]["status"]
    assert "127.0.0.1" == found["DNS"]["facts"]["host"]
    assert ssl.OPENSSL_VERSION == found["TLS"]["facts"]["openssl"]
    assert {"ok", "warning"} >= {finding["level"] for finding in told["findings"]}


@pytest.mark.parametrize("arguments", [["http://127.0.0.1:1/"], ["nothing"], ["--host", "a..b"]])
def test_what_does_not_work(capsys, arguments):
    assert 1 == main(["doctor", *arguments])
    said = capsys.readouterr()
    assert "" == said.err
    assert 1 == sum(line.startswith("failed ") for line in said.out.splitlines())


async def test_a_name_that_only_the_proxy_knows(cli_async, monkeypatch):
    """It is not looked up here, and nothing is wrong with that."""
    url = "http://inside.invalid/"
    async with serving(reply()) as origin, relaying({"inside.invalid:80": origin.port}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        through = await cli_async("doctor", "--json", url)
        asked = await cli_async("doctor", "--json", "--host", "inside.invalid", url)
        monkeypatch.setenv("no_proxy", "inside.invalid")
        past = await cli_async("doctor", "--json", url)

    for done, levels in [
        (through, ("ok", "ok")),
        (asked, ("failed", "ok")),
        (past, ("failed", "failed")),
    ]:
        found = {finding["name"]: finding for finding in json.loads(done.out)["findings"]}
        assert levels == (found["DNS"]["level"], found["connection"]["level"])
        assert ("failed" in levels) == bool(done.code)
    found = {finding["name"]: finding for finding in json.loads(through.out)["findings"]}
    assert f"for the proxy {proxy.url('')} to look up" in found["DNS"]["text"]


def test_an_environment_that_is_wrong(capsys, monkeypatch, tmp_path):
    """Each is a finding; nothing is raised, and no password shown."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such.pem")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    monkeypatch.setenv("https_proxy", "http://me:hush@proxy.test:3128")
    monkeypatch.setenv("ALL_PROXY", "gopher://me:hush@proxy.test")
    monkeypatch.setenv("NO_PROXY", "localhost")
    assert 1 == main(["doctor", "https://127.0.0.1:1/"])
    said = capsys.readouterr()

    assert "hush" not in said.out + said.err
    assert "https_proxy=http://proxy.test:3128, with a user name" in said.out
    assert "NO_PROXY=localhost" in said.out
    levels = [line.split("  ")[0].split() for line in said.out.splitlines()]
    assert 3 == levels.count(["failed"])  # the authorities, a proxy, the connection
    assert ["warning"] in levels


def test_the_loop(monkeypatch):
    pytest.importorskip("uvloop")
    (found,) = checks.loop()
    assert (checks.OK, True) == (found.level, found.text.endswith(", used"))

    monkeypatch.setenv("FASTREQ_LOOP", "asyncio")
    (found,) = checks.loop()
    assert (checks.OK, "asyncio") == (found.level, found.facts["used"])

    monkeypatch.delenv("FASTREQ_LOOP")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    (found,) = checks.loop()
    assert (checks.WARNING, "asyncio") == (found.level, found.facts["used"])

    monkeypatch.setattr(checks, "_version", lambda name: "")
    (found,) = checks.loop()
    assert "pip install uvloop: it is faster" == found.advice


def test_old_authorities(monkeypatch):
    assert checks.OK == by_name(checks.trust())["trust store"].level

    monkeypatch.setattr(certifi, "__version__", "2019.11.28")
    found = by_name(checks.trust())["trust store"]
    assert (checks.WARNING, "pip install --upgrade certifi") == (found.level, found.advice)


Limit = namedtuple("Limit", "soft hard level advice")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX")
@pytest.mark.parametrize(
    "limit",
    [
        Limit(4096, 4096, "ok", ""),
        Limit(-1, -1, "ok", ""),
        Limit(1024, 500_000, "warning", "ulimit -n 4096"),
        Limit(1024, -1, "warning", "ulimit -n 4096"),
        Limit(256, 1024, "warning", "have the administrator"),
    ],
)
def test_descriptors(monkeypatch, limit):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit.soft, limit.hard))
    monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
    (found,) = checks.descriptors()
    assert limit.level == found.level
    assert found.advice.startswith(limit.advice)
    assert (limit.soft if limit.soft >= 0 else None) == found.facts["soft"]


def test_extras(monkeypatch):
    monkeypatch.setattr(checks, "_is_there", lambda module: module == "warcio")
    monkeypatch.setattr(checks, "_version", lambda name: "1.0")
    found = by_name(checks.extras())["extra crawl"]
    assert (checks.OK, "warcio 1.0, protego is not installed") == (found.level, found.text)
    assert "pip install 'fastreq-http[crawl]' for it" == found.advice


def test_extras_are_those_of_the_project():
    import tomllib
    from pathlib import Path

    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text())
    named = set(project["project"]["optional-dependencies"])
    assert named - {"all", "winloop", "benchmarks", "test", "servers", "types", "dev"} == set(
        checks.EXTRAS
    )


def test_another_fastreq(monkeypatch, tmp_path):
    """On the PATH, under the same name in the same environment, and along sys.path."""
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))
    monkeypatch.setattr(checks, "packages_distributions", lambda: {"fastreq": ["fastreq-http"]})
    script = tmp_path / "bin" / "fastreq"
    script.parent.mkdir()
    script.touch(0o755)
    # The folder of a script that runs comes first.
    own = str(checks.Path(fastreq.__file__).parents[1])
    monkeypatch.setattr(sys, "path", [str(script.parent), own])
    assert ["none"] == [found.text for found in checks.others()]

    (tmp_path / "fastreq.py").touch()
    monkeypatch.setenv("PATH", str(script.parent))
    packages = {"fastreq": ["fastreq", "fastreq-http"]}
    monkeypatch.setattr(checks, "packages_distributions", lambda: packages)
    sys.path.append(str(tmp_path))
    on_path, package, module = checks.others()
    assert {checks.WARNING} == {on_path.level, package.level, module.level}
    assert on_path.text.startswith(str(script))
    assert package.advice.startswith("pip uninstall fastreq,")
    assert str(tmp_path / "fastreq.py") in module.text
