"""What the supervisor runs: a part as it is wanted, and one that runs."""

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

LONGEST_LINE = 64 * 1024
MOST_READS = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One program of the farm. `command` is asked before each start, since a server may need a new port."""

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    wave: int = 0
    """When everything stops, waves stop one after another, the smallest first; within one all stop together."""
    grace: float = 2.5
    """Seconds between its stop signal and SIGKILL."""
    vital: bool = True
    """Whether nothing else may go on when it crashes again and again; of the others, one that lives suffices."""


@dataclass(slots=True)
class Stream:
    """A pipe that a part writes to, cut into lines."""

    pipe: IO[bytes]
    hear: Callable[[str], None]
    rest: bytes = b""

    def read(self) -> bool:
        """Pass on what is there; false at its end, and BlockingIOError when nothing is there now."""
        got = os.read(self.pipe.fileno(), LONGEST_LINE)
        *whole, self.rest = (self.rest + got).split(b"\n")
        if len(self.rest) > LONGEST_LINE:
            whole, self.rest = [*whole, self.rest], b""
        for line in whole:
            self._pass_on(line)
        return bool(got)

    def finish(self) -> None:
        """Pass on what a part that has ended still left in the pipe."""
        with suppress(BlockingIOError):
            for _ in range(MOST_READS):
                if not self.read():
                    break
        if self.rest:
            self._pass_on(self.rest)
        self.pipe.close()

    def _pass_on(self, line: bytes) -> None:
        # Of a progress bar, which returns to the start of its line, only the last state.
        shown = line.rstrip(b"\r").rsplit(b"\r", 1)[-1]
        self.hear(shown.decode(errors="replace"))


@dataclass(slots=True)
class Running:
    """A part's process and what it has said."""

    part: Part
    process: subprocess.Popen[bytes]
    started: float
    streams: list[Stream] = field(default_factory=list)
    last_line: str = ""

    def reason(self) -> str:
        """Why it ended, in words."""
        return ending(self.process.returncode) + (f": {self.last_line}" if self.last_line else "")


@dataclass(slots=True)
class History:
    """How often a part crashed, and when it may start again."""

    crashes: deque[float] = field(default_factory=deque)
    row: int = 0
    """Crashes since it last ran for a whole window."""
    restart_at: float = 0.0
    failing: bool = False
    """It crashed too often, and has not lived through a whole window since."""


def ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
