"""The server that clients are measured against, in a process and on a core of its own.

    python benchmarks/server.py          # until Ctrl-C; prints what worker.py --site takes

It is nginx with one worker where that is installed, else the bundled server, which is several
times slower: then it is the server that limits what a client can show. Plain, and over TLS with a
certificate made for the run by trustme.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from served import POSTED, Site

from fastreq.testing import Server
from fastreq.testing.launch import make_certificate
from fastreq.testing.routes import JSON
from fastreq.testing.server import allow_many_connections, pattern

START_SECONDS = 10  # that nginx may take
BLOCK = 2**20  # bytes of a file that are written at a time

ROWS = [{"id": n, "name": f"row {n}", "value": n * 37 % 1009 / 8} for n in range(2200)]
"""100 KB of JSON."""

UPLOAD = 100 * 10**6  # bytes


@contextlib.contextmanager
def serving(
    *, large: int = 2**28, core: int | None = None, bundled: bool = False
) -> Iterator[Site]:
    """Serve until the end of the block.

    Args:
        large: bytes of the largest body.
        core: where the server's process is kept.
        bundled: not by nginx, even where it is installed.
    """
    allow_many_connections()  # in this process, and so in the server's
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    binary = None if bundled else shutil.which("nginx", path=path)
    with tempfile.TemporaryDirectory(prefix="fastreq-bench-") as name:
        folder = Path(name)
        has_tls = make_certificate(folder, required=False)
        write_pattern(folder / "upload", UPLOAD)
        if binary is not None:
            with nginx(binary, folder, large, has_tls, core) as site:
                yield site
        else:
            with bundled_server(folder, large, core) as site:
                yield site


# ---- bodies


def write_pattern(path: Path, size: int) -> None:
    """A file like that of the bundled server's /bytes/<size>."""
    with path.open("wb") as file:
        for offset in range(0, size, BLOCK):
            file.write(pattern(offset, min(BLOCK, size - offset)))


def spellings(value: Any) -> list[bytes]:
    """A value as the clients may write it: JSON with and without spaces."""
    return [json.dumps(value).encode(), json.dumps(value, separators=(",", ":")).encode()]


def files(folder: Path, name: str, bodies: list[bytes]) -> list[str]:
    """Keep bodies that may come."""
    names = [f"{name}-{number}" for number in range(len(bodies))]
    for each, body in zip(names, bodies, strict=True):
        (folder / each).write_bytes(body)
    return names


# ---- nginx

NGINX = """
daemon off;
master_process off;  # the one process is the one worker
pid nginx.pid;
error_log error.log;
events {{ worker_connections 20000; }}

http {{
    access_log off;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 3600;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=100;
    client_max_body_size 0;
    client_body_buffer_size 1m;

    server {{
        {listen}
        {tls}
        root .;

        # One write, as from an application.
        location = /json {{ return 200 '{json}'; }}
        location = /close {{ keepalive_timeout 0; return 200 '{json}'; }}
        location = /chunked {{ ssi on; ssi_types *; }}
        location = /gzip {{ add_header Content-Encoding gzip; try_files /gzip.gz =500; }}
        location = /slow {{ limit_rate 4k; try_files /64k =500; }}  # for 16 seconds
        location = /post {{ return 200 '{{"received": $content_length}}'; }}
        # nginx alone has no sink that waits for the end of a body; a proxy has.
        location = /upload {{
            proxy_pass http://127.0.0.1:{port}/received;
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Received $content_length;
        }}
        location = /received {{ return 200 '{{"received": $http_x_received}}'; }}
    }}
}}
"""

TLS = """
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        ssl_certificate server.pem;
        ssl_certificate_key server.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
"""

ORIGINS = 1000
PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def nginx(binary: str, folder: Path, large: int, has_tls: bool, core: int | None) -> Iterator[Site]:
    answers = write_answers(folder, large)
    hosts = ["127.0.0.1", *(f"127.1.{n // 250}.{n % 250 + 1}" for n in range(ORIGINS))]
    if sys.platform != "linux":
        del hosts[1:]  # 127.0.0.1 is the only address of loopback
    port, tls_port = free_ports(2)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        NGINX.format(
            listen="\n".join(f"listen {host}:{port} backlog=4096;" for host in hosts),
            tls=TLS.format(tls_port=tls_port) if has_tls else "",
            json=JSON.decode().replace("\n", "\\n"),
            port=port,
        )
    )
    log = folder / "error.log"
    process = subprocess.Popen(
        [binary, "-p", folder, "-c", configuration, "-e", log],
        preexec_fn=end_with_parent if sys.platform == "linux" else None,
    )
    try:
        pin(process.pid, core)
        wait_until_up(process, port, log)
        said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
        version = said.strip().rpartition("/")[2]
        yield Site(
            server=f"nginx {version}, one worker" + on_core(core),
            url=f"http://127.0.0.1:{port}",
            tls_url=f"https://127.0.0.1:{tls_port}" if has_tls else None,
            ca_file=str(folder / "ca.pem") if has_tls else None,
            folder=str(folder),
            answers=answers,
            origins=[f"http://{host}:{port}" for host in hosts[1:]],
        )
    finally:
        process.terminate()
        process.wait()


