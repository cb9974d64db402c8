"""A gateway before the API that breaks now and then: after it passed a call on, before it passed the answer back."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

HOP = ("connection", "transfer-encoding", "content-encoding", "content-length", "date", "server")
CUT = 0
"""Instead of a status: the connection breaks."""


@dataclass
class Gateway:
    """What is to be answered to calls of a method whose path begins so, one after another, in place of the API."""

    api: str
    broken: dict[tuple[str, str], deque[int]] = field(default_factory=dict)
    passed: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def breaks(self, method: str, path: str, statuses: Sequence[int]) -> None:
        self.broken[method, path] = deque(statuses)

    def calls(self, method: str) -> list[str]:
        return [path for each, path in self.passed if each == method]

    def status(self, method: str, path: str) -> int | None:
        for (of_method, prefix), left in self.broken.items():
            if method == of_method and path.startswith(prefix) and left:
                return left.popleft()
        return None


@contextmanager
def gateway(api: str) -> Iterator[Gateway]:
    made = Gateway(api)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            sent: dict[str, Any] = {"data": self.rfile.read(length), "headers": dict(self.headers)}
            found = requests.request(self.command, api + self.path, timeout=60, allow_redirects=False, **sent)
            made.passed.append((self.command, self.path))
            status = made.status(self.command, self.path)
            if status == CUT:
                return
            self.send_response(status or found.status_code)
            for name, value in found.headers.items() if status is None else ():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            content = found.content if status is None else b"<html>gateway</html>"
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 (as the server calls them)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()
