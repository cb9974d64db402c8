"""Where an outgoing request may go: its URL taken apart once, its host resolved once, every address judged."""

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from requests_hardened.ip_filter import EXTRA_BLOCKED_NET_RANGES
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from fluxfarm.errors import PredictionFailed
from fluxfarm.settings import Network

Address = IPv4Address | IPv6Address

PORTS = frozenset({80, 443})
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]", re.ASCII)
BLANKS_AND_SLIPS = re.compile(r"[\x00-\x20\x7f\\]")
"""Characters that programs disagree on when they look for the host in a URL."""

GLOBAL_IPV6 = ip_network("2000::/3")
"""All that is routed so far; what wraps an IPv4 address (mapped, compatible, NAT64) lies outside."""

CLOSED: tuple[Network, ...] = (
    *EXTRA_BLOCKED_NET_RANGES,
    ip_network("0.0.0.0/8"),
    ip_network("100.64.0.0/10"),  # carriers' own networks
    ip_network("127.0.0.0/8"),
    ip_network("168.63.129.16/32"),  # Azure's host service, on a public address
    ip_network("169.254.0.0/16"),
    ip_network("192.0.0.0/24"),
    ip_network("192.88.99.0/24"),
    ip_network("198.18.0.0/15"),
    ip_network("224.0.0.0/3"),  # multicast, reserved, broadcast
    ip_network("2001::/23"),  # Teredo, ORCHID and other protocols
    ip_network("2001:db8::/32"),
    ip_network("2002::/16"),  # 6to4, which wraps an IPv4 address
    ip_network("3fff::/20"),
)


class Refused(PredictionFailed):
    """The destination may not be asked; says nothing of what its name resolved to."""

    def __init__(self, why: str) -> None:
        super().__init__("input_forbidden", why)


def system_addresses(host: str, port: int) -> list[Address]:
    """All addresses of a host, in the system's order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(address[0]) for *_, address in found]


@dataclass(frozen=True, slots=True)
class Destination:
    """One server to ask, and its addresses; only these are connected to."""

    secure: bool
    host: str
    port: int
    target: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be asked: public addresses at web ports, and the operator's own networks at any."""

    allow: tuple[Network, ...] = ()
    ports: frozenset[int] = PORTS
    resolve: Callable[[str, int], Iterable[Address]] = system_addresses

    def destination(self, url: str) -> Destination:
        """Take the URL apart and resolve its host.

        Raises:
            PredictionFailed: with the reason `input_forbidden`, or `input_unreachable` for an unknown host.

        """
        scheme, host, port, target = _parts(url)
        try:
            addresses = tuple(self.resolve(host, port))
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise PredictionFailed("input_unreachable", "the host in its URL is not known")
        self._judge(addresses, port)
        return Destination(scheme == "https", host, port, target, addresses)

    def _judge(self, addresses: tuple[Address, ...], port: int) -> None:
        strangers = [address for address in addresses if not _within(address, self.allow)]
        if not all(is_public(address) for address in strangers):
            raise Refused("its URL leads to an address that is not public")
        if strangers and port not in self.ports:
            raise Refused("its URL names a port other than 80 and 443")


def is_public(address: Address) -> bool:
    """Whether anyone on the internet could ask this address, and it is nobody's inside."""
    if isinstance(address, IPv6Address) and address not in GLOBAL_IPV6:
        return False
    return address.is_global and not address.is_multicast and not _within(address, CLOSED)


def _within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _parts(url: str) -> tuple[str, str, int, str]:
    """Scheme, host without brackets, port, and path with query."""
    if BLANKS_AND_SLIPS.search(url):
        raise Refused("its URL holds a blank, a backslash or a control character")
    try:
        parsed = parse_url(url)
    except LocationParseError:
        raise Refused("its URL is malformed") from None
    if parsed.scheme not in DEFAULT_PORTS:
        raise Refused("its URL must start with http:// or https://")
    if parsed.auth is not None:
        raise Refused("its URL must not hold a user name or password")
    if parsed.host is None or not HOST.fullmatch(parsed.host):
        raise Refused("its URL names no host")
    port = DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
    return parsed.scheme, parsed.host.strip("[]"), port, parsed.request_uri