def end_with_parent() -> None:
    """Have the system end this process when its parent is gone, even if that was killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def write_answers(folder: Path, large: int) -> dict[str, tuple[str, list[str]]]:
    """Write what nginx serves, and say where it is."""
    (folder / "json").write_bytes(JSON)
    for name, size in {"64k": 2**16, "10m": 10 * 2**20, "large": large, "chunked": 2**20}.items():
        write_pattern(folder / name, size)
    rows = json.dumps(ROWS).encode()
    (folder / "rows.json").write_bytes(rows)
    (folder / "gzip.gz").write_bytes(gzip.compress(rows))
    posted = [b'{"received": %d}' % len(body) for body in spellings(POSTED)]
    return {
        "small": ("/json", ["json"]),
        "close": ("/close", ["json"]),
        "64k": ("/64k", ["64k"]),
        "10m": ("/10m", ["10m"]),
        "large": ("/large", ["large"]),
        "chunked": ("/chunked", ["chunked"]),
        "gzip": ("/gzip", ["rows.json"]),
        "slow": ("/slow", ["64k"]),
        "post": ("/post", files(folder, "posted", posted)),
        "upload": ("/upload", files(folder, "uploaded", [b'{"received": %d}' % UPLOAD])),
    }


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    raise RuntimeError(f"nginx does not start: {log.read_text()}")


# ---- the bundled server


@contextlib.contextmanager
def bundled_server(folder: Path, large: int, core: int | None) -> Iterator[Site]:
    write_pattern(folder / "66", 66)
    (folder / "json").write_bytes(JSON)
    sizes = {"64k": 2**16, "10m": 10 * 2**20, "large": large, "chunked": 2**20, "gzip": 100_000}
    for name, size in sizes.items():
        write_pattern(folder / name, size)
    posted = [received(len(body), zlib.crc32(body)) for body in spellings(POSTED)]
    uploaded = received(UPLOAD, crc32_of(folder / "upload"))
    (folder / "hello").write_bytes(b"hello")
    with Server(tls="auto") as server:
        pin(server.pid, core)
        yield Site(
            server="the bundled server, for nginx is not installed" + on_core(core),
            url=server.url,
            tls_url=server.tls_url,
            ca_file=server.ca_file,
            folder=str(folder),
            answers={
                "small": ("/json", ["json"]),
                "close": ("/close/66", ["66"]),
                "64k": (f"/bytes/{sizes['64k']}", ["64k"]),
                "10m": (f"/bytes/{sizes['10m']}", ["10m"]),
                "large": (f"/bytes/{large}", ["large"]),
                "chunked": (f"/chunked/{sizes['chunked']}", ["chunked"]),
                "gzip": (f"/gzip/{sizes['gzip']}", ["gzip"]),
                "slow": ("/delay/16", ["hello"]),
                "post": ("/upload", files(folder, "posted", posted)),
                "upload": ("/upload", files(folder, "uploaded", [uploaded])),
            },
        )


def received(size: int, crc32: int) -> bytes:
    return b'{"received": %d, "crc32": %d}' % (size, crc32)


def crc32_of(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum


# ---- cores


def cores() -> tuple[int | None, int | None]:
    """The cores for the server and for the client; None: there are not two, or no such call."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[-1]) if len(allowed) > 1 else (None, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process on a core."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, {core})


def on_core(core: int | None) -> str:
    return "" if core is None else f", on core {core}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve what the benchmarks ask for, until Ctrl-C.")
    parser.add_argument("--bundled", action="store_true", help="not by nginx")
    parser.add_argument("--large", type=int, default=2**28, help="bytes of the largest body")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nginx is not left behind
    core = cores()[0]
    with (
        contextlib.suppress(KeyboardInterrupt),
        serving(large=options.large, core=core, bundled=options.bundled) as site,
    ):
        print(f"{site.server}: {site.url} {site.tls_url or ''}", file=sys.stderr)
        print(site.dump(), flush=True)
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
