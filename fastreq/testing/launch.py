"""`Server`: the bundled server in a process of its own, for as long as a `with` block."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

GRACE_SECONDS = 5  # between being asked to end and being killed
NAMES = ("localhost", "127.0.0.1", "::1")  # that the certificate is good for


class Server:
    """The bundled server in a process of its own, so that its work is not measured as a client's.

        with Server(tls=True) as server:
            context = ssl.create_default_context(cafile=server.ca_file)
            urllib.request.urlopen(server.tls_url + "/hello", context=context)

    Args:
        tls: serve TLS too, with a certificate made for the run; `"auto"`: if trustme is installed.
        host: the address to listen on.
        port, tls_port: 0 is any free one.

    Attributes, of a server that runs:
        url: such as "http://127.0.0.1:43121".
        tls_url: such as "https://127.0.0.1:43122"; None without TLS.
        ca_file: the path of the certificate (PEM) that a client must trust; None without TLS.
        pid: of its process.

    The process ends with the block, and if this one is killed. FASTREQ_LOOP counts for it too.

    Raises, on entering:
        ImportError: `tls=True` needs trustme.
        RuntimeError: it cannot serve; the text says why, as with a port in use.
    """

    def __init__(
        self,
        *,
        tls: bool | Literal["auto"] = False,
        host: str = "127.0.0.1",
        port: int = 0,
        tls_port: int = 0,
    ) -> None:
        self.url = ""
        self.tls_url: str | None = None
        self.ca_file: str | None = None
        self.pid = 0
        self._tls = tls
        self._host = host
        self._port = port
        self._tls_port = tls_port
        self._running = contextlib.ExitStack()  # what is to be undone

    def __repr__(self) -> str:
        return f"<Server {self.url or 'stopped'}>"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            arguments = [f"--host={self._host}", f"--port={self._port}"]
            if self._tls:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastreq-")))
                if make_certificate(folder, required=self._tls is True):
                    self.ca_file = str(folder / "ca.pem")
                    arguments += [f"--certfile={folder / 'server.pem'}"]
                    arguments += [f"--tls-port={self._tls_port}"]
            process = stack.enter_context(running(arguments))
            said = heard(process)
            self._running = stack.pop_all()
        self.pid = said["pid"]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)
        host = f"[{host}]" if ":" in host else host
        self.url = f"http://{host}:{said['port']}"
        if said["tls_port"] is not None:
            self.tls_url = f"https://{host}:{said['tls_port']}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._running.close()
        self.url, self.tls_url, self.ca_file, self.pid = "", None, None, 0


def make_certificate(folder: Path, *, required: bool) -> bool:
    """Write `ca.pem`, and `server.pem` with the key, unless trustme is missing."""
    try:
        import trustme
    except ImportError as error:
        if not required:
            return False
        raise ImportError(
            "the TLS certificate of the bundled server is made by trustme, which is not installed: "
            "pip install 'fastreq-http[cli]'"
        ) from error
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert(*NAMES)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return True


@contextlib.contextmanager
def running(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, until the end of the block."""
    # It finds the modules that we find, and none (-P) that lie in the working directory by chance.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fastreq.testing.server", *arguments],
        stdin=subprocess.PIPE,  # that it ends with us, whatever happens to us
        stdout=subprocess.PIPE,
        env=environment,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def heard(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What the process says when it is ready.

    Raises:
        RuntimeError: it is not going to be.
    """
    assert process.stdout is not None
    line = process.stdout.readline()
    said: dict[str, Any] = json.loads(line) if line else {"error": "it ended without a word"}
    if "error" in said:
        raise RuntimeError(f"the bundled server did not start: {said['error']}")
    return said
