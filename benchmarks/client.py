"""A load of HTTP requests, from a process of its own so that it shares no interpreter with what drives it.

`python -m benchmarks.client` reads a load as JSON from standard input and writes what it measured as JSON. Raw sockets,
kept alive, and the same code for every service.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any

POLL_SECONDS = 0.002
ENDED = (b'"status":"success"', b'"status":"error"', b'"status":"cancelled"')
PATH = "/v1/prediction"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask of a service, from `connections` clients at once, for so many seconds or so many times in all."""

    kind: str
    """create, read, cycle (create, then poll until it has ended) or burst (create all, then poll all)."""
    port: int
    headers: tuple[str, ...]
    body: dict[str, Any]
    connections: int = 1
    seconds: float = 0.0
    count: int = 0
    targets: tuple[str, ...] = ()
    """The ids that a `read` asks for, one after the other."""


@dataclass(slots=True)
class Measured:
    """Times in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class Connection:
    """One kept-alive connection; any answer but 200 is an error."""

    def __init__(self, load: Load) -> None:
        self._socket = socket.create_connection(("127.0.0.1", load.port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = "".join(f"{line}\r\n" for line in ("Host: localhost", *load.headers))
        body = json.dumps(load.body)
        told = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._create = f"POST {PATH} HTTP/1.1\r\n{self._headers}{told}\r\n{body}".encode()

    def create(self) -> str:
        return str(json.loads(self._exchange(self._create))["predictionID"])

    def read(self, prediction: str) -> bool:
        """Whether it has ended."""
        answer = self._exchange(f"GET {PATH}/{prediction} HTTP/1.1\r\n{self._headers}\r\n".encode())
        return any(word in answer for word in ENDED)

    def _exchange(self, request: bytes) -> bytes:
        self._socket.sendall(request)
        received = self._socket.recv(65536)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head = received[:end]
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(received.decode(errors="replace"))
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(received) < end + 4 + length:
            received += self._more()
        return received[end + 4 :]

    def _more(self) -> bytes:
        if not (got := self._socket.recv(65536)):
            raise ConnectionError("the service closed the connection")
        return got


def run(load: Load) -> Measured:
    """Ask from threads of their own, all beginning at once."""
    each_client = {"create": _create, "read": _read, "cycle": _cycle, "burst": _burst}[load.kind]
    found = Measured()
    failures: list[Exception] = []
    begin = threading.Barrier(load.connections + 1)

    def client() -> None:
        try:
            connection = Connection(load)
            begin.wait()
            each_client(load, connection, found)
        except (OSError, RuntimeError, threading.BrokenBarrierError) as error:
            begin.abort()
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(load.connections)]
    for thread in threads:
        thread.start()
    with suppress(threading.BrokenBarrierError):
        begin.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - started
    if failures:
        raise failures[0]
    return found


def _until(load: Load, once: Callable[[], object], latencies: list[float]) -> None:
    deadline = time.perf_counter() + load.seconds
    while (began := time.perf_counter()) < deadline:
        once()
        latencies.append(time.perf_counter() - began)


def _create(load: Load, connection: Connection, found: Measured) -> None:
    _until(load, lambda: found.ids.append(connection.create()), found.latencies)


def _read(load: Load, connection: Connection, found: Measured) -> None:
    targets = cycle(load.targets)
    _until(load, lambda: connection.read(next(targets)), found.latencies)


def _cycle(load: Load, connection: Connection, found: Measured) -> None:
    def once() -> None:
        prediction = connection.create()
        _wait(connection, prediction, POLL_SECONDS)
        found.ids.append(prediction)

    _until(load, once, found.latencies)


def _burst(load: Load, connection: Connection, found: Measured) -> None:
    own = [connection.create() for _ in range(load.count // load.connections)]
    # The last first: the others have mostly ended by then.
    for prediction in reversed(own):
        _wait(connection, prediction, 10 * POLL_SECONDS)
    found.ids.extend(own)


def _wait(connection: Connection, prediction: str, pause: float) -> None:
    deadline = time.perf_counter() + PATIENCE_SECONDS
    while not connection.read(prediction):
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{prediction} did not end within {PATIENCE_SECONDS:g} s")
        time.sleep(pause)


def main() -> None:
    print(json.dumps(asdict(run(Load(**json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
