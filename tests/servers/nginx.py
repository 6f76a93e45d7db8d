"""nginx, as Debian ships it: a server that nobody here wrote.

    async def test_big(nginx):
        response = await client.get(nginx.url("/10m"))          # or url("/10m", tls=True)
        assert nginx.files["/10m"] == response.body

It runs once for all tests, with one worker and its usual keep-alive of 75 seconds and 1,000
requests. The paths are in the configuration below.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers.certs import Certificates
from servers.require import missing_server

CONFIGURATION = """
daemon off;
master_process off;  # the one process is the one worker
pid nginx.pid;
error_log error.log;
events {{ worker_connections 2048; }}

http {{
    access_log off;
    client_body_temp_path temp;
    proxy_temp_path temp;
    fastcgi_temp_path temp;
    uwsgi_temp_path temp;
    scgi_temp_path temp;
    types {{ application/json json; }}
    default_type text/plain;
    client_max_body_size 64m;

    server {{
        listen 127.0.0.1:{port};
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {pem_file};
        ssl_certificate_key {pem_file};
        root {root};

        # /hello  /small.json  /64k  /10m                     a file each, with Content-Length
        location = /gzip.json {{ gzip on; gzip_types *; }}  # chunked when gzip is accepted
        location = /chunked {{ ssi on; ssi_types *; }}
        location = /until-close {{ ssi on; ssi_types *; chunked_transfer_encoding off; }}
        location = /close {{ keepalive_timeout 0; }}
        location = /slow {{ limit_rate 64k; }}              # a second's worth
        location = /redirect {{ return 301 /hello; }}
        location = /204 {{ return 204; }}
        location = /busy {{ add_header Retry-After 1 always; return 503; }}
        location /dav/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    port: int
    tls_port: int
    ca_file: str
    files: dict[str, bytes]  # path → the body that a GET gives

    def url(self, path: str, *, tls: bool = False, host: str = "127.0.0.1") -> str:
        if tls:
            return f"https://{host}:{self.tls_port}{path}"
        return f"http://{host}:{self.port}{path}"


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, certs: Certificates) -> Iterator[Nginx]:
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if binary is None:
        missing_server("nginx is not installed")

    folder = tmp_path_factory.mktemp("nginx")
    files = bodies()
    root = folder / "root"
    (root / "dav").mkdir(parents=True)
    for path, body in files.items():
        (root / path[1:]).write_bytes(body)

    port, tls_port = free_ports(2)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(port=port, tls_port=tls_port, root=root, pem_file=certs.good_file)
    )
    process = subprocess.Popen(
        [binary, "-p", folder, "-c", configuration, "-e", folder / "error.log"]
    )
    try:
        wait_until_up(process, port, folder / "error.log")
        yield Nginx(port, tls_port, certs.ca_file, files)
    finally:
        process.terminate()
        process.wait()


def bodies() -> dict[str, bytes]:
    dice = random.Random(0)
    small = b'{"id": 12345, "name": "fastreq", "tags": ["http", "small"]}'
    rows = [{"id": n, "name": f"row {n}", "value": dice.random()} for n in range(1800)]
    hello = b"Hello, World!\n"
    return {
        "/hello": hello,
        "/close": hello,
        "/small.json": small + b" " * (66 - len(small)),
        "/64k": dice.randbytes(2**16),
        "/slow": dice.randbytes(2**16),
        "/chunked": dice.randbytes(2**16),
        "/until-close": dice.randbytes(2**16),
        "/10m": dice.randbytes(10 * 2**20),
        "/gzip.json": json.dumps(rows).encode(),
    }


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.01)
    pytest.fail(f"nginx does not start: {log.read_text()}", pytrace=False)
