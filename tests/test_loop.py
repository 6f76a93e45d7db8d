"""run(), new_event_loop() and install(), each in a process of its own with warnings as errors."""

import asyncio
import sys

import pytest
from programs import python

import fastreq


def said(program, *, preface="", **environment):
    """What a program prints, where it has nothing to complain of."""
    environment = {"PATH": "", "PYTHONPATH": ":".join(sys.path), **environment}
    done = python(program, preface=preface, environment=environment)
    assert "" == done.stderr
    assert 0 == done.returncode
    return done.stdout


WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None\n"

KIND = """
    import asyncio, fastreq

    async def main():
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]
"""


def test_run_uses_uvloop():
    pytest.importorskip("uvloop")

    assert "uvloop\n" == said(KIND + "\n    print(fastreq.run(main()))")


def test_run_without_uvloop():
    """Nothing needs it to be correct."""
    assert "asyncio\n" == said(KIND + "\n    print(fastreq.run(main()))", preface=WITHOUT_UVLOOP)


def test_the_environment_may_ask_for_asyncio():
    assert "asyncio\n" == said(KIND + "\n    print(fastreq.run(main()))", FASTREQ_LOOP="asyncio")


def test_the_environment_may_not_ask_for_what_there_is_not():
    program = """
        import fastreq

        try:
            fastreq.new_event_loop()
        except ValueError as exc:
            print(exc)
    """
    text = "FASTREQ_LOOP='trio' in the environment: expected asyncio or uvloop\n"
    assert text == said(program, FASTREQ_LOOP="trio")


def test_run_gives_the_result_and_the_error():
    assert "3 ValueError('mine')\n" == said(
        """
        import fastreq

        async def result():
            return 3

        async def error():
            raise ValueError("mine")

        try:
            fastreq.run(error())
        except ValueError as exc:
            print(fastreq.run(result()), repr(exc))
        """
    )


def test_run_touches_no_policy():
    """asyncio.run() after it is as it was before."""
    assert "asyncio\n" == said(KIND + "\n    fastreq.run(main()); print(asyncio.run(main()))")


@pytest.mark.parametrize("debug", [True, False])
def test_run_in_debug_mode(debug):
    assert f"{debug}\n" == said(
        f"""
        import asyncio, fastreq

        async def main():
            return asyncio.get_running_loop().get_debug()

        print(fastreq.run(main(), debug={debug}))
        """
    )


async def test_run_inside_a_running_loop():
    """The error says what to write instead, and no coroutine is left that nobody awaited."""

    async def main():
        raise AssertionError

    for given in (main(), main, 3):
        with pytest.raises(RuntimeError, match=r"use await: `await main\(\)`"):
            fastreq.run(given)


def test_a_new_loop_for_a_runner():
    for _ in range(2):
        with asyncio.Runner(loop_factory=fastreq.new_event_loop) as runner:
            assert 7 == runner.run(asyncio.sleep(0, 7))


# ---- install


def test_install():
    """asyncio.run() is on uvloop from then on, up to Python 3.13 without a word."""
    pytest.importorskip("uvloop")
    if sys.version_info >= (3, 14):
        pytest.skip("from Python 3.14 on it warns")

    assert "True uvloop\n" == said(KIND + "\n    print(fastreq.install(), asyncio.run(main()))")


def test_install_without_uvloop():
    """There is nothing to install, and asyncio stays."""
    program = KIND + "\n    print(fastreq.install(), asyncio.run(main()))"

    assert "False asyncio\n" == said(program, preface=WITHOUT_UVLOOP)
    assert "False asyncio\n" == said(program, FASTREQ_LOOP="asyncio")


AS_IF = """
    import types, warnings
    import fastreq.loop

    fastreq.loop.sys = types.SimpleNamespace(platform="linux", version_info={version})
"""


@pytest.mark.parametrize("version", [(3, 14), (3, 15)])
def test_install_where_policies_are_on_their_way_out(version):
    """One warning, at the caller's line, that says what to write instead; and it works."""
    pytest.importorskip("uvloop")

    assert "<string> DeprecationWarning True uvloop\n" == said(
        AS_IF.format(version=version)
        + KIND
        + """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = fastreq.install()
        kind = asyncio.run(main())
    [warning] = [w for w in caught if "fastreq.run(main())" in str(w.message)]
    print(warning.filename, warning.category.__name__, done, kind)
        """
    )


def test_install_where_there_are_no_policies():
    pytest.importorskip("uvloop")

    assert "True\n" == said(
        AS_IF.format(version=(3, 16))
        + """
    try:
        fastreq.install()
    except RuntimeError as exc:
        print("fastreq.run(main())" in str(exc) and "loop_factory" in str(exc))
        """
    )
