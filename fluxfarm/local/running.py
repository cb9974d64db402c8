"""Who runs a data directory: a lock that dies with its holder, and a file that tells other commands where to look."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from fluxfarm.errors import Unavailable
from fluxfarm.local.private_files import write_private

LOCK = "up.lock"
RUNNING = "running.json"
PATIENCE = 0.5
"""Seconds for which a lock held by somebody who only looks at it is waited for."""


@dataclass(frozen=True, slots=True)
class RunningFarm:
    """A farm that `fluxfarm up` runs."""

    url: str
    api_key: str
    database_url: str
    redis_url: str
    pid: int
    join_token: str | None = None
    """What other machines need to work for it; None if it is not shared."""


class DataDirectoryTaken(Unavailable):
    """Another `fluxfarm up` runs on it."""


@contextmanager
def only_one(data_dir: Path) -> Iterator[Callable[[str], None]]:
    """Hold the data directory for as long as the block runs, which may tell others its address.

    Raises:
        DataDirectoryTaken: somebody else holds it.

    """
    with _open_lock(data_dir) as lock:
        if not _locked(lock, fcntl.LOCK_EX, patience=PATIENCE):
            holder, _, where = lock.read().partition(" ")
            raise DataDirectoryTaken(
                f"fluxfarm already runs on {data_dir} (process {holder or 'unknown'}, {where or 'address unknown'}); "
                "stop it first, or choose another --data-dir"
            )

        def tell(address: str) -> None:
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()} {address}".strip())
            lock.flush()

        (data_dir / RUNNING).unlink(missing_ok=True)  # one that was killed leaves it
        tell("")
        try:
            yield tell
        finally:
            (data_dir / RUNNING).unlink(missing_ok=True)


def announce(data_dir: Path, farm: RunningFarm) -> None:
    """Tell other commands where this farm is."""
    write_private(data_dir / RUNNING, json.dumps(asdict(farm)))


def running(data_dir: Path) -> RunningFarm | None:
    """The farm that runs on a data directory, once it is ready; a file that a killed one left does not count."""
    try:
        with _open_lock(data_dir, create=False) as lock:
            if _locked(lock, fcntl.LOCK_SH):
                return None
            return RunningFarm(**json.loads((data_dir / RUNNING).read_text()))
    except FileNotFoundError:
        return None


def _open_lock(data_dir: Path, *, create: bool = True) -> TextIO:
    flags = os.O_RDWR | (os.O_CREAT if create else 0)
    return os.fdopen(os.open(data_dir / LOCK, flags, 0o600), "r+")


def _locked(lock: TextIO, kind: int, *, patience: float = 0.0) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True
