"""Polling with a deadline, and a look at what a run left behind."""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Traces:
    """Finds every process that a test started, however it detached itself: by a variable, its words or its folder."""

    directory: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUXFARM_")}
        return {**kept, "TEST_MARK": self.mark, "FLUXFARM_MODELS": "flux-dev"}

    def living(self) -> list[str]:
        return [words for entry in Path("/proc").glob("[0-9]*") if (words := self._ours(entry))]

    def _ours(self, entry: Path) -> str:
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            where, variables = str((entry / "cwd").readlink()), (entry / "environ").read_bytes()
        except OSError:
            return ""
        here = str(self.directory)
        found = self.mark.encode() in variables or here in words or where.startswith(here)
        return f"{entry.name}: {words}" if found and words else ""


def wait_until(check: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not so within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    return Traces(tmp_path)
