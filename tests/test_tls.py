"""Contexts from options, OpenSSL's verdicts in words, the end of a stream: without a socket."""

import datetime
import os
import shutil
import ssl
import subprocess
import sys
import types

import pytest
import servers.certs

from fastreq import tls
from fastreq.errors import TLSError

trustme = pytest.importorskip("trustme", reason="trustme is not installed")

CA = trustme.CA()
SERVER = CA.issue_cert("localhost", "*.example.com", "127.0.0.1", "::1", "bücher.example")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No test sees another's contexts, nor the variables of the machine."""
    monkeypatch.setattr(tls, "_contexts", {})
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ca_file(tmp_path):
    path = tmp_path / "ca.pem"
    CA.cert_pem.write_to_path(path)
    return path


def server_context(cert=SERVER):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    return context


class Pair:
    """A client and a server that talk through memory."""

    def __init__(self, context, server=None, host="localhost"):
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.down = down
        name = tls.server_name(host)
        self.client = context.wrap_bio(down, up, server_hostname=name)
        self.server = (server or server_context()).wrap_bio(up, down, server_side=True)

    def shake_hands(self):
        """What goes wrong at the client comes out."""
        done = set()
        while len(done) < 2:
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
        return self


def refusal(context, server=None, host="localhost"):
    """The text for a handshake that fails."""
    with pytest.raises(ssl.SSLError) as raised:
        Pair(context, server, host).shake_hands()
    return str(tls.explain(raised.value, host, 443))


def issue(ca=CA, names=("localhost",), **options):
    return server_context(ca.issue_cert(*names, **options))


# ---- contexts


def test_defaults():
    context = tls.ssl_context()

    assert ssl.CERT_REQUIRED == context.verify_mode
    assert context.check_hostname
    assert not context.hostname_checks_common_name
    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
    assert len(context.get_ca_certs()) > 50
    assert ssl.create_default_context().verify_flags == context.verify_flags


def test_equal_settings_share_a_context(ca_file, monkeypatch):
    assert tls.ssl_context() is tls.ssl_context(True, None)
    assert tls.ssl_context(str(ca_file)) is tls.ssl_context(ca_file)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    assert tls.ssl_context() is tls.ssl_context(ca_file)
    assert 2 == len(tls._contexts)


def test_every_setting_has_its_own_context(ca_file, tmp_path, monkeypatch):
    """Switching verification off never reaches those who did not ask for it."""
    cert = tmp_path / "client.pem"
    SERVER.private_key_and_cert_chain_pem.write_to_path(cert)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    contexts = [
        tls.ssl_context(verify, own)
        for verify in (True, False, ca_file, other)
        for own in (None, str(cert))
    ]
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    contexts.append(tls.ssl_context())

    assert 9 == len({id(context) for context in contexts})
    assert [False] * 2 == [context.check_hostname for context in contexts[2:4]]
    assert all(context.check_hostname for context in contexts[:2] + contexts[4:])


def test_few_contexts_are_kept(ca_file):
    for number in range(tls.MAX_CONTEXTS + 3):
        os.utime(ca_file, ns=(0, number))
        tls.ssl_context(ca_file)

    assert tls.MAX_CONTEXTS == len(tls._contexts)


def test_a_changed_file_makes_a_new_context(ca_file):
    """Certificates are renewed while the process runs."""
    before = tls.ssl_context(ca_file)
    trustme.CA().cert_pem.write_to_path(ca_file)
    os.utime(ca_file, ns=(0, 0))

    assert before is not tls.ssl_context(ca_file)


def test_a_context_is_used_as_it_is():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    flags, version = context.verify_flags, context.minimum_version

    assert context is tls.ssl_context(context)
    assert (flags, version) == (context.verify_flags, context.minimum_version)


def test_a_context_takes_no_certificate(tmp_path):
    with pytest.raises(ValueError, match="load it into the SSLContext"):
        tls.check(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), str(tmp_path))


