"""C16, TLS: each certificate gets its exact verdict, and each way to break TLS one typed error.

All servers of the table run at once, and one client asks them at random. TRUST section 4.
"""

import asyncio
import random
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from servers.scripted import CLIENT_WENT_AWAY, Connection, Server, reply, scripted

from fastreq import Client, FastreqError, Limits, Response, Timeout, TLSError
from storms.storm import (
    PROBES,
    body_of,
    cancelling,
    check_pool,
    note,
    run,
    seeded,
    show,
    sized,
)

x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed")
hashes = pytest.importorskip("cryptography.hazmat.primitives.hashes")
serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec")
rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")

BODY = "body"
CONCURRENCY = 20
SIZE = 3000  # of a body
HOST = "good.example"
USAGES = x509.oid.ExtendedKeyUsageOID


# ---- certificates


class Authority(NamedTuple):
    """Whoever signs certificates, and the chain that proves it."""

    certificate: Any
    key: Any
    chain: bytes = b""


def days(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)


def san(name: str) -> Any:
    """As an address where it looks like one, unless it is marked as "dns:…"."""
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name.removeprefix("dns:"))


def certificate(
    by: Authority | None,
    key: Any,
    *names: str,
    common_name: str = "",
    is_ca: bool = False,
    path_length: int | None = None,
    since: int = -1,
    until: int = 1,
    usage: Any = USAGES.SERVER_AUTH,
    more: tuple[tuple[Any, bool], ...] = (),
) -> Any:
    """A certificate that is right but for what is said."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name or "a test")])
    issuer, signer = (by.certificate.subject, by.key) if by else (subject, key)
    usages = dict.fromkeys(
        """digital_signature content_commitment key_encipherment data_encipherment key_agreement
        key_cert_sign crl_sign encipher_only decipher_only""".split(),
        False,
    )
    usages["key_cert_sign" if is_ca else "digital_signature"] = True
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(days(since))
        .not_valid_after(days(until))
        .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
        .add_extension(x509.KeyUsage(**usages), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names:
        alternatives = x509.SubjectAlternativeName([san(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    if not is_ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, hashes.SHA256())


def pem(*certificates: Any) -> bytes:
    encoding = serialization.Encoding.PEM
    return b"".join(each.public_bytes(encoding) for each in certificates)


class Bench:
    """Makes the contexts of the servers, out of few keys: those are what takes time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.root = self.authority(None, "the root")
        self.stranger = self.authority(None, "a stranger")
        self.ca_file = self.write(pem(self.root.certificate))
        self.client_file = self.leaf(self.root, usage=USAGES.CLIENT_AUTH)

    def write(self, *blobs: bytes) -> str:
        self._count += 1
        path = self._folder / f"{self._count}.pem"
        path.write_bytes(b"".join(blobs))
        return str(path)

    def authority(self, by: Authority | None, name: str, **options: Any) -> Authority:
        """One that `by` vouches for; None: nobody does."""
        key = ec.generate_private_key(ec.SECP256R1())
        options = {"is_ca": True, "since": -2, "until": 2, **options}
        made = certificate(by, key, common_name=name, **options)
        return Authority(made, key, b"" if by is None else pem(made) + by.chain)

    def leaf(self, by: Authority | None, *names: str, key: Any = None, **options: Any) -> str:
        """The file of a server's key and chain."""
        key = key or self.key
        made = certificate(by, key, *names, **options)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self.write(private, pem(made), b"" if by is None else by.chain)

    def serving(self, *names: str, by: Authority | None = None, **options: Any) -> ssl.SSLContext:
        """A context with a certificate for these names."""
        return self.context(self.leaf(by or self.root, *names, **options))

    def context(self, file: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")  # it is the client that has to mind
        context.load_cert_chain(file)
        return context


# ---- servers


async def serve(conn: Connection) -> None:
    """Answer with the body that was asked for."""
    while True:
        await conn.send(whole(await conn.read_head()))


def whole(head: bytes) -> bytes:
    return reply(body_of(int(head.split(b" ", 2)[1][1:]), SIZE))


async def cut_after_length(conn: Connection) -> None:
    await conn.send(whole(await conn.read_head()))
    await conn.half_close()
    await conn.wait_closed()


async def cut_until_close(conn: Connection) -> None:
    _, _, body = whole(await conn.read_head()).partition(b"\r\n\r\n")
    await conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    await conn.half_close()
    await conn.wait_closed()


async def close_until_close(conn: Connection) -> None:
    _, _, body = whole(await conn.read_head()).partition(b"\r\n\r\n")
    await conn.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)


