"""What is said to a proxy until it leads on, cut anywhere (TRUST 1d: CONNECT response, SOCKS)."""

import ipaddress
import pickle

import pytest
from tables import each_row

from fastreq.errors import ConnectError, ProxyError
from fastreq.policies.proxies import Proxy
from fastreq.tunnel import MAX_HEAD, conversation

NAME, V4, V6 = "origin.example", "192.0.2.1", "2001:db8::1"


def talk(proxy, *answers, host=NAME, port=443, step=None):
    """Hold a conversation with a proxy that gives these answers, each when it is asked.

    Gives what we sent, and what came after the end.
    """
    talk = conversation(Proxy.of(proxy), host, port)
    sent = next(talk)
    for answer in answers:
        for start in range(0, len(answer), step or len(answer)):
            try:
                sent += talk.send(answer[start : start + step] if step else answer)
            except StopIteration as end:
                return sent, end.value + (answer[start + step :] if step else b"")
    raise AssertionError(f"it waits for more, after {sent!r}")


def refused(proxy, *answers, error=ProxyError, **options):
    """The error after these answers, whole or byte by byte."""
    raised = []
    for step in (None, 1):
        with pytest.raises(error) as caught:
            talk(proxy, *answers, step=step, **options)
        assert error is type(caught.value)
        raised.append(caught.value)
    return raised[0]


# ---- CONNECT (TRUST 2, number 9)


@pytest.mark.parametrize(
    ("host", "port", "authority"),
    [
        (NAME, 443, b"origin.example:443"),
        (NAME, 80, b"origin.example:80"),
        (NAME + ".", 8443, b"origin.example.:8443"),
        (V4, 443, b"192.0.2.1:443"),
        (V6, 443, b"[2001:db8::1]:443"),
        ("fe80::1%eth0", 443, b"[fe80::1]:443"),
    ],
)
@pytest.mark.parametrize("step", [None, 1, 7])
def test_connect(host, port, authority, step):
    """The port is always there; the target and Host are the same, and nothing is said of us."""
    answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
    sent, rest = talk("http://h", answer, host=host, port=port, step=step)

    assert b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n\r\n" == sent
    assert b"" == rest


def test_connect_with_credentials():
    sent, _ = talk("https://user:pass@h", b"HTTP/1.1 200 OK\r\n\r\n")

    assert sent.endswith(b"\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n")


@each_row(
    "head",
    [
        b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 299 \r\nVia: x\r\n\r\n",
        # TRUST 2, number 20: neither counts.
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 16 + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_HEAD - 100) + b"\r\n\r\n",
    ],
)
@each_row("step", [None, 1, 7])
def test_tunnels_that_open(head, step):
    """What comes after the head is seen, so that it can be refused."""
    assert talk("http://h", head, step=step)[1] == b""
    assert talk("http://h", head + b"early", step=step)[1] == b"early"


@each_row(
    ("status", "hint"),
    [
        (407, "give its URL as http://user:password@host:port"),
        (403, "lets nobody, or not you, go there"),
        (502, "cannot get there"),
        (503, "cannot get there"),
        (504, "cannot get there"),
        (101, "is it a proxy"),
        (301, "is it a proxy"),
        (302, "is it a proxy"),
        (304, "is it a proxy"),
        (400, "is it a proxy"),
        (401, "give its URL as http://user:password@host:port"),
        (405, "is it a proxy"),
        (500, "is it a proxy"),
        (999, "is it a proxy"),
    ],
)
@each_row(
    "body",
    [b"\r\n", b"Content-Length: 9\r\n\r\nTHE-BODY", b"Transfer-Encoding: chunked\r\n\r\n9\r\nx"],
)
def test_refusals(status, hint, body):
    """Its status is said, and its body never shown."""
    head = b"HTTP/1.1 %d A reason\r\nLocation: http://evil.example/\r\n" % status
    error = refused("http://h", head + body)

    assert status == error.status == pickle.loads(pickle.dumps(error)).status
    assert f"CONNECT origin.example:443 with {status} 'A reason'; " in str(error)
    assert hint in str(error)
    assert "BODY" not in str(error)
    assert "evil" not in str(error)


def test_credentials_that_are_not_taken():
    error = refused("http://user:secret@h", b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n")

    assert "does not take this user name and password" in str(error)
    assert "secret" not in str(error)


def test_a_refusal_whose_body_is_broken_is_still_one():
    head = b"HTTP/1.1 407 Who?\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n"
    with pytest.raises(ProxyError, match="407"):
        talk("http://h", head)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"220 smtp ready\r\n",
        b"<html>",
        b"\x05\x00",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n X: folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
        b"HTTP/1.1 407 Who?\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
    ],
)
def test_what_is_no_answer(said):
    assert "does not answer CONNECT as a proxy does" in str(refused("http://h", said))


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 " + b"x" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6),
        b"HTTP/1.1 100 Continue\r\nX: " + b"x" * MAX_HEAD,
        (b"HTTP/1.1 103 Hints\r\nX: " + b"x" * 2000 + b"\r\n\r\n") * 9,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n",
    ],
)
def test_heads_that_are_too_large(flood):
    assert "a head of more than 16,384 bytes" in str(refused("http://h", flood))