# ---- where the CAs come from


def test_ca_file(ca_file):
    Pair(tls.ssl_context(ca_file)).shake_hands()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_ca_directory(ca_file, tmp_path):
    """A directory made by `openssl rehash`."""
    name = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", ca_file],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
    directory = tmp_path / "certs"
    directory.mkdir()
    CA.cert_pem.write_to_path(directory / f"{name}.0")

    Pair(tls.ssl_context(str(directory))).shake_hands()


def test_ssl_cert_file(ca_file, monkeypatch):
    """Instead of certifi's, and only where the environment is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))

    Pair(tls.ssl_context()).shake_hands()
    assert 1 == len(tls.ssl_context().get_ca_certs())
    assert "not known here" in refusal(tls.ssl_context(trust_env=False))


def test_ssl_cert_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}{os.pathsep}{tmp_path}")

    assert [] == tls.ssl_context().get_ca_certs()
    assert len(tls.ssl_context(trust_env=False).get_ca_certs()) > 50


def test_empty_variables_are_none(monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("SSL_CERT_DIR", "")

    assert len(tls.ssl_context().get_ca_certs()) > 50


def test_no_verification():
    Pair(tls.ssl_context(False), issue(trustme.CA(), ["wrong.example"])).shake_hands()


def test_system_without_truststore(monkeypatch):
    monkeypatch.setitem(sys.modules, "truststore", None)

    with pytest.raises(ImportError, match=r'pip install "fastreq-http\[system-certs\]"'):
        tls.check("system")
    with pytest.raises(TLSError, match="truststore"):
        tls.ssl_context("system")


def test_system_with_truststore(monkeypatch):
    """Stands in for it: the package brings its own class of context."""
    fake = types.SimpleNamespace(SSLContext=ssl.SSLContext)
    monkeypatch.setitem(sys.modules, "truststore", fake)
    tls.check("system")
    context = tls.ssl_context("system")

    assert context is tls.ssl_context("system")
    assert ssl.CERT_REQUIRED == context.verify_mode
    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version


def test_system_elsewhere(monkeypatch, ca_file):
    """truststore adds what the variables name to its context, so each value needs its own."""
    fake = types.SimpleNamespace(SSLContext=ssl.SSLContext)
    monkeypatch.setitem(sys.modules, "truststore", fake)
    before = tls.ssl_context("system", trust_env=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))

    assert before is not tls.ssl_context("system", trust_env=False)


# ---- what is wrong with the options


@pytest.mark.parametrize("verify", [None, 1, 0, b"/ca.pem", 1.5, ("ca.pem",)])
def test_verify_of_the_wrong_kind(verify):
    with pytest.raises(ValueError, match=r"verify=.*: expected True, False, \"system\", a path"):
        tls.check(verify)


@pytest.mark.parametrize("cert", [True, (), (1,), ("a", None), ("a", "b", "c", "d"), b"a", ["a"]])
def test_cert_of_the_wrong_kind(cert):
    with pytest.raises(ValueError, match="cert=: expected a path, "):
        tls.check(True, cert)


def test_missing_files(ca_file, monkeypatch):
    """Found out at once, by their paths."""
    with pytest.raises(FileNotFoundError, match=r"verify='/no/ca.pem': No such file"):
        tls.check("/no/ca.pem")
    with pytest.raises(FileNotFoundError, match=r"verify=''"):
        tls.check("")
    with pytest.raises(FileNotFoundError, match=r"cert='/no/cert.pem'"):
        tls.check(True, "/no/cert.pem")
    with pytest.raises(FileNotFoundError, match=r"cert='/no/key.pem'"):
        tls.check(True, (str(ca_file), "/no/key.pem"))
    with pytest.raises(NotADirectoryError, match=r"verify='.*ca.pem/x'"):
        tls.check(f"{ca_file}/x")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/ca.pem")
    with pytest.raises(FileNotFoundError, match=r"SSL_CERT_FILE='/no/ca.pem'"):
        tls.check()
    tls.check(trust_env=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    monkeypatch.setenv("SSL_CERT_DIR", f"/{os.pathsep}/no/certs")
    with pytest.raises(FileNotFoundError, match=r"SSL_CERT_DIR='/no/certs'"):
        tls.check()


def test_files_that_went_missing():
    """By the time of a connection it is a TLSError."""
    with pytest.raises(TLSError, match=r"verify='/no/ca.pem': No such file") as raised:
        tls.ssl_context("/no/ca.pem")
    assert "tls" == raised.value.phase


def test_a_ca_file_without_a_certificate(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text("hello")
    with pytest.raises(TLSError, match=r"ca\.pem': no CA certificate in PEM form"):
        tls.ssl_context(path)


@pytest.mark.parametrize("key", [False, True])
def test_a_client_certificate_without_its_key(ca_file, tmp_path, key):
    path = tmp_path / "key.pem"
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(path)
    with pytest.raises(TLSError, match=r"cert=\('.*ca\.pem', .*\): no certificate with its key"):
        tls.ssl_context(True, (ca_file, path) if key else ca_file)


def test_password_of_a_key(tmp_path):
    """Wrong or missing, it is an error, and nobody is asked on the terminal."""
    from cryptography.hazmat.primitives import serialization

    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    SERVER.cert_chain_pems[0].write_to_path(cert)
    private = serialization.load_pem_private_key(SERVER.private_key_pem.bytes(), None)
    with open(key, "wb") as file:
        file.write(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    tls.ssl_context(True, (cert, key, "secret"))
    for wrong in ((cert, key, "guess"), (cert, key, ""), (cert, key)):
        with pytest.raises(TLSError, match="not the password of the key") as raised:
            tls.ssl_context(True, wrong)
        assert "guess" not in str(raised.value)


def test_key_log(tmp_path, monkeypatch, ca_file):
    path = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    Pair(tls.ssl_context(ca_file)).shake_hands()

    assert b"CLIENT_TRAFFIC_SECRET_0" in path.read_bytes()


def test_key_log_that_cannot_be_written(monkeypatch):
    monkeypatch.setenv("SSLKEYLOGFILE", "/no/keys")
    with pytest.raises(TLSError, match=r"SSLKEYLOGFILE='/no/keys': No such file"):
        tls.ssl_context()


# ---- names


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("example.com", "example.com"),
        ("example.com.", "example.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_server_name(host, name):
    assert name == tls.server_name(host)


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("localhost", "localhost"),
        ("localhost.", "localhost"),
        ("127.0.0.1", None),
        ("::1", None),
        ("fe80::1%lo", None),
    ],
)
def test_sni(ca_file, host, sent):
    """Sent for names, without the dot; never for addresses (RFC 6066, section 3)."""
    asked = []
    server = server_context(CA.issue_cert("localhost", "127.0.0.1", "::1", "fe80::1"))
    server.sni_callback = lambda connection, name, context: asked.append(name)
    Pair(tls.ssl_context(ca_file), server, host).shake_hands()

    assert [sent] == asked


def test_alpn(ca_file):
    """A server that would rather speak HTTP/2 speaks HTTP/1.1."""
    server = server_context()
    server.set_alpn_protocols(["h2", "http/1.1"])

    assert "http/1.1" == (
        Pair(tls.ssl_context(ca_file), server).shake_hands().client.selected_alpn_protocol()
    )


@pytest.mark.parametrize(
    ("host", "names", "trusted"),
    [
        ("localhost", ["localhost"], True),
        ("LOCALHOST", ["localhost"], True),
        ("a.example.com", ["*.example.com"], True),
        ("example.com", ["*.example.com"], False),
        ("b.a.example.com", ["*.example.com"], False),
        ("xn--bcher-kva.example", ["bücher.example"], True),
        ("xn--bcher-kva.test.example", ["*.test.example"], True),
        ("a.example", ["*.example"], False),  # all of a top-level domain
        ("127.0.0.1", ["127.0.0.1"], True),
        ("127.0.0.1", ["localhost"], False),
        ("127.0.0.1", ["127.0.0.2"], False),
        ("127.0.0.1", ["*.0.0.1"], False),
        ("::1", ["::1"], True),
        ("0:0:0:0:0:0:0:1", ["::1"], True),
        ("::1", ["127.0.0.1"], False),
        ("localhost", ["127.0.0.1"], False),
        ("localhost.evil.example", ["localhost"], False),
        ("evil.example", ["evil.example.org", "*.evil.example"], False),
    ],
)
def test_identity(ca_file, host, names, trusted):
    """RFC 9110, section 4.3.4: addresses by their own kind of name, wildcards for one label."""
    context, server = tls.ssl_context(ca_file), issue(names=names)
    if trusted:
        Pair(context, server, host).shake_hands()
    else:
        assert "for another name" in refusal(context, server, host)


def test_common_name_is_no_name(ca_file):
    server = issue(names=["other.example"], common_name="localhost")

    assert "for another name" in refusal(tls.ssl_context(ca_file), server)


# ---- what went wrong


def days(number):
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=number)


def test_wrong_name(ca_file):
    """The host that was asked for is named, and OpenSSL's own words and numbers come last."""
    assert (
        "wrong.test: the certificate is for another name: Hostname mismatch, certificate is "
        "not valid for 'wrong.test' [OpenSSL: CERTIFICATE_VERIFY_FAILED, verify code 62]"
    ) == refusal(tls.ssl_context(ca_file), host="wrong.test")


