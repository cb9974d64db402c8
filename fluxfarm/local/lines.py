"""Prints what the parts say, each line under its part's name, and never waits for whoever should read it.

A terminal that was stopped or a pipe that nobody empties must not stall the farm: lines wait in a bounded queue.
"""

import os
import select
import time
from collections import deque
from collections.abc import Mapping

ROOM = 5000
CHUNK = 4096
"""Bytes that a pipe which says it is writable takes without blocking (POSIX: PIPE_BUF)."""
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)


class Lines:
    def __init__(self, descriptor: int, *, width: int = 0, environment: Mapping[str, str] = os.environ) -> None:
        self._descriptor = descriptor
        self._colour = os.isatty(descriptor) and not environment.get("NO_COLOR")
        self._width = width
        self._seen: list[str] = []
        self._waiting: deque[bytes] = deque()
        self._dropped = 0

    def say(self, name: str, line: str) -> None:
        """One line of a part."""
        self._width = max(self._width, len(name))
        if name not in self._seen:
            self._seen.append(name)
        prefix = f"{name:<{self._width}} |"
        if self._colour:
            prefix = f"\x1b[{COLOURS[self._seen.index(name) % len(COLOURS)]}m{prefix}\x1b[0m"
        self.plain(f"{prefix} {line}")

    def plain(self, text: str) -> None:
        """Text that no part said."""
        if len(self._waiting) >= ROOM:
            self._dropped += 1
            return
        if self._dropped:
            self._waiting.append(b"(%d lines left out, since nobody read them)\n" % self._dropped)
            self._dropped = 0
        self._waiting.append(text.encode(errors="replace") + b"\n")
        self.flush()

    def flush(self, *, seconds: float = 0.0) -> None:
        """Write what can be written at once, and keep trying for so long."""
        deadline = time.monotonic() + seconds
        while self._waiting and self._writable(max(deadline - time.monotonic(), 0)):
            first = self._waiting.popleft()
            try:
                written = os.write(self._descriptor, first[:CHUNK])
            except OSError:  # the terminal or the reader is gone for good; the farm goes on without
                self._waiting.clear()
                return
            if first[written:]:
                self._waiting.appendleft(first[written:])

    def _writable(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))