# ---- SOCKS5 (RFC 1928 and 1929)

WELCOME = b"\x05\x00"
ASKED_WHO = b"\x05\x02"
CONNECTED = b"\x05\0\0\x01\x7f\0\0\x01\x04\x38"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (NAME, b"\x03\x0eorigin.example"),
        ("x" * 253 + ".", b"\x03\xfe" + b"x" * 253 + b"."),
        (V4, b"\x01" + ipaddress.ip_address(V4).packed),
        (V6, b"\x04" + ipaddress.ip_address(V6).packed),
        ("fe80::1%eth0", b"\x04" + ipaddress.ip_address("fe80::1").packed),
    ],
)
@pytest.mark.parametrize("step", [None, 1, 3])
def test_socks(host, address, step):
    sent, rest = talk("socks5h://h", WELCOME, CONNECTED, host=host, step=step)

    assert b"\x05\x01\x00" + b"\x05\x01\x00" + address + b"\x01\xbb" == sent
    assert b"" == rest


@pytest.mark.parametrize("step", [None, 1, 3])
def test_socks_with_a_password(step):
    answers = ASKED_WHO, b"\x01\x00", CONNECTED
    sent, rest = talk("socks5://us%FFer:pass@h", *answers, host=V4, step=step)

    hello, who, request = b"\x05\x02\x00\x02", b"\x01\x05us\xffer\x04pass", b"\x05\x01\x00\x01"
    assert sent.startswith(hello + who + request)
    assert b"" == rest


def test_a_password_is_not_sent_to_who_does_not_ask():
    sent, _ = talk("socks5://user:secret@h", WELCOME, CONNECTED)

    assert b"\x05\x02\x00\x02" == sent[:4]
    assert b"secret" not in sent


@pytest.mark.parametrize(
    "address", [b"\x01" + bytes(4), b"\x04" + bytes(16), b"\x03\x00", b"\x03\xff" + bytes(255)]
)
@pytest.mark.parametrize("step", [None, 1, 3])
def test_whatever_address_it_connects_from(address, step):
    connected = b"\x05\x00\x00" + address + b"\x00\x00"

    assert b"" == talk("socks5://h", WELCOME, connected, step=step)[1]
    assert b"early" == talk("socks5://h", WELCOME, connected + b"early", step=step)[1]


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (1, ConnectError, "it failed, and not why"),
        (2, ProxyError, "its rules do not let us go there"),
        (3, ConnectError, "cannot reach origin.example:443: the network is unreachable"),
        (4, ConnectError, "cannot reach origin.example:443: the host is unreachable"),
        (5, ConnectError, "cannot reach origin.example:443: connection refused"),
        (6, ConnectError, "cannot reach origin.example:443: no answer"),
        (7, ProxyError, "does not know CONNECT"),
        (8, ConnectError, "this kind of address"),
        (9, ProxyError, "reply 9"),
        (255, ProxyError, "reply 255"),
    ],
)
def test_replies(reply, error, text):
    answer = b"\x05%c\x00\x01" % reply + bytes(6)

    assert text in str(refused("socks5h://h", WELCOME, answer, error=error))


@pytest.mark.parametrize(
    ("proxy", "answers", "text"),
    [
        ("h", [b"\x05\xff"], "give its URL as socks5://user:password@host:port"),
        ("u:secret@h", [b"\x05\xff"], "takes no user name and password, and does not let"),
        ("h", [b"\x05\x02"], "method 2, which was not offered"),
        ("u:secret@h", [b"\x05\x01"], "method 1, which was not offered"),
        ("u:secret@h", [ASKED_WHO, b"\x01\x01"], "does not take this user name and password"),
        ("u:secret@h", [ASKED_WHO, b"\x05\xff"], "does not take this user name and password"),
        ("u:secret@h", [ASKED_WHO, b"\x05\x00"], "does not speak SOCKS5: version 5 of its pass"),
        ("h", [b"HTTP/1.1 400 Bad Request\r\n"], "does not speak SOCKS5: it begins with 'H'"),
        ("h", [b"\x04\x5b"], "does not speak SOCKS5"),
        ("h", [b"\x00\x5b"], "does not speak SOCKS5"),
        ("h", [WELCOME, b"\x04\x00\x00\x01"], "does not speak SOCKS5"),
        ("h", [WELCOME, b"\x05\x00\x00\x02"], "does not speak SOCKS5: address type 2"),
    ],
)
def test_what_is_no_socks(proxy, answers, text):
    error = refused(f"socks5://{proxy}", *answers)

    assert text in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("answers", [[WELCOME + CONNECTED], [ASKED_WHO + b"\x01\x00"]])
def test_answers_to_what_was_not_asked(answers):
    with pytest.raises(ProxyError, match="before it was asked"):
        talk("socks5://u:p@h", *answers)


def test_a_name_that_is_too_long_is_never_cut():
    """Its length would wrap around (CVE-2023-38545)."""
    with pytest.raises(ProxyError, match="255 bytes"):
        talk("socks5h://h", WELCOME, CONNECTED, host="x" * 256)
