"""Runs the farm's parts: shows what they say, restarts what crashes, stops all of it in order.

Each part sits in a session and process group of its own. So Ctrl-C in the terminal reaches the supervisor alone, which
then stops parts in an order that loses nothing: workers hand back what they render while the database still runs.
One thread does everything, woken by pipes; signal handlers only note what they were told.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Self

from fluxfarm.errors import Unavailable
from fluxfarm.local.guardian import Guardian
from fluxfarm.local.lines import Lines
from fluxfarm.local.part import History, Part, Running, Stream
from fluxfarm.local.readable import readable
from fluxfarm.local.server import signal_group
from fluxfarm.local.spawn import spawn

WINDOW = 60.0
MOST_CRASHES = 5
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
LONGEST_TURN = 0.5
KILL_SECONDS = 2.0
OWN_NAME = "fluxfarm"


class StopWished(BaseException):
    """Somebody asked for the end; like KeyboardInterrupt no ordinary error."""


class GaveUp(Unavailable):
    """A part crashed too often."""


class Supervisor:
    """Use as a context manager: leaving it, however that comes, stops every part."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._running: dict[str, Running] = {}
        self._wanted: dict[str, Part] = {}
        self._histories: dict[str, History] = {}
        self._wish: signal.Signals | None = None
        self._stopping = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            stack.enter_context(self._signals())
            self._guardian = Guardian()
            self._ending = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        with self._ending:
            self._stop_all()
            self._lines.flush(seconds=1.0)
            self._guardian.dismiss()  # not reached when stopping failed: then it does its work

    def say(self, line: str) -> None:
        self._lines.say(OWN_NAME, line)

    def start(self, part: Part) -> None:
        """Start a part and keep it running from now on."""
        self._wanted[part.name] = part
        self._histories[part.name] = History()
        self._launch(part)

    def run_once(self, part: Part, *, quiet: bool = False) -> str:
        """Run a program to its end and return what it wrote to its standard output; `quiet` does not show that.

        Raises:
            Unavailable: it failed.

        """
        written: list[str] = []

        def note(line: str) -> None:
            written.append(line)
            if not quiet:
                self._hear(child, line)

        child = self._launch(part, note=note)
        while child.process.returncode is None:
            self._turn(LONGEST_TURN)
        if child.process.returncode:
            raise Unavailable(f"{part.name} failed ({child.reason()})")
        return "\n".join(written)

    def wait_until(self, check: Callable[[], bool], *, pause: float = 0.1) -> None:
        """Look after the parts until `check` says yes.

        Raises:
            StopWished: somebody asked for the end.
            GaveUp: a vital part, or all that are not, crashed five times within a minute.

        """
        while True:
            self._turn(0)
            if check():
                return
            self._turn(pause)

    def run(self) -> None:
        """Look after the parts until somebody asks for the end or a part crashes too often."""
        self.wait_until(lambda: False, pause=LONGEST_TURN)

    def _turn(self, seconds: float) -> None:
        if self._wish and not self._stopping:
            self.say(f"{self._wish.name}: stopping everything")
            raise StopWished
        self._lines.flush()
        for key, _ in self._selector.select(min(seconds, LONGEST_TURN)):
            self._read(key)
        self._keep_guardian()
        for child in [child for child in self._running.values() if child.process.poll() is not None]:
            self._bury(child)
        if not self._stopping:
            self._restart_due()

    def _launch(self, part: Part, note: Callable[[str], None] | None = None) -> Running:
        self._keep_guardian()
        process = spawn(
            part.command(),
            environment=part.environment,
            stop_signal=part.stop_signal,
            guardian=self._guardian,
            output=subprocess.PIPE,
            errors=subprocess.PIPE if note else subprocess.STDOUT,
        )
        child = self._running[part.name] = Running(part, process, time.monotonic())

        def hear(line: str) -> None:
            self._hear(child, line)

        for pipe, heard in ((process.stdout, note or hear), (process.stderr, hear)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                child.streams.append(Stream(pipe, heard))
                self._selector.register(pipe, selectors.EVENT_READ, child.streams[-1])
        return child

    def _hear(self, child: Running, line: str) -> None:
        if line.strip():
            child.last_line = line.strip()
        for each in readable(line):
            self._lines.say(child.part.name, each)

    def _read(self, key: selectors.SelectorKey) -> None:
        with suppress(BlockingIOError):
            if not isinstance(key.data, Stream):
                os.read(key.fd, 4096)  # a signal woke us; its handler has noted it
            elif not key.data.read():
                self._selector.unregister(key.fileobj)

    def _bury(self, child: Running) -> None:
        """A part has ended: clear its group away, hear it out, and plan its return if it is still wanted."""
        del self._running[child.part.name]
        signal_group(child.process.pid, signal.SIGKILL)
        self._guardian.forget(child.process.pid)
        for stream in child.streams:
            with suppress(KeyError):
                self._selector.unregister(stream.pipe)
            stream.finish()
        if child.part.name in self._wanted and not self._stopping:
            self._plan_return(child)

    def _plan_return(self, child: Running) -> None:
        name, now = child.part.name, time.monotonic()
        history = self._histories[name]
        if now - child.started > WINDOW:
            history.row, history.failing = 0, False
        history.row += 1
        history.crashes.append(now)
        pause = min(FIRST_PAUSE * 2 ** (history.row - 1), LONGEST_PAUSE)
        if len([moment for moment in history.crashes if moment > now - WINDOW]) >= MOST_CRASHES:
            history.failing = True
            if child.part.vital or self._all_failing():
                raise GaveUp(f"{name} crashed {MOST_CRASHES} times within a minute ({child.reason()})")
            pause = WINDOW
        history.restart_at = now + pause
        self.say(f"{name} ended ({child.reason()}); it starts again in {pause:g} s")

    def _all_failing(self) -> bool:
        return all(self._histories[name].failing for name, part in self._wanted.items() if not part.vital)

    def _restart_due(self) -> None:
        for name, part in self._wanted.items():
            if name not in self._running and time.monotonic() >= self._histories[name].restart_at:
                self._launch(part)

    def _stop_all(self) -> None:
        self._stopping = True
        for wave in sorted({child.part.wave for child in self._running.values()}):
            self._stop_wave([child for child in self._running.values() if child.part.wave == wave])

    def _stop_wave(self, children: list[Running]) -> None:
        begun = time.monotonic()
        for child in children:
            child.process.send_signal(child.part.stop_signal)
        while living := [child for child in children if child.process.returncode is None]:
            late = [child for child in living if time.monotonic() > begun + child.part.grace]
            for child in late:
                signal_group(child.process.pid, signal.SIGKILL)
            if len(late) == len(living) and time.monotonic() > begun + late[0].part.grace + KILL_SECONDS:
                return  # not even SIGKILL ends them now: something in the kernel holds them
            self._turn(0.1)

    def _keep_guardian(self) -> None:
        if self._guardian.alive():
            return
        self._guardian.dismiss()
        self._guardian = Guardian()
        for child in self._running.values():
            self._guardian.watch(child.process.pid, child.part.stop_signal)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Note what is asked for and wake the loop; everything is put back afterwards."""
        wished = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else started by nohup
            wished.append(signal.SIGHUP)
        with _woken_by_signals() as wakes:
            self._selector.register(wakes, selectors.EVENT_READ)
            before = {number: signal.signal(number, self._note_wish) for number in wished}
            before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _note_wish(self, number: int, _: FrameType | None) -> None:
        self._wish = signal.Signals(number)


@contextmanager
def stopped_when_wished(lines: Lines) -> Iterator[Supervisor]:
    """A supervisor; the wish to stop ends the block and is no error."""
    try:
        with Supervisor(lines) as supervisor:
            yield supervisor
    except StopWished:
        lines.plain("fluxfarm has stopped")
        lines.flush(seconds=1.0)


@contextmanager
def _woken_by_signals() -> Iterator[int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