async def half_a_record(conn: Connection) -> None:
    await conn.send(whole(await conn.read_head())[:1000])
    with suppress(OSError), conn._socket() as sock:
        sock.send(b"\x17\x03\x03\x10\x00" + bytes(50))
        sock.shutdown(socket.SHUT_WR)
    await conn.wait_closed()


async def forged_record(conn: Connection) -> None:
    await conn.send(whole(await conn.read_head())[:1000])
    with suppress(OSError), conn._socket() as sock:
        sock.send(b"\x17\x03\x03\x00\x40" + bytes(64))
    await conn.wait_closed()


async def plain_in_tls(conn: Connection) -> None:
    answer = whole(await conn.read_head())
    with suppress(OSError), conn._socket() as sock:
        sock.send(answer)
    await conn.wait_closed()


async def plain_http(conn: Connection) -> None:
    await conn.reader.read(1)
    await conn.send(reply(b"plain", status="400 Bad Request"))
    await conn.wait_closed()


async def speaks_first(conn: Connection) -> None:
    await conn.send(reply(b"plain"))
    await conn.wait_closed()


async def stalls(conn: Connection) -> None:
    await conn.wait_closed()


async def stalls_half_way(conn: Connection) -> None:
    await conn.reader.read(1)
    await conn.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03")
    await conn.wait_closed()


async def ends(conn: Connection) -> None:
    await conn.reader.read(1)


async def resets(conn: Connection) -> None:
    await conn.reader.read(1)
    await conn.reset()


async def alerts(conn: Connection) -> None:
    await conn.reader.read(1)
    await conn.send(b"\x15\x03\x03\x00\x02\x02\x28")
    await conn.wait_closed()


class Splitter:
    """Leads to a server, and cuts what goes by into odd pieces, headers of records too."""

    def __init__(self) -> None:
        self.port = 0

    async def __call__(self, conn: Connection) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(conn.reader, writer))
                group.create_task(self._pump(reader, conn.writer))
        finally:
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(*CLIENT_WENT_AWAY):
            while data := await reader.read(random.choice([1, 2, 4, 5, 6, 50, 99])):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()


# ---- the table


class Case(NamedTuple):
    """A server, the host that it is asked for by, and what comes of it."""

    outcome: str
    context: ssl.SSLContext | None
    host: str = HOST
    handler: Callable[[Connection], Awaitable[None]] = serve
    sni: str | None = HOST


