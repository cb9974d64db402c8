"""Where the API and shared servers listen, and how that is typed by whoever wants to reach it."""

import errno
import ipaddress
import socket
from dataclasses import dataclass

from fluxfarm.errors import SettingsError
from fluxfarm.local.server import free_port
from fluxfarm.local.sharing import Share, try_to_listen

IPV4 = 4
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound
NO_PLACE = {
    errno.EADDRINUSE: "port {port} on {host} is taken by another program; choose another --port (0 takes a free one)",
    errno.EACCES: "port {port} may only be used by root; choose a --port above 1023",
    errno.EADDRNOTAVAIL: "{host} is not an address of this machine; choose another --host",
}


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @property
    def bind(self) -> str:
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def url(self) -> str:
        """As others must type it: a machine that listens everywhere is named by its own address."""
        return f"http://{_bracketed(outward_address() if self.host in EVERYWHERE else self.host)}:{self.port}"

    @property
    def from_here(self) -> tuple[str, int]:
        """As this machine reaches it."""
        return EVERYWHERE.get(self.host, self.host), self.port


def find_address(host: str, port: int) -> Address:
    """Where the API will listen; port 0 is replaced by a free one.

    Raises:
        SettingsError: nothing can listen there.

    """
    try:
        if port == 0:
            return Address(host, free_port(host))
        with socket.socket(_family(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror:
        raise SettingsError(
            f"{host} is no address or host name that this machine knows; choose another --host"
        ) from None
    except OSError as error:
        sentence = NO_PLACE.get(error.errno or 0, "nothing can listen on {host} port {port}: " + str(error.strerror))
        raise SettingsError(sentence.format(host=host, port=port)) from None
    return Address(host, port)


def find_share(host: str) -> Share:
    """An address on which the private servers may listen for other machines; host names are turned into addresses.

    Raises:
        SettingsError: no other machine could reach it, or it is no address of this machine.

    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
        try_to_listen(str(found), 0)
    except socket.gaierror:
        raise SettingsError(
            f"{host} is no address or host name that this machine knows; choose another --share"
        ) from None
    except OSError:
        raise SettingsError(f"{host} is not an address of this machine; choose another --share") from None
    address = ipaddress.ip_address(found)
    if address.is_loopback:
        raise SettingsError(f"{host} is reached by this machine alone; --share takes an address that others reach")
    if address.is_unspecified and address.version != IPV4:
        raise SettingsError(f"{host} does not tell others which address to use; give --share one address")
    return Share(str(found), outward_address() if address.is_unspecified else host)


def outward_address() -> str:
    """The address that this machine's packets to others carry; asked of the routing table, nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostname()
        found: str = probe.getsockname()[0]
        return found


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
