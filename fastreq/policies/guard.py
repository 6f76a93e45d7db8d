"""Which addresses may be connected to: the guard against requests led into one's own network.

A service that fetches what its users name must not fetch from itself, from its neighbours or from
the metadata service of its cloud. The addresses are judged when they are about to be dialled, after
DNS and on every hop, so a name that changes its answer in between gains nothing.
"""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeAlias

from fastreq.options import is_async

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

# The IANA special-purpose registries, as (first address/prefix, name there). `is_global` of
# ipaddress reads them too, but not the same edition in each Python. Three blocks are refused whole
# though parts of them are reachable, as nobody serves pages there: 192.0.0.0/24, 2001::/23 and
# 64:ff9b::/96, which leads to any IPv4 address.
_IPV4: Final = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private-use"),
    ("100.64.0.0/10", "shared address space of a carrier (CGNAT)"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),  # 169.254.169.254: the metadata of most clouds
    ("172.16.0.0/12", "private-use"),
    ("192.0.0.0/24", "IETF protocol assignments"),
    ("192.0.2.0/24", "documentation (TEST-NET-1)"),
    ("192.88.99.0/24", "deprecated (6to4 relay anycast)"),
    ("192.168.0.0/16", "private-use"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation (TEST-NET-2)"),
    ("203.0.113.0/24", "documentation (TEST-NET-3)"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "limited broadcast"),
    ("240.0.0.0/4", "reserved"),
)
_IPV6: Final = (
    ("::/128", "unspecified address"),
    ("::1/128", "loopback"),
    ("::ffff:0:0/96", "IPv4-mapped address"),
    ("::ffff:0:0:0/96", "IPv4-translated address"),
    ("::/96", "deprecated (IPv4-compatible address)"),
    ("64:ff9b::/96", "IPv4-IPv6 translation (NAT64)"),
    ("64:ff9b:1::/48", "IPv4-IPv6 translation (NAT64, local use)"),
    ("100::/64", "discard-only address block"),
    ("100:0:0:1::/64", "dummy IPv6 prefix"),
    ("2001::/32", "Teredo"),
    ("2001:2::/48", "benchmarking"),
    ("2001:10::/28", "deprecated (ORCHID)"),
    ("2001:20::/28", "ORCHIDv2"),
    ("2001::/23", "IETF protocol assignments"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing (SRv6) SIDs"),
    ("fc00::/7", "unique-local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "deprecated (site-local)"),
    ("ff00::/8", "multicast"),
)
_SPECIAL_IPV4: Final = [(ipaddress.IPv4Network(block), name) for block, name in _IPV4]
_SPECIAL_IPV6: Final = [(ipaddress.IPv6Network(block), name) for block, name in _IPV6]

# All that is handed out so far; what is handed out next is refused until it is added here.
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, section 2.1


def is_public(address: Address) -> bool:
    """Whether anybody on the internet would reach the same machine at this address."""
    return why_not_public(address) is None


def why_not_public(address: Address) -> str | None:
    """What the address is for, such as "loopback", where it is not public; None where it is.

    An IPv4 address inside an IPv6 one is not looked at: each of these forms is refused, as it
    depends on the network between whether and where it leads.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return next((name for block, name in _SPECIAL_IPV4 if address in block), None)
    if address.scope_id is not None:
        return "an address with a zone, which means something on this machine only"
    # Compared without the class's own rules for scopes, by the number alone.
    plain = ipaddress.IPv6Address(int(address))
    name = next((name for block, name in _SPECIAL_IPV6 if plain in block), None)
    if name is None and plain not in _GLOBAL_UNICAST:
        return "not global unicast"
    return name


def guard(
    allow: Callable[[Address], bool] | Literal["public"] | None,
) -> Callable[[str], bool] | None:
    """Make what judges the text of an address, out of `Client(allow=...)`; None lets all through.

    What is no IP address, such as the path of a Unix socket, is refused by each guard. A function
    is asked about the machine that is dialled, in whatever clothes its address comes: see
    `meanings()`. It has to say True, and only that lets an address through.

    Raises:
        TypeError: `allow` is none of the three, or a function that has to be awaited.
    """
    if allow is None:
        return None
    if isinstance(allow, str) and allow == "public":
        return lambda text: (address := read_address(text)) is not None and is_public(address)
    if not callable(allow):
        raise TypeError(
            f"allow={allow!r}: expected 'public', None, or a function of an ipaddress.IPv4Address "
            "or IPv6Address"
        )
    if is_async(allow):
        raise TypeError(
            f"allow={allow!r} is async; expected a plain function, as it is not awaited"
        )
    judge = allow

    def allowed(text: str) -> bool:
        address = read_address(text)
        return address is not None and all(_verdict(judge, each) for each in meanings(address))

    return allowed


def meanings(address: Address) -> Iterator[Address]:
    """What has to be let through, so that an address may be dialled.

    An IPv4-mapped address is the IPv4 address inside it. A zone is left out where it changes
    nothing. What a NAT64 gateway translates is both itself and the IPv4 address inside.
    """
    if isinstance(address, ipaddress.IPv4Address):
        yield address
    elif (mapped := address.ipv4_mapped) is not None:
        yield mapped
    else:
        plain = ipaddress.IPv6Address(int(address))
        yield address if address.is_link_local or address.is_multicast else plain
        if plain in _NAT64:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _verdict(judge: Callable[[Address], Any], address: Address) -> bool:
    """What a function says of an address; what is no yes or no must not pass for a yes."""
    said = judge(address)
    if not said or said is True:
        return bool(said)
    if inspect.iscoroutine(said):
        said.close()  # or it would complain that nobody awaited it
    raise TypeError(f"allow={judge!r} said {said!r} of {address}; expected True or False")


def read_address(text: str) -> Address | None:
    """The address, or None where the text is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
