"""A module imports from the rows below its own, types included (CONTRIBUTING.md says why)."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tables import each_row

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fastreq"

# From the top down. A folder is one name, and its files may import each other.
ROWS = """
    __main__
    cli
    __init__
    testing cluster http
    oneshot streaming
    client
    call eventsource
    building
    engine pacing routing
    connect pool bulk
    protocol tunnel
    upload
    exchange ceiling
    http1 policies trace
    messages
    content tls showing
    headers url options deadline loop resolve turnstile
    errors
"""
ROW = {name: number for number, row in enumerate(ROWS.split("\n")) for name in row.split()}

# The rest is plain code, and tested without a loop.
WITH_ASYNCIO = set(
    """
    cli testing cluster client call eventsource engine pacing connect pool bulk protocol tunnel
    upload exchange resolve deadline loop turnstile
    """.split()
)

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    """The name that stands for `file` in ROWS."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(file: Path) -> Iterator[str]:
    """Every module that `file` imports, wherever in the file, with its full name."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            if module == "fastreq":  # `from fastreq import tls` names modules
                yield from (f"fastreq.{alias.name}" for alias in node.names)
            else:
                yield module


def imported_names(file: Path) -> set[str]:
    """The names in ROWS that `file` imports."""
    modules = [module.split(".") for module in imports(file)]
    # What `from fastreq import X` gives may be no module, but something public.
    return {
        name if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists() else "__init__"
        for package, name, *_ in ([*module, "__init__"] for module in modules)
        if package == "fastreq"
    }


def show(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@each_row("file", FILES, ids=show)
def test_imports_come_from_below(file):
    name = name_of(file)
    assert name in ROW, f"{name} has no place in ROWS yet"

    wrong = {other for other in imported_names(file) - {name} if ROW[other] <= ROW[name]}
    assert not wrong, f"{show(file)} imports {sorted(wrong)}, not below {name}"


@each_row("file", FILES, ids=show)
def test_asyncio_is_imported_where_there_is_a_loop(file):
    if name_of(file) not in WITH_ASYNCIO:
        assert not [m for m in imports(file) if m.partition(".")[0] == "asyncio"]


@each_row("file", FILES, ids=show)
def test_only_loop_names_uvloop(file):
    if name_of(file) != "loop":
        assert not {"uvloop", "winloop"} & set(imports(file))


@each_row("file", FILES, ids=show)
def test_newcomers_are_told(file):
    """CONTRIBUTING.md has a word about every module."""
    name = name_of(file)
    told = (ROOT / "CONTRIBUTING.md").read_text()
    assert f"`{name}.py`" in told or f"`{name}/`" in told


def test_imports_are_seen(tmp_path, monkeypatch):
    """Imports of all kinds count: in functions, for types only, relative."""
    folder = tmp_path / "fastreq" / "http1"
    folder.mkdir(parents=True)
    file = folder / "x.py"
    file.write_text(
        "import asyncio.streams\n"
        "from fastreq import tls\n"
        "from ..url import URL\n"
        "from .body import Body\n"
        "if TYPE_CHECKING:\n    from fastreq.client import Client\n"
        "def f():\n    import fastreq.pool\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)

    seen = ["asyncio.streams", "tls", "url", "http1.body", "client", "pool"]
    assert {seen[0], *(f"fastreq.{name}" for name in seen[1:])} == set(imports(file))