def table(bench: Bench) -> dict[str, Case]:
    """About sixty of them."""
    root, serving = bench.root, bench.serving
    good = serving(HOST)
    middle = bench.authority(root, "between")
    expired_middle = bench.authority(root, "between, and late", since=-3, until=-1)
    childless = bench.authority(root, "may sign servers alone", path_length=0)
    no_ca = bench.authority(root, "may sign nothing", is_ca=False)
    elsewhere = x509.NameConstraints([x509.DNSName("other.example")], None)
    bound = bench.authority(root, "may sign for others", more=((elsewhere, True),))
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    weak = rsa.generate_private_key(65537, 1024)

    def only(version: ssl.TLSVersion) -> ssl.SSLContext:
        context = serving(HOST)
        with pytest.warns() if version < ssl.TLSVersion.TLSv1_2 else nullcontext():
            context.minimum_version = context.maximum_version = version
        return context

    def offering(*protocols: str) -> ssl.SSLContext:
        context = serving(HOST)
        context.set_alpn_protocols(protocols)
        return context

    def demanding(version: ssl.TLSVersion) -> ssl.SSLContext:
        context = only(version)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(bench.ca_file)
        return context

    def refused(name: str, **options: Any) -> Case:
        return Case("TLSError", serving(name, **options))

    def named(outcome: str, host: str, *names: str, **options: Any) -> Case:
        name = None if host[0].isdigit() else host.rstrip(".").lower()
        return Case(outcome, serving(*names, **options), host, sni=name)

    return {
        "good": Case(BODY, good),
        # Names
        "upper case": named(BODY, HOST.upper(), HOST),
        "a dot at the end": named(BODY, f"{HOST}.", HOST),
        "one of many": named(BODY, HOST, *(f"{n}.example" for n in range(50)), HOST),
        "a wildcard": named(BODY, "a.many.example", "*.many.example"),
        "an international name": named(BODY, "xn--bcher-kva.example", "xn--bcher-kva.example"),
        "a wildcard for one": named(BODY, "xn--bcher-kva.many.example", "*.many.example"),
        "an address": named(BODY, "127.0.0.1", "127.0.0.1"),
        "another name": named("TLSError", HOST, "bad.example"),
        "a longer name": named("TLSError", HOST, f"{HOST}.evil.example"),
        "a shorter name": named("TLSError", HOST, "d.example"),
        "a common name alone": named("TLSError", HOST, common_name=HOST),
        "a common name, and another": named("TLSError", HOST, "bad.example", common_name=HOST),
        "a wildcard for itself": named("TLSError", "many.example", "*.many.example"),
        "a wildcard, too deep": named("TLSError", "b.a.many.example", "*.many.example"),
        "a wildcard in a label": named("TLSError", HOST, "g*.example"),
        "a wildcard for a top-level domain": named("TLSError", HOST, "*.example"),
        "a wildcard for all": named("TLSError", HOST, "*"),
        "a wildcard not at the left": named("TLSError", "a.many.example", "a.*.example"),
        "another address": named("TLSError", "127.0.0.1", "127.0.0.2"),
        "an address as a name": named("TLSError", "127.0.0.1", "dns:127.0.0.1"),
        "an address as a common name": named("TLSError", "127.0.0.1", common_name="127.0.0.1"),
        "a name as an address": named("TLSError", HOST, "127.0.0.1"),
        "no name": named("TLSError", HOST),
        # Dates
        "expired": refused(HOST, since=-2, until=-1),
        "not yet valid": refused(HOST, since=1, until=2),
        # Who signed
        "by one between": Case(BODY, serving(HOST, by=middle)),
        "by nobody that is known": refused(HOST, by=bench.stranger),
        "by itself": Case("TLSError", bench.context(bench.leaf(None, HOST))),
        "the one between left out": refused(HOST, by=middle._replace(chain=b"")),
        "the one between expired": refused(HOST, by=expired_middle),
        "by one who may not": refused(HOST, by=no_ca),
        "by a server's certificate": refused(HOST, by=Authority(no_ca.certificate, no_ca.key)),
        "a chain too long": refused(HOST, by=bench.authority(childless, "one too many")),
        "by one who may not for this name": refused(HOST, by=bound),
        "by one who may for this name": named(BODY, "other.example", "other.example", by=bound),
        "for clients": refused(HOST, usage=USAGES.CLIENT_AUTH),
        "with what is critical, and unknown": refused(HOST, more=((unknown, True),)),
        "with what is unknown": Case(BODY, serving(HOST, more=((unknown, False),))),
        "a weak key": refused(HOST, key=weak),
        # Versions and protocols
        "TLS 1.3": Case(BODY, only(ssl.TLSVersion.TLSv1_3)),
        "TLS 1.2": Case(BODY, only(ssl.TLSVersion.TLSv1_2)),
        "TLS 1.1": Case("TLSError", only(ssl.TLSVersion.TLSv1_1)),
        "HTTP/2 offered": Case(BODY, offering("h2", "http/1.1")),
        "HTTP/2 alone": Case(BODY, offering("h2")),  # nothing was agreed on, which means 1.1
        # Client certificates
        "a client certificate, TLS 1.3": Case("ReadError", demanding(ssl.TLSVersion.TLSv1_3)),
        "a client certificate, TLS 1.2": Case("TLSError", demanding(ssl.TLSVersion.TLSv1_2)),
        # Behaviour
        "cut after a length": Case(BODY, good, handler=cut_after_length),
        "closed where closing ends a body": Case(BODY, good, handler=close_until_close),
        "cut where closing ends a body": Case("IncompleteBody", good, handler=cut_until_close),
        "half a record": Case("IncompleteBody", good, handler=half_a_record),
        "a forged record": Case("ReadError", good, handler=forged_record),
        "plain HTTP in TLS": Case("ReadError", good, handler=plain_in_tls),
        "plain HTTP": Case("TLSError", None, handler=plain_http),
        "speaks first": Case("TLSError", None, handler=speaks_first),
        "stalls": Case("ConnectTimeout", None, handler=stalls),
        "stalls half-way": Case("ConnectTimeout", None, handler=stalls_half_way),
        "ends the handshake": Case("TLSError", None, handler=ends),
        "resets the handshake": Case("TLSError", None, handler=resets),
        "breaks it off": Case("TLSError", None, handler=alerts),
        "odd pieces": Case(BODY, None, handler=Splitter()),
    }


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
def cases(bench: Bench) -> dict[str, Case]:
    return table(bench)


