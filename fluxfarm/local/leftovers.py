"""Finds and ends what an earlier, killed run left of PostgreSQL on our own data directory."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from fluxfarm.errors import Unavailable

PROC = Path("/proc")
STEPS = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 2.0))


def stop_leftovers(data: Path) -> None:
    """End every PostgreSQL process on `data`, and remove the file that names one which is no such process.

    PostgreSQL itself heals after a dead one, but refuses to start when its number now belongs to somebody else.
    """
    for number, seconds in STEPS:
        if not _signal_all(data, number):
            break
        _wait_until_gone(data, seconds)
    if leftovers(data):
        raise Unavailable(f"a PostgreSQL that an earlier run left on {data} does not stop; end it by hand")
    if _pid_in_use(data / "postmaster.pid"):
        (data / "postmaster.pid").unlink()


def leftovers(data: Path) -> list[int]:
    """The numbers of all PostgreSQL processes that work on `data`: a server, or what one that died left behind."""
    return [int(entry.name) for entry in PROC.glob("[0-9]*") if _works_on(entry, data)]


def _works_on(entry: Path, data: Path) -> bool:
    try:
        words = (entry / "cmdline").read_bytes().split(b"\0")
        if words[0].startswith(b"postgres: "):
            return (entry / "cwd").readlink() == data.resolve()
    except OSError:
        return False
    if not words[0].endswith(b"/postgres") or b"-D" not in words[:-1]:
        return False
    return words[words.index(b"-D") + 1] == os.fsencode(data)


def _signal_all(data: Path, number: signal.Signals) -> bool:
    found = leftovers(data)
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    return bool(found)


def _wait_until_gone(data: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while leftovers(data) and time.monotonic() < deadline:
        time.sleep(0.05)


def _pid_in_use(file: Path) -> bool:
    try:
        os.kill(int(file.read_text().split("\n", 1)[0]), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
