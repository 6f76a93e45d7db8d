"""How a command is chosen, and what it costs to be asked."""

import ast
import os
import subprocess
import sys

import pytest

import fastreq
from fastreq.cli import main


def test_version(cli):
    assert (0, f"fastreq {fastreq.__version__}\n".encode(), "") == cli("--version")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands(cli, option):
    done = cli(option)

    assert (0, "") == (done.code, done.errors)
    assert b"fastreq URL" in done.out
    assert b"  demo  " in done.out


def test_without_arguments(cli):
    """Usage goes to stderr, so that nothing is piped on."""
    done = cli()

    assert (2, b"") == (done.code, done.out)
    assert "fastreq URL" in done.errors


@pytest.mark.parametrize("command", ["get", "demo"])
def test_help_of_a_command(cli, command):
    done = cli(command, "--help")

    assert (0, "") == (done.code, done.errors)
    assert f"usage: fastreq {command}".encode() in done.out


def test_what_is_no_command_is_a_url(cli, server):
    """Options may come first."""
    for line in ([server.url + "/hello"], ["-f", server.url + "/hello"]):
        assert (0, b"hello", "") == cli(*line)


@pytest.mark.parametrize(("word", "meant"), [("bnech", "bench"), ("fetsh", "fetch")])
def test_a_slip_of_a_command(cli, word, meant):
    done = cli(word, "http://127.0.0.1:1/")
    assert (2, b"") == (done.code, done.out)
    assert f"fastreq: {word!r} is no command; did you mean {meant!r}?\n" == done.errors


def test_a_loop_that_there_is_not(cli, monkeypatch):
    monkeypatch.setenv("FASTREQ_LOOP", "trio")
    done = cli("http://127.0.0.1:1/")
    assert (2, b"") == (done.code, done.out)
    assert "FASTREQ_LOOP='trio' in the environment: expected asyncio or uvloop" in done.errors


def test_main_gives_the_exit_code():
    """As `[project.scripts]` expects of `fastreq.cli:main`."""
    assert 2 == main(["get"])


def test_import_is_quick():
    """Nothing is imported that another command needs, or an extra."""
    code = "import sys, fastreq.cli; fastreq.cli.main(['get', '-h']); print(list(sys.modules))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    modules = set(ast.literal_eval(done.stdout.decode().splitlines()[-1]))

    assert "fastreq.cli.get" in modules
    assert not {"rich", "trustme", "fastreq.testing", "fastreq.cli.demo"} & modules