def test_expired(ca_file):
    assert "has expired" in refusal(tls.ssl_context(ca_file), issue(not_after=days(-1)))


def test_not_yet_valid(ca_file):
    server = issue(not_before=days(1))
    assert "is not valid yet; is the clock" in refusal(tls.ssl_context(ca_file), server)


def test_self_signed(certs):
    """To trust it is one option away, as the text says."""
    assert "the certificate is self-signed; to trust it" in (
        refusal(tls.ssl_context(), certs.self_signed)
    )


def test_unknown_ca():
    assert 'pass the CA that signs here (a company\'s, perhaps) as verify="/path/ca.pem"' in (
        refusal(tls.ssl_context())
    )


def test_unknown_ca_that_is_in_the_chain(tmp_path):
    path = tmp_path / "chain.pem"
    path.write_bytes(SERVER.private_key_and_cert_chain_pem.bytes() + CA.cert_pem.bytes())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    text = refusal(tls.ssl_context(), server)

    assert "ends in a CA that is not trusted" in text
    assert "verify code 19" in text


def test_strict_x509(tmp_path):
    """A company's CA from before the rules were checked: refused from Python 3.13."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Old CA")])
    key = ec.generate_private_key(ec.SECP256R1())

    def certificate(subject, public_key, extension):
        return (
            x509.CertificateBuilder(name, subject, public_key, x509.random_serial_number())
            .not_valid_before(days(-1))
            .not_valid_after(days(1))
            .add_extension(extension, critical=True)
            .sign(key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    ca = certificate(name, key.public_key(), x509.BasicConstraints(ca=True, path_length=None))
    (tmp_path / "ca.pem").write_bytes(ca)
    own_key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    own = certificate(x509.Name([]), own_key.public_key(), names)
    pem = own_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "server.pem").write_bytes(pem + own)
    server = servers.certs.server_context(str(tmp_path / "server.pem"))
    context = tls.ssl_context(tmp_path / "ca.pem")
    if not context.verify_flags & ssl.VERIFY_X509_STRICT:
        Pair(context, server).shake_hands()
        return

    assert "Python 3.13 and later are strict about X.509" in refusal(context, server)
    assert "without ssl.VERIFY_X509_STRICT" in refusal(context, server)


def test_plaintext(ca_file):
    pair = Pair(tls.ssl_context(ca_file))
    pair.down.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError) as raised:
        pair.shake_hands()

    assert "https://x.example:8443: the server does not speak TLS on port 8443" in str(
        tls.explain(raised.value, "https://x.example:8443", 8443)
    )


def test_alert(ca_file):
    """No cipher in common."""
    server = server_context()
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("AES128-SHA256")
    client = tls.ssl_context(ca_file)
    pair = Pair(client, server)
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.do_handshake()
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        pair.server.do_handshake()
    with pytest.raises(ssl.SSLError) as raised:
        pair.client.do_handshake()

    assert 'the alert "handshake failure"' in str(tls.explain(raised.value, "x.example", 443))


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("TLSV1_ALERT_PROTOCOL_VERSION", "we want 1.2 or later"),
        ("UNSUPPORTED_PROTOCOL", "we want 1.2 or later"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "wants a client certificate; pass one as cert="),
        ("TLSV1_UNRECOGNIZED_NAME", "the server does not know this name"),
        ("UNEXPECTED_EOF_WHILE_READING", "closed the connection in the middle of the handshake"),
        ("HTTP_REQUEST", "does not speak TLS on port 443"),
    ],
)
def test_reasons(reason, text):
    error = ssl.SSLError(1, "")
    error.reason = reason

    assert text in str(tls.explain(error, "x.example", 443))


def test_old_tls(ca_file):
    server = server_context()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        server.minimum_version = server.maximum_version = ssl.TLSVersion.TLSv1_1
    server.set_ciphers("ALL:@SECLEVEL=0")
    pair = Pair(tls.ssl_context(ca_file), server)
    for side in (
        pair.client,
        pair.server,
        pair.client,
    ):  # hello, alert, what the client makes of it
        with pytest.raises(ssl.SSLError) as raised:
            side.do_handshake()

    assert "we want 1.2 or later" in str(tls.explain(raised.value, "x.example", 443))


def test_any_other_error():
    assert "x.example: the TLS handshake failed [OpenSSL: SSLError, SSL error None]" == str(
        tls.explain(ssl.SSLError("what?"), "x.example", 443)
    )


# ---- the end of a stream


@pytest.fixture
def pair(ca_file):
    return Pair(tls.ssl_context(ca_file)).shake_hands()


def say_goodbye(pair):
    with pytest.raises(ssl.SSLWantReadError):
        pair.server.unwrap()


def test_rest_after_a_closure_alert(pair):
    pair.server.write(b"x" * 100_000)
    say_goodbye(pair)

    assert (b"x" * 100_000, True) == tls.take_rest(pair.client)
    assert (b"", True) == tls.take_rest(pair.client)


def test_rest_of_a_cut_stream(pair):
    pair.server.write(b"hello")
    assert (b"hello", False) == tls.take_rest(pair.client)

    say_goodbye(pair)
    assert (b"", True) == tls.take_rest(pair.client)


def test_rest_of_a_cut_record(pair):
    pair.server.write(b"hello")
    record = pair.down.read()
    pair.down.write(record[:-1])

    assert (b"", False) == tls.take_rest(pair.client)


def test_rest_of_a_forged_record(pair):
    pair.server.write(b"hello")
    record = bytearray(pair.down.read())
    record[-1] ^= 1
    pair.down.write(record)

    assert (b"", False) == tls.take_rest(pair.client)


def test_rest_after_our_own_goodbye(pair):
    """Both loops answer a closure alert before they report the end."""
    pair.server.write(b"hello")
    say_goodbye(pair)
    assert b"hello" == pair.client.read(5)
    pair.client.unwrap()

    assert (b"", True) == tls.take_rest(pair.client)
