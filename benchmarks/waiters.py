"""Clients that wait for predictions over connections of their own, from one process that does nothing else.

`python -m benchmarks.waiters` reads what to do as JSON from standard input, says `ready` once all have asked, and on a
second line of input stops and writes what it measured as JSON. Raw sockets and one selector.
"""

import json
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

ENDED = (b'"status":"success"', b'"status":"error"', b'"status":"cancelled"')
PATIENCE_SECONDS = 60.0
PAUSE_AFTER_ERROR_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Order:
    port: int
    headers: tuple[str, ...]
    predictions: tuple[str, ...]
    wait: int
    """Seconds for which a read is held; 0: it is asked again every `pause` seconds."""
    pause: float = 0.0


@dataclass(slots=True)
class Measured:
    requests: int = 0
    errors: int = 0
    ended: dict[str, float] = field(default_factory=dict)
    """When the end of each was heard, by the machine's monotonic clock."""


@dataclass(slots=True, eq=False)
class Client:
    prediction: str
    socket: socket.socket
    asked: float = 0.0
    received: bytes = b""


class Waiters:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._pause = order.pause or PAUSE_AFTER_ERROR_SECONDS
        self._selector = selectors.DefaultSelector()
        self._resting: deque[Client] = deque()
        self._headers = "".join(f"{line}\r\n" for line in ("Host: localhost", *order.headers))
        self.measured = Measured()

    def connect(self) -> None:
        """All ask once; those that poll do so spread over their pause."""
        each = self._order.pause / len(self._order.predictions)
        for prediction in self._order.predictions:
            connection = socket.create_connection(("127.0.0.1", self._order.port), timeout=PATIENCE_SECONDS)
            client = Client(prediction, connection)
            self._selector.register(connection, selectors.EVENT_READ, client)
            self._ask(client)
            self.follow(time.monotonic() + each)

    def follow(self, until: float) -> None:
        """Hear answers, and ask again."""
        while (now := time.monotonic()) < until:
            while self._resting and self._resting[0].asked + self._pause <= now:
                self._ask(self._resting.popleft())
            due = self._resting[0].asked + self._pause if self._resting else until
            for key, _ in self._selector.select(max(0.0, min(until, due) - now)):
                self._hear(key.data)

    def _ask(self, client: Client) -> None:
        path = f"/v1/prediction/{client.prediction}" + (f"?wait={self._order.wait}" if self._order.wait else "")
        client.asked, client.received = time.monotonic(), b""
        client.socket.sendall(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode())
        self.measured.requests += 1

    def _hear(self, client: Client) -> None:
        got = client.socket.recv(65536)
        client.received += got
        head, found, body = client.received.partition(b"\r\n\r\n")
        if not got:
            self.measured.errors += 1
            self._hang_up(client)
        elif found and len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            self._heard(client, head, body)

    def _heard(self, client: Client, head: bytes, body: bytes) -> None:
        refused = not head.startswith(b"HTTP/1.1 200 ")
        self.measured.errors += refused
        if refused:
            self._resting.append(client)
        elif any(word in body for word in ENDED):
            self.measured.ended[client.prediction] = time.monotonic()
            self._hang_up(client)
        elif self._order.wait:
            self._ask(client)
        else:
            self._resting.append(client)

    def _hang_up(self, client: Client) -> None:
        self._selector.unregister(client.socket)
        client.socket.close()


def told_to_stop() -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(sys.stdin, selectors.EVENT_READ)
        return bool(selector.select(0))


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    order = Order(**{**asked, "headers": tuple(asked["headers"]), "predictions": tuple(asked["predictions"])})
    waiters = Waiters(order)
    waiters.connect()
    print("ready", flush=True)
    while not told_to_stop():
        waiters.follow(time.monotonic() + 0.05)
    sys.stdin.readline()
    print(json.dumps(asdict(waiters.measured)), flush=True)


if __name__ == "__main__":
    main()
