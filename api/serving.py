"""gunicorn's worker, with better manners.

What never becomes a request is answered like everything else, in JSON and with a request id: gunicorn's own answers are
HTML, and its log lines repeat what was sent. And a stop waits neither for connections on which nothing happens nor for
calls that are held.
"""

import json
import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import gevent
from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from api import stopping
from api.codes import ERRORS
from api.errors import error_body

log = logging.getLogger("fluxfarm")

LOOK_SECONDS = 0.1

CODES = {
    errors.LimitRequestLine: "uri_too_long",
    errors.LimitRequestHeaders: "headers_too_large",
    errors.ExpectationFailed: "expectation_failed",
    errors.UnsupportedTransferCoding: "not_implemented",
    errors.ParseException: "bad_request",
}


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn is untyped
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._idle: set[Any] = set()

    def handle(self, listener: Any, client: Any, address: Any) -> None:
        gevent.getcurrent().client = client
        super().handle(listener, client, address)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Around the wait for a connection's next request."""
        client = gevent.getcurrent().client
        self._idle.add(client)
        try:
            with super().timeout_ctx():
                yield
        finally:
            self._idle.discard(client)

    def handle_exit(self, number: Any, frame: Any) -> None:
        super().handle_exit(number, frame)
        gevent.spawn(self._hang_up)

    def _hang_up(self) -> None:
        """End connections that wait for nothing, each of which would hold up the stop for its whole grace."""
        stopping.begin()
        while True:
            for client in list(self._idle):
                with suppress(OSError):
                    # The socket beneath: gevent's own would raise in whoever waits for it, and gunicorn would log that.
                    client._sock.shutdown(socket.SHUT_RD)  # noqa: SLF001
            gevent.sleep(LOOK_SECONDS)

    def handle_error(self, _request: Any, client: Any, _address: Any, error: BaseException) -> None:
        """Answer a connection whose request could not be read, or whose answer could not be written."""
        code = next((code for kind, code in CODES.items() if isinstance(error, kind)), "internal_error")
        if code == "internal_error":
            log.error("a connection failed", exc_info=error)
        else:
            log.info("a malformed request", extra={"fields": {"reason": type(error).__name__}})
        try:
            util.write_nonblock(client, malformed_answer(code))
        except OSError:
            log.debug("the client of a malformed request is gone")


def malformed_answer(code: str) -> bytes:
    """A whole HTTP response."""
    number, meaning = ERRORS[code]
    body = json.dumps(error_body(number, meaning, code)).encode()
    lines = (
        f"HTTP/1.1 {number} {HTTPStatus(number).phrase}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"X-Request-Id: {uuid.uuid4().hex}",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body