# ---- the storm


class Storm:
    def __init__(self, cases: dict[str, Case], rng: random.Random) -> None:
        self.cases = cases
        self.rng = rng
        self.servers: dict[str, Server] = {}
        self.names: dict[str, set[str | None]] = {name: set() for name in cases}  # SNI
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def start(self, stack: AsyncExitStack) -> None:
        for name, case in self.cases.items():
            if case.context is not None:
                case.context.sni_callback = self._noting(name)
            server = scripted(case.handler, tls=case.context)
            self.servers[name] = await stack.enter_async_context(server)
        splitter = self.cases["odd pieces"].handler
        assert isinstance(splitter, Splitter)
        splitter.port = self.servers["good"].port

    def _noting(self, case: str) -> Callable[..., None]:
        """Note what a client says it wants; of two cases with one context the last is noted."""

        def noted(_: object, name: str | None, __: object) -> None:
            self.names[case].add(name)

        return noted

    async def send(self, client: Client, name: str, number: int, chance: float) -> None:
        case = self.cases[name]
        url = f"https://{case.host}:{self.servers[name].port}/{number}"
        connect = 0.1 if case.outcome == "ConnectTimeout" else 10
        async with cancelling(
            client.get(url, timeout=Timeout(connect=connect)), self.rng, chance
        ) as task:
            try:
                self.judge(name, number, await task)
            except FastreqError as exc:
                self.judge(name, number, exc)
            except asyncio.CancelledError:
                self.seen["cancelled"] += 1

    def judge(self, name: str, number: int, result: Response | FastreqError) -> None:
        case = self.cases[name]
        if isinstance(result, FastreqError):
            self.seen["errors"] += 1
            right = case.outcome == type(result).__name__
        else:
            self.seen["bodies"] += 1
            right = case.outcome == BODY and result.body == body_of(number, SIZE)
        if not right:
            self.wrong.append(f"{name}: {show(result)[:300]}")


def all_here(host: str, port: int, **options: object) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


async def matrix(there: Storm, bench: Bench, count: int, monkeypatch: Any) -> None:
    async with AsyncExitStack() as stack:
        await there.start(stack)
        monkeypatch.setattr(socket, "getaddrinfo", all_here)
        limits = Limits(max_per_host=2)
        client = Client(verify=bench.ca_file, limits=limits, trust_env=False)
        await stack.enter_async_context(client)
        names = [*there.cases, *there.rng.choices(list(there.cases), k=count)]
        todo = iter(enumerate(names))

        async def work() -> None:
            for number, name in todo:
                # Each case once for certain.
                await there.send(client, name, number, 0.1 if number >= len(there.cases) else 0)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        check_pool(client)
        for number in range(PROBES):
            await there.send(client, "good", number, 0)


def test_tls_storm(loop_factory, bench, cases, monkeypatch):
    """C16: an exact verdict for each, whoever else is asked meanwhile; no name for an address."""
    count = sized(60, 20_000)
    there = Storm(cases, seeded("tls"))

    run(loop_factory, matrix(there, bench, count, monkeypatch))

    total = len(cases) + count + PROBES
    note("C16 TLS", requests=total, wrong=len(there.wrong), **there.seen)
    assert [] == there.wrong[:20]
    for name, seen in there.names.items():
        assert seen <= {cases[name].sni}, name
    assert {None} == there.names["an address"]
    assert {HOST} == there.names["a dot at the end"]


@pytest.mark.parametrize("name", ["expired", "another name", "by itself", "TLS 1.3"])
async def test_a_client_that_verifies_nothing(cases, name):
    """C16: to it all certificates are good; another client minds as ever."""
    async with scripted(serve, tls=cases[name].context) as server:
        async with Client(verify=False, trust_env=False) as client:
            assert body_of(7, SIZE) == (await client.get(server.url("/7"))).body
        async with Client(trust_env=False) as client:
            with pytest.raises(TLSError):
                await client.get(server.url("/7"))


@pytest.mark.parametrize("version", ["TLS 1.2", "TLS 1.3"])
async def test_a_client_certificate(bench, cases, version, monkeypatch):
    """C16: who has one that the server knows is let in."""
    context = cases[f"a client certificate, {version}"].context
    async with scripted(serve, tls=context) as server:
        monkeypatch.setattr(socket, "getaddrinfo", all_here)
        async with Client(verify=bench.ca_file, cert=bench.client_file) as client:
            response = await client.get(server.url("/7", host=HOST))
            assert body_of(7, SIZE) == response.body
