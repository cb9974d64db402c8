"""Places in the farm that a process fills: each is started again whenever it ends, as its supervisor would do."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.processes import Process, Processes, wait_until

LOOK_SECONDS = 0.05
BACK_OFF_SECONDS = 0.2
PATIENCE_SECONDS = 40.0


@dataclass(eq=False)
class Slot:
    """One process of the farm by name; `ready` is the event that its log says once it works."""

    name: str
    words: tuple[str, ...]
    settings: Mapping[str, str]
    processes: Processes
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)
    all: list[Process] = field(default_factory=list)
    wanted: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def process(self) -> Process:
        return self.all[-1]

    @property
    def pid(self) -> int:
        return self.process.child.pid

    @property
    def alive(self) -> bool:
        return bool(self.all) and self.process.child.poll() is None

    @property
    def children(self) -> list[int]:
        """The processes it has started."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def start(self) -> None:
        with self._lock:
            self.wanted = True
            self._start()

    def wait_ready(self) -> None:
        wait_until(lambda: self.alive and self.process.said(self.ready), PATIENCE_SECONDS, what=self.name.upper)

    def kill(self) -> None:
        """SIGKILL to it and all that it has started."""
        with self._lock:
            for pid in (self.pid, *self.children):
                _signal(pid, signal.SIGKILL)
            self.process.child.wait()

    def down(self) -> None:
        """Kill it, and leave it so until it is started."""
        with self._lock:
            self.wanted = False
            self.kill()

    def stop(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Ask it to end, and leave it so until it is started; its exit status."""
        with self._lock:
            self.wanted = False
            self.process.signal(signal.SIGTERM)
        return self.process.ended(seconds)

    def restart(self, environment: Mapping[str, str] | None = None) -> None:
        """Stop it, and start another in its place, with other variables if there are any."""
        self.stop()
        self.environment = environment or {}
        self.start()
        self.wait_ready()

    def revive(self) -> None:
        with self._lock:
            if self.wanted and not self.alive:
                self._start()

    def _start(self) -> None:
        if not self.alive:
            self.all.append(self.processes.start(*self.words, environment=self.environment, **self.settings))


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


class Supervisor:
    """Looks after slots; as a context manager, for as long as the block runs."""

    def __init__(self, slots: Callable[[], list[Slot]]) -> None:
        self._slots = slots
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        ended_at: dict[Slot, float] = {}
        while not self._over.wait(LOOK_SECONDS):
            now = time.monotonic()
            for slot in self._slots():
                if slot.alive or not slot.wanted:
                    ended_at.pop(slot, None)
                elif now - ended_at.setdefault(slot, now) > BACK_OFF_SECONDS:
                    slot.revive()
