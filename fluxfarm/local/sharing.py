"""Where the private servers listen besides loopback: nowhere, unless `fluxfarm up --share` names an address."""

import errno
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from fluxfarm.errors import SettingsError
from fluxfarm.local.private_files import write_private

LOOPBACK = "127.0.0.1"
PORTS_TRIED = 100
PATIENCE = 3.0
"""Seconds for which a port is waited for that what an earlier, killed run left may still hold."""


@dataclass(frozen=True, slots=True)
class Share:
    """An address of this machine that other machines reach, and how they call it."""

    host: str
    name: str

    @property
    def listen(self) -> tuple[str, ...]:
        return (self.host,) if self.host == "0.0.0.0" else (LOOPBACK, self.host)  # noqa: S104 - compared, not bound

    @property
    def in_url(self) -> str:
        return f"[{self.name}]" if ":" in self.name else self.name

    def kept_port(self, file: Path, *, first: int) -> int:
        """The port that was chosen at the first start and noted in `file`, since other machines know it by now.

        Raises:
            SettingsError: another program has taken it.

        """
        if not file.exists():
            write_private(file, f"{self._free_port(first)}\n")
        port = int(file.read_text())
        deadline = time.monotonic() + PATIENCE
        while not self._is_free(port):
            if time.monotonic() > deadline:
                raise SettingsError(
                    f"port {port}, by which other machines know this farm, is taken by another program; end that one, "
                    f"or remove {file} and give the other machines a new `fluxfarm join-token`"
                )
            time.sleep(0.05)
        return port

    def _free_port(self, first: int) -> int:
        """Below the ports that outgoing connections take, so that it is still free at the next start."""
        for port in range(first, first + PORTS_TRIED):
            if self._is_free(port):
                return port
        raise SettingsError(f"all ports from {first} to {first + PORTS_TRIED - 1} are taken by other programs")

    def _is_free(self, port: int) -> bool:
        try:
            for host in self.listen:
                try_to_listen(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise SettingsError(
                f"nothing can listen on {self.host}: {error.strerror}; choose another --share"
            ) from None
        return True


def try_to_listen(host: str, port: int) -> None:
    """Raises `OSError` if nothing can listen there."""
    (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
