"""The guarded door to other people's servers: fetches input pictures, and nothing from inside the farm.

It asks through sockets of its own, connected to addresses that were judged; so there are no proxies, cookies,
credentials or second look-ups to turn off.
"""

import http.client
import socket
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urljoin

from fluxfarm.errors import Cancelled, PredictionFailed
from fluxfarm.settings import Settings
from worker.destination import Destination, Rules
from worker.exchange import asked, body, connect, unreachable

LOOK_SECONDS = 0.05
"""How soon a wish to cancel is noticed."""

REDIRECTS = 3
REDIRECTING = frozenset({301, 302, 303, 307, 308})


def fetch(url: str, *, settings: Settings, cancelled: Callable[[], bool]) -> bytes:
    """The body that `url` answers with, within the settings' limits of time and size.

    Raises:
        PredictionFailed: with the reason `input_forbidden`, `input_unreachable` or `input_too_large`; its text calls
            "it" what was to be fetched.
        Cancelled: `cancelled` came true meanwhile.

    """
    door = Door(Rules(allow=settings.fetch_allow), settings.fetch_limit_seconds, settings.fetch_max_bytes)
    return door.fetch(url, cancelled)


@dataclass(frozen=True, slots=True)
class Door:
    """Where may be asked, how long it may take in all, and how large an answer may be."""

    rules: Rules
    seconds: float
    max_bytes: int

    def fetch(self, url: str, cancelled: Callable[[], bool]) -> bytes:
        errand = _Errand(self, url)
        deadline = time.monotonic() + self.seconds
        threading.Thread(target=errand.run, name="fetch", daemon=True).start()
        while not errand.done.wait(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
            if cancelled():
                errand.abandon()
                raise Cancelled("cancelled while its image was fetched")
            if time.monotonic() >= deadline:
                errand.abandon()
                raise unreachable(f"fetching it took longer than {self.seconds:g} s")
        return errand.result()


class _Errand:
    """One fetch on a thread of its own, so that no server and no resolver can outlast the clock."""

    def __init__(self, door: Door, url: str) -> None:
        self.done = threading.Event()
        self._door = door
        self._url = url
        self._result: bytes | PredictionFailed | None = None
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._abandoned = False

    def run(self) -> None:
        try:
            self._result = self._follow(self._url)
        except PredictionFailed as failure:
            self._result = failure
        except (OSError, ValueError, http.client.HTTPException, zlib.error):
            self._result = unreachable("its server could not be reached or did not answer properly")
        finally:
            self.done.set()

    def result(self) -> bytes:
        if isinstance(self._result, PredictionFailed):
            raise self._result
        assert self._result is not None, "the fetching thread ended without a result"
        return self._result

    def abandon(self) -> None:
        """Cut the connection; the thread ends by itself."""
        with self._lock:
            self._abandoned = True
            if self._socket is not None:
                with suppress(OSError):
                    # Not SSLSocket's own, which pulls the TLS state from under the reading thread.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _follow(self, url: str) -> bytes:
        for _ in range(REDIRECTS + 1):
            destination = self._door.rules.destination(url)
            with asked(destination, self._connected(destination)) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECTING or location is None:
                    return body(response, self._door.max_bytes)
            url = urljoin(url, location)
        raise unreachable(f"its URL redirects more than {REDIRECTS} times")

    def _connected(self, destination: Destination) -> socket.socket:
        connected = connect(destination)
        with self._lock:
            self._socket = connected
            if self._abandoned:
                connected.close()
                raise ConnectionAbortedError
        connected.settimeout(self._door.seconds)
        return connected
