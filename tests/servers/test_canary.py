"""The checker fails where it should, and only there."""

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest

from fastreq import Client
from servers.canary import Canary
from servers.scripted import WATCHERS, reply, serving


class Log:
    """A server that has these requests in its log."""

    def __init__(self, *requests, origin="http://127.0.0.1:1"):
        self.requests = list(requests)
        self.origin = origin

    def url(self, path="/", *, host="127.0.0.1"):
        return self.origin + path


def basic(secret):
    return b"Authorization: Basic " + b64encode(b"user:" + secret)


PLACES = [
    lambda secret: b"GET /" + secret + b" HTTP/1.1\r\n\r\n",
    lambda secret: b"X-Key: " + secret,
    lambda secret: b"body\r\n\r\n...." + secret + b"....",
    lambda secret: basic(secret),
    lambda secret: b"/token/" + urlsafe_b64encode(b"??" + secret),
    lambda secret: b"?a=" + quote("".join(f"%{byte:02x}" for byte in secret), safe="%").encode(),
    lambda secret: b"X-Hex: " + secret.hex().encode(),
    lambda secret: b"X-Hex: a" + secret.hex().upper().encode(),
]


@pytest.mark.parametrize("place", PLACES, ids=range(len(PLACES)))
def test_a_secret_is_seen_wherever_it_is(place):
    canary = Canary()
    secret = canary.secret("key", "http://127.0.0.1:1").encode()
    canary.check(Log(place(secret)))
    assert {"key": {"http://127.0.0.1:1"}} == canary.seen(Log(place(secret)))

    with pytest.raises(pytest.fail.Exception, match=r"key reached http://127\.0\.0\.1:2"):
        canary.check(Log(place(secret), origin="http://127.0.0.1:2"))


def test_an_origin_is_scheme_host_and_port():
    """The host is that of the request; upper case is no other."""
    canary = Canary()
    secret = canary.secret("key", "http://Site.test:1/path").encode()
    canary.check(Log(b"GET / HTTP/1.1\r\nHost: site.TEST:1\r\n" + secret))

    for log in (
        Log(b"GET / HTTP/1.1\r\nHost: other.test:1\r\n" + secret),
        Log(b"GET / HTTP/1.1\r\nHost: site.test:1\r\n" + secret, origin="https://127.0.0.1:1"),
        Log(b"GET / HTTP/1.1\r\nHost: site.test:2\r\n" + secret),
    ):
        with pytest.raises(pytest.fail.Exception, match="key reached"):
            canary.check(log)


def test_a_secret_for_nobody():
    canary = Canary()
    secret = canary.secret("password").encode()
    canary.check(Log(b"nothing of it"))
    with pytest.raises(pytest.fail.Exception, match="it is for nobody"):
        canary.check(Log(secret))


def test_a_secret_that_got_nowhere_tests_nothing():
    canary = Canary()
    canary.secret("key", "http://127.0.0.1:1")
    with pytest.raises(pytest.fail.Exception, match="what was tested"):
        canary.check(Log(b"GET / HTTP/1.1\r\n\r\n"))


def test_secrets_are_told_apart():
    canary = Canary()
    one, two = (canary.secret(name, "http://127.0.0.1:1") for name in ("one", "two"))
    assert one != two
    assert {"one": {"http://127.0.0.1:1"}, "two": set()} == canary.seen(Log(one.encode()))


def test_those_of_other_tests_do_not_count():
    Canary().check(Log(Canary().secret("theirs").encode()))


async def test_servers_of_the_test_are_watched_unasked(canary):
    """What a test did not show us counts as well, and what it did counts once."""
    foreign = Canary()
    secret = foreign.secret("key")
    WATCHERS.append(foreign.watch)
    async with serving(reply()) as server, Client() as client:
        WATCHERS.remove(foreign.watch)
        await client.get(server.url(f"/?key={secret}"))

    with pytest.raises(pytest.fail.Exception, match="it is for nobody"):
        foreign.check()
    assert server in canary._servers
