"""A tiny process that ends the parts of a supervisor which was killed before it could do so itself.

Run as a script it imports nothing but the standard library, sits in a session of its own and reads a pipe whose other
end the supervisor holds. Each part announces itself on that pipe (see `spawn.py`), so none can start unseen. When the
pipe closes without a goodbye, each part's group gets its stop signal, and SIGKILL if it is still there after a while.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

GRACE = 5.0
GOODBYE = b"bye"


class Guardian:
    """The supervisor's side: starts the process and tells it what ended."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
        self._child = subprocess.Popen(  # noqa: S603 - our own file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        self._pipe = self._child.stdin

    @property
    def pipe(self) -> int:
        """Descriptor on which a part announces itself."""
        return self._pipe.fileno()

    @property
    def pid(self) -> int:
        return self._child.pid

    def alive(self) -> bool:
        return self._child.poll() is None

    def watch(self, group: int, stop_signal: int) -> None:
        """Name a part that runs already."""
        self._tell(b"+ %d %d" % (group, stop_signal))

    def forget(self, group: int) -> None:
        """Say that a part has ended; its number may belong to somebody else from now on."""
        self._tell(b"- %d" % group)

    def dismiss(self) -> None:
        """Send it home: every part has been stopped."""
        self._tell(GOODBYE)
        self._pipe.close()
        self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def _tell(self, line: bytes) -> None:
        try:
            os.write(self.pipe, line + b"\n")
        except BrokenPipeError:
            return  # it was killed: the supervisor's next look finds that out


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, int] = {}
    with os.fdopen(0, "rb") as lines:
        for line in lines:
            if line.strip() == GOODBYE:
                return
            _note(groups, line.split())
    _end(groups)


def _note(groups: dict[int, int], words: list[bytes]) -> None:
    if words[0] == b"+":
        groups[int(words[1])] = int(words[2])
    else:
        groups.pop(int(words[1]), None)


def _end(groups: dict[int, int]) -> None:
    living = {group for group, stop_signal in groups.items() if _signal(group, stop_signal)}
    deadline = time.monotonic() + GRACE
    while living and time.monotonic() < deadline:
        time.sleep(0.05)
        living = {group for group in living if _signal(group, 0)}
    for group in living:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    main()
