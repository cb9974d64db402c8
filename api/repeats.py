"""Creates that clients send again: what makes one known, and how two of the same are kept from going on at once."""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from flask import Request
from gevent.event import Event

from api import body
from fluxfarm import retries
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.keys import Caller
from fluxfarm.retries import Repeatable
from fluxfarm.sent import shortened

HEADER: Final = "Idempotency-Key"
KEY: Final = re.compile(r"[ -~]{1,255}")
LONGEST_WAIT_SECONDS: Final = 2.0
"""For another create by the same key or id, in this process and others together."""


def repeatable(request: Request, caller: Caller, sent: dict[str, Any], own_id: uuid.UUID | None) -> Repeatable | None:
    """By what this create is known again: its client's own id, else the header; None without either.

    Raises:
        InvalidInput: the header is not 1 to 255 printable ASCII characters.

    """
    key = request.headers.get(HEADER)
    if own_id is None and key is None:
        return None
    if own_id is None and not KEY.fullmatch(str(key)):
        message = "must be 1 to 255 printable ASCII characters, such as a UUID"
        raise body.invalid([FieldError(HEADER, message, shortened(key))])
    return Repeatable(caller.tenant_id, _fingerprint(sent), None if own_id else key, own_id)


def several(first: Repeatable | None, count: int) -> list[Repeatable | None]:
    """By what each of several creates of one call is known again."""
    if first is None:
        return [None] * count
    # No client's key holds this character.
    return [first, *(replace(first, key=f"{first.key}\x1f{place}") for place in range(1, count))]


class UnderWay:
    """The creates that this process is at, from when their body was read to when it is known what came of them.

    A process has one.

    The database alone decides which of two is the first. This spares the others the way there.
    """

    def __init__(self) -> None:
        self._ends: dict[str, Event] = {}

    @contextmanager
    def alone(self, asked: Repeatable | None, until: float) -> Iterator[None]:
        """Go on once no other with the same key or id is under way here.

        Raises:
            InFlight: one still is, at the time `until` of the monotonic clock.

        """
        if asked is None:
            yield
            return
        while (end := self._ends.get(asked.name)) is not None:
            if not end.wait(max(0.0, until - time.monotonic())):
                raise retries.in_flight()
        self._ends[asked.name] = end = Event()
        try:
            yield
        finally:
            del self._ends[asked.name]
            end.set()


def _fingerprint(sent: dict[str, Any]) -> bytes:
    """The same for the same JSON, however it is written."""
    try:
        written = json.dumps(sent, sort_keys=True, separators=(",", ":"))
    except RecursionError:
        raise InvalidInput("The body is nested too deeply.") from None
    return hashlib.sha256(written.encode()).digest()
