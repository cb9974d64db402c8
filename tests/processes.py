"""Real worker processes for tests: started with a catalogue of villains, looked into, and never left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from fluxfarm.local.guardian import Guardian
from fluxfarm.local.spawn import spawn

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 60.0

MODEL = """
[models.{slug}]
title = "A villain"
description = "For tests"
release = "1"
pipeline = "tests.villains"
weights = "{slug}"
licence = "none"
licence_url = "https://localhost/"
steps = {{ minimum = 1, maximum = 50, default = 4 }}
guidance = {{ minimum = 0, maximum = 10, default = 3.5 }}
max_sequence_length = 512
pixel_step_microseconds = 0.01

[weights.{slug}]
location = "{location}"
native_side = 128
licence = "apache-2.0"
stand_in = true
"""


def catalogue(path: Path, slugs: Sequence[str], *, broken: Sequence[str] = ()) -> Path:
    """A catalogue of models that `tests.villains` serves."""
    entries = [MODEL.format(slug=slug, location="broken" if slug in broken else "villain") for slug in slugs]
    path.write_text("".join(entries))
    return path


def wait_until(check: Callable[[], Any], seconds: float = PATIENCE_SECONDS, *, what: Callable[[], str] = str) -> Any:
    """Poll until `check` is true and return what it said; `what` tells more in case it never is."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"not so within {seconds} s {what()}"
        time.sleep(0.02)
    return found


@dataclass(eq=False)
class Process:
    """One process of the farm, its log a file."""

    child: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; lines of other kinds as `{"event": line}`."""
        return [_parsed(line) for line in self.log.read_text(errors="replace").splitlines()]

    def said(self, event: str) -> bool:
        return any(event in line["event"] for line in self.lines())

    def wait_for(self, event: str, seconds: float = PATIENCE_SECONDS) -> None:
        wait_until(lambda: self.said(event) or self.child.poll() is not None, seconds, what=self.log.read_text)
        assert self.said(event), self.log.read_text()

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    def ended(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; its exit status."""
        wait_until(lambda: self.child.poll() is not None, seconds, what=self.log.read_text)
        return self.child.returncode

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.signal(signal.SIGCONT)
            self.child.kill()
        self.child.wait()


def _parsed(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"event": line}


@dataclass
class Processes:
    """Starts processes with one environment; as a context manager it leaves none behind, even when it is killed."""

    directory: Path
    environment: dict[str, str]
    _all: list[Process] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._guardian = Guardian()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.end()
        self._guardian.dismiss()

    def start(self, *words: str, environment: Mapping[str, str] | None = None, **settings: str) -> Process:
        """`python -m …`; settings by their names in small letters, and other variables as they are."""
        told = {f"FLUXFARM_{name.upper()}": value for name, value in settings.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUXFARM_")}
        log = self.directory / f"log-{len(self._all)}-{uuid.uuid4().hex[:6]}"
        with log.open("wb") as output:
            child = spawn(
                [sys.executable, "-m", *words],
                environment={**kept, "PYTHONPATH": str(ROOT), **self.environment, **(environment or {}), **told},
                stop_signal=signal.SIGKILL,
                guardian=self._guardian,
                output=output,
            )
        process = Process(child, log)
        self._all.append(process)
        return process

    def worker(self, slug: str, **settings: str) -> Process:
        return self.start("worker", "--model", slug, environment=None, **settings)

    @contextmanager
    def kept_running(self, slug: str, **settings: str) -> Iterator[list[Process]]:
        """A worker that is started again whenever it ends, as its supervisor would; yields all there were so far."""
        started: list[Process] = [self.worker(slug, **settings)]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                if started[-1].child.poll() is not None:
                    started.append(self.worker(slug, **settings))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield started
        finally:
            over.set()
            watcher.join()
            started[-1].end()


class Proxy:
    """A TCP proxy on loopback that can be cut and mended; as a context manager it ends with the block."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._cut = False
        self._betrayed: bytes | None = None
        self._commit = b"COMMIT"
        self._flows = threading.Event()
        self._flows.set()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._flows.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def cut(self) -> None:
        """Break every connection; new ones are broken at once."""
        with self._lock:
            self._cut = True
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def mend(self) -> None:
        self._cut = False

    def freeze(self) -> None:
        """Carry nothing any more, and break nothing."""
        self._flows.clear()

    def lose_answer_to_commit_after(self, words: bytes, commit: bytes = b"COMMIT") -> None:
        """The next transaction with `words` in it is committed, but its client's connection breaks instead.

        A statement that commits by itself is given as its own `commit`.
        """
        self._betrayed, self._commit = words, commit

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        mute = threading.Event()
        with near, far:
            back = threading.Thread(target=self._pump, args=(far, near, lambda _: mute.is_set()), daemon=True)
            back.start()
            self._pump(near, far, self._listener_for_commit(mute))
            back.join()

    def _listener_for_commit(self, mute: threading.Event) -> Callable[[bytes], bool]:
        found = False

        def listen(data: bytes) -> bool:
            nonlocal found
            if self._betrayed is not None and self._betrayed in data:
                self._betrayed, found = None, True
            if found and self._commit in data:
                mute.set()
            return False

        return listen

    def _pump(self, source: socket.socket, sink: socket.socket, stop: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and not stop(data):
                self._flows.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
