"""Certificates made for the run: the right one, and each kind of wrong one.

    async def test_expired(certs):
        async with serving(reply(), tls=certs.expired) as server:
            async with Client(verify=certs.ca_file) as client:
                ...

Each is a context for servers; the files are for clients and nginx.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from servers.require import missing_server

NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Certificates:
    ca_file: str  # what a client trusts: `verify=certs.ca_file`
    good_file: str  # key and chain for NAMES
    client_file: str  # key and chain of a client: `cert=certs.client_file`
    good: ssl.SSLContext
    wrong_name: ssl.SSLContext
    expired: ssl.SSLContext
    self_signed: ssl.SSLContext
    unknown_ca: ssl.SSLContext
    demanding: ssl.SSLContext  # the good one, and the client has to show its own


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    try:
        import trustme
    except ImportError:
        missing_server("trustme is not installed")

    folder = tmp_path_factory.mktemp("certs")
    ca, stranger = trustme.CA(), trustme.CA()
    yesterday = datetime.now(UTC) - timedelta(days=1)

    def write(name: str, *blobs: bytes) -> str:
        path = folder / f"{name}.pem"
        path.write_bytes(b"".join(blobs))
        return str(path)

    def issue(name: str, *names: str, by: trustme.CA = ca, **options: datetime) -> str:
        return write(name, by.issue_cert(*names, **options).private_key_and_cert_chain_pem.bytes())

    ca_file = write("ca", ca.cert_pem.bytes())
    good_file = issue("good", *NAMES)
    demanding = server_context(good_file)
    demanding.verify_mode = ssl.CERT_REQUIRED
    demanding.load_verify_locations(ca_file)
    dates = {"not_before": yesterday - timedelta(days=1), "not_after": yesterday}
    return Certificates(
        ca_file=ca_file,
        good_file=good_file,
        client_file=issue("client", "client@example.org"),
        good=server_context(good_file),
        wrong_name=server_context(issue("wrong-name", "elsewhere.example")),
        expired=server_context(issue("expired", *NAMES, **dates)),
        self_signed=server_context(write("self-signed", self_signed())),
        unknown_ca=server_context(issue("unknown-ca", *NAMES, by=stranger)),
        demanding=demanding,
    )


def server_context(pem_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem_file)
    return context


def self_signed() -> bytes:
    """Key and certificate for localhost; trustme has none that is its own issuer."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    key_format = serialization.PrivateFormat.TraditionalOpenSSL
    no_password = serialization.NoEncryption()
    return key.private_bytes(pem, key_format, no_password) + certificate.public_bytes(pem)
