"""The guard: the IANA registries, and every way to write an inner address as an outer one."""

import functools
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import each_row

from fastreq.policies.guard import guard, is_public, why_not_public

# First, one inside, last; what is public before and after, or None.
BLOCKS = [
    ("0.0.0.0", "0.1.2.3", "0.255.255.255", None, "1.0.0.0"),
    ("10.0.0.0", "10.1.2.3", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
    ("100.64.0.0", "100.100.100.200", "100.127.255.255", "100.63.255.255", "100.128.0.0"),
    ("127.0.0.0", "127.0.0.1", "127.255.255.255", "126.255.255.255", "128.0.0.0"),
    ("169.254.0.0", "169.254.169.254", "169.254.255.255", "169.253.255.255", "169.255.0.0"),
    ("172.16.0.0", "172.17.0.1", "172.31.255.255", "172.15.255.255", "172.32.0.0"),
    ("192.0.0.0", "192.0.0.170", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
    ("192.0.2.0", "192.0.2.1", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
    ("192.88.99.0", "192.88.99.1", "192.88.99.255", "192.88.98.255", "192.88.100.0"),
    ("192.168.0.0", "192.168.1.1", "192.168.255.255", "192.167.255.255", "192.169.0.0"),
    ("198.18.0.0", "198.19.0.1", "198.19.255.255", "198.17.255.255", "198.20.0.0"),
    ("198.51.100.0", "198.51.100.7", "198.51.100.255", "198.51.99.255", "198.51.101.0"),
    ("203.0.113.0", "203.0.113.7", "203.0.113.255", "203.0.112.255", "203.0.114.0"),
    ("224.0.0.0", "239.255.255.250", "239.255.255.255", "223.255.255.255", None),
    ("240.0.0.0", "250.0.0.1", "255.255.255.254", None, None),
    ("255.255.255.255", "255.255.255.255", "255.255.255.255", None, None),
    ("::", "::", "::", None, None),
    ("::1", "::1", "::1", None, None),
    ("::2", "::8.8.8.8", "::ffff:ffff", None, None),
    ("::ffff:0:0", "::ffff:8.8.8.8", "::ffff:ffff:ffff", None, None),
    ("::ffff:0:0:0", "::ffff:0:8.8.8.8", "::ffff:0:ffff:ffff", None, None),
    ("64:ff9b::", "64:ff9b::8.8.8.8", "64:ff9b::ffff:ffff", None, None),
    ("64:ff9b:1::", "64:ff9b:1::7f00:1", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", None, None),
    ("100::", "100::1", "100::ffff:ffff:ffff:ffff", None, None),
    ("100:0:0:1::", "100:0:0:1::1", "100:0:0:1:ffff:ffff:ffff:ffff", None, None),
    ("2001::", "2001:0:4136:e378::1", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("2001:2::", "2001:2::1", "2001:2:0:ffff:ffff:ffff:ffff:ffff", None, None),
    ("2001:10::", "2001:10::1", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("2001:20::", "2001:20::1", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    (
        "2001::",
        "2001:4:112::1",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2000:ffff::",
        "2001:200::",
    ),
    (
        "2001:db8::",
        "2001:db8::1",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db7::",
        "2001:db9::",
    ),
    ("2002::", "2002:7f00:1::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff::", "2003::"),
    ("3fff::", "3fff::1", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff::", "3fff:1000::"),
    ("4000::", "5000::1", "5eff::", "3fff:ffff::", None),
    ("5f00::", "5f00::1", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("fc00::", "fd00::1", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("fe80::", "fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("fec0::", "fec0::1", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
    ("ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
]

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.215.14",
    "192.31.196.1",  # AS112
    "192.175.48.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2a00:1450:4001::1",
    "2620:4f:8000::1",
    "2000::",
]


@each_row("block", BLOCKS, ids=lambda block: block[1])
def test_the_registries(block):
    """Each block from its first address to its last, and not one more."""
    allowed = guard("public")
    *inside, before, after = block

    assert [False, False, False] == [allowed(text) for text in inside]
    assert all(allowed(text) for text in (before, after) if text)


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text):
    assert guard("public")(text)
    assert why_not_public(ipaddress.ip_address(text)) is None


@each_row(
    ("text", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("255.255.255.255", "limited broadcast"),
        ("::", "unspecified address"),
        ("::1", "loopback"),
        ("::127.0.0.1", "deprecated (IPv4-compatible address)"),
        ("::ffff:1.1.1.1", "IPv4-mapped address"),
        ("::ffff:0:1.1.1.1", "IPv4-translated address"),
        ("64:ff9b::1", "IPv4-IPv6 translation (NAT64)"),
        ("64:ff9b:1::", "IPv4-IPv6 translation (NAT64, local use)"),
        ("100::", "discard-only address block"),
        ("100:0:0:1::", "dummy IPv6 prefix"),
        ("2001:0:1::", "Teredo"),
        ("2001:2::", "benchmarking"),
        ("2001:10::", "deprecated (ORCHID)"),
        ("2001:20::", "ORCHIDv2"),
        ("2001:1ff::", "IETF protocol assignments"),
        ("5f00::", "segment routing (SRv6) SIDs"),
        ("9000::", "not global unicast"),
        ("fd00::1", "unique-local"),
        ("fe80::1", "link-local"),
        ("fec0::1", "deprecated (site-local)"),
        ("ff02::1", "multicast"),
        ("2606:4700::1%eth0", "an address with a zone, which means something on this machine only"),
    ],
)
def test_the_reason(text, reason):
    assert reason == why_not_public(ipaddress.ip_address(text))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_one(address):
    """No form of it gets through, wherever it would lead."""
    number, allowed = int(address), guard("public")
    for prefix in ("::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::"):
        assert not allowed(str(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + number)))
    assert not allowed(str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80) + 1)))
    assert not allowed(str(ipaddress.IPv6Address((0x20010000 << 96) + (number ^ 0xFFFFFFFF))))


@given(st.ip_addresses())
def test_never_more_than_the_library(address):
    """Each Python's `is_global` reads another edition of the registries; none calls private what
    we call public."""
    if is_public(address):
        assert address.is_global
        assert not address.is_private
        assert not address.is_multicast
        assert not address.is_reserved
        assert not address.is_loopback
        assert not address.is_link_local


@given(st.ip_addresses(v=6), st.from_regex(r"[A-Za-z0-9._~-]{1,16}", fullmatch=True))
def test_a_zone_is_refused(address, zone):
    assert not guard("public")(f"{address}%{zone}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/docker.sock",
        "localhost",
        "example.com",
        "127.1",
        "0x7f.1",
        "010.8.8.8",
        "2130706433",
        "8.8.8.8 ",
        "8.8.8.8\n",
        "[2606::1]",
        "8.8.8.8:80",
        "８.8.8.8",
        "8.8.8.8%lo",
        "2606::1%",
    ],
)
def test_what_is_no_address_is_refused(text):
    """By every guard: a Unix socket least of all may be reached by a user's URL."""
    assert not guard("public")(text)
    assert not guard(lambda address: True)(text)


def test_a_function_decides():
    seen = []

    def allow(address):
        seen.append(address)
        return address.is_loopback

    allowed = guard(allow)

    assert [True, False, True] == [allowed(text) for text in ("127.0.0.1", "8.8.8.8", "::1")]
    assert [ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv4Address("8.8.8.8")] == seen[:2]
    assert ipaddress.IPv6Address("::1") == seen[2]


def test_what_a_function_gives_is_a_yes_or_no():
    """Nothing passes for a yes but True."""
    assert guard(lambda address: True)("8.8.8.8") is True
    for no in (False, None, 0, "", []):
        assert guard(lambda address, no=no: no)("8.8.8.8") is False
    for neither in ("no", 1, object(), [False]):
        with pytest.raises(TypeError, match="expected True or False"):
            guard(lambda address, neither=neither: neither)("8.8.8.8")


class Judge:
    """One that has to be awaited, and is no function."""

    async def __call__(self, address):
        return False


async def refuse(address):
    return False


@pytest.mark.parametrize("allow", [refuse, Judge(), Judge().__call__, functools.partial(refuse)])
def test_a_function_that_has_to_be_awaited_is_refused(allow):
    """A coroutine is true, whatever would come of it."""
    with pytest.raises(TypeError, match="expected a plain function, as it is not awaited"):
        guard(allow)


def test_what_would_have_to_be_awaited_lets_nothing_through():
    """Where no one can see before that it would."""
    with pytest.raises(TypeError, match="coroutine object refuse"):
        guard(lambda address: refuse(address))("8.8.8.8")


MEANINGS = [
    ("127.0.0.1", ["127.0.0.1"]),
    ("::ffff:127.0.0.1", ["127.0.0.1"]),
    ("::ffff:7f00:1%lo", ["127.0.0.1"]),
    ("::1", ["::1"]),
    ("::1%lo", ["::1"]),
    ("2606:4700::1%eth0", ["2606:4700::1"]),
    ("fe80::1%eth0", ["fe80::1%eth0"]),
    ("ff02::1%eth0", ["ff02::1%eth0"]),
    ("64:ff9b::7f00:1", ["64:ff9b::7f00:1", "127.0.0.1"]),
    ("64:ff9b::7f00:1%lo", ["64:ff9b::7f00:1", "127.0.0.1"]),
]


@pytest.mark.parametrize(("text", "asked"), MEANINGS)
def test_a_function_is_asked_about_the_machine_that_is_dialled(text, asked):
    """In whatever clothes its address comes."""
    seen = []
    assert guard(lambda address: seen.append(address) or True)(text)
    assert [ipaddress.ip_address(each) for each in asked] == seen


@pytest.mark.parametrize(
    "text", ["10.1.2.3", "::ffff:10.1.2.3", "::ffff:10.1.2.3%lo", "64:ff9b::10.1.2.3"]
)
def test_a_list_of_what_must_not_be_holds(text):
    """Though no IPv6 address is in a block of IPv4 ones."""
    block = ipaddress.ip_network("10.0.0.0/8")
    assert not guard(lambda address: address not in block)(text)


def test_no_guard():
    assert guard(None) is None


@pytest.mark.parametrize("allow", ["private", "", b"public", True, False, 0, ["public"]])
def test_what_is_no_guard(allow):
    """A misspelt guard must not let all through."""
    with pytest.raises(TypeError, match=r"expected 'public', None, or a function"):
        guard(allow)
