"""Who is asking, and may they ask now: keys from headers, remembered for a few seconds, and the buckets of calls."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network

from flask import Request
from werkzeug.exceptions import HTTPException

from api import limits
from api.proxies import address
from api.together import Together
from fluxfarm.database import Database
from fluxfarm.errors import FluxfarmError, Forbidden, RateLimited, Unauthenticated, Unavailable
from fluxfarm.keys import Caller, authenticate
from fluxfarm.ratelimit import RateLimiter, Taken

REMEMBERED_SECONDS = 4.0
"""Revoking a key takes effect within this and the time of a look-up."""
MOST_REMEMBERED = 10_000

WRONG_KEYS_PER_MINUTE = 30
PUBLIC_READS_PER_MINUTE = 600
REFUSED_CREATES = 10
"""Refused creates per allowed one, and likewise replayed ones: else they were a free flood."""

CUSTOMER_BITS = 64
"""An IPv6 customer has at least this network for itself, and 2^64 addresses in it."""

MOST_AT_ONCE = 100

SCHEMES = ("bearer", "key", "token")


@dataclass(frozen=True, slots=True)
class Flood:
    """A key has had too many creates refused; until then, all are, without a look at them."""

    taken: Taken
    until: float

    def refusal(self) -> RateLimited:
        limits.tell(self.taken)
        message = f"The key may have {self.taken.limit} creates refused a minute."
        return RateLimited(message, retry_after=max(0.0, self.until - time.monotonic()))


class Authenticator:
    """Finds the caller of a request; a process has one."""

    def __init__(self, database: Database, limiter: RateLimiter) -> None:
        self._database = database
        self._limiter = limiter
        self._reads = Together(self._take_reads, most=MOST_AT_ONCE)
        self._lookups = Together(self._look_up, most=MOST_REMEMBERED)
        self._remembered: dict[bytes, tuple[Caller, float]] = {}
        self._floods: dict[str, Flood] = {}

    def caller(self, request: Request, *, scope: str) -> Caller:
        """The caller of this request, who may do what `scope` names.

        Raises:
            Unauthenticated: no key, or not a valid one.
            RateLimited: too many wrong keys from this address.
            Forbidden: the key lacks the scope.

        """
        key = _key(request)
        fingerprint = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        caller = self._recalled(fingerprint) or self._looked_up(key, fingerprint, sender(request))
        self.require(caller, scope)
        return caller

    def still_holds(self, request: Request, *, scope: str) -> bool:
        """Whether the key of a call that goes on, looked at again, may still do that: a stream may last for days."""
        try:
            self.caller(request, scope=scope)
        except Unavailable:
            return True
        except (Unauthenticated, Forbidden, RateLimited):
            return False
        return True

    def require(self, caller: Caller, scope: str) -> None:
        """Raises `Forbidden` if the key lacks the scope."""
        if scope not in caller.scopes:
            raise Forbidden(f"The API key lacks the scope {scope!r}.")

    def count_read(self, caller: Caller) -> None:
        """Raises `RateLimited` if the key has used up its reads of this minute."""
        message = "The key may read {} times a minute."
        counted = f"read:{caller.key_id}", caller.limits.reads_per_minute
        limits.tell(_allowed(self._reads.ask(counted, counted), counted[1], message))

    def flood(self, caller: Caller) -> Flood | None:
        """What is known of a key that has more creates refused than it may."""
        flood = self._floods.get(caller.key_id)
        return flood if flood is not None and time.monotonic() < flood.until else None

    @contextmanager
    def counted_refusals(self, caller: Caller) -> Iterator[None]:
        """Count a create that the block refuses; raises `RateLimited`, before the block, if the key floods those.

        What is admitted is limited by its rows and costs nothing here.
        """
        if (flood := self.flood(caller)) is not None:
            raise flood.refusal()
        try:
            yield
        except Unavailable:
            # Not the caller's fault, and it is told to come back.
            raise
        except (FluxfarmError, HTTPException):
            taken = self._limiter.take(f"refused:{caller.key_id}", REFUSED_CREATES * caller.limits.creates_per_minute)
            if taken.allowed:
                raise
            self._floods[caller.key_id] = flood = Flood(taken, time.monotonic() + taken.reset_seconds)
            raise flood.refusal() from None

    def count_replay(self, caller: Caller) -> None:
        """Raises `RateLimited` if the key sends far more creates again than it may make.

        A limit of its own, not among refusals: who lost an answer must get it, whatever else the key is refused.
        """
        limit = REFUSED_CREATES * caller.limits.creates_per_minute
        taken = self._limiter.take(f"replayed:{caller.key_id}", limit)
        if not taken.allowed:
            limits.tell(taken)
            message = f"The key may have {limit} creates answered again a minute."
            raise RateLimited(message, retry_after=taken.reset_seconds)

    def count_public_read(self, request: Request) -> None:
        """Raises `RateLimited` if this address has asked too often without a key."""
        message = "An address may ask {} times a minute without a key."
        taken = self._limiter.take(f"public:{sender(request)}", PUBLIC_READS_PER_MINUTE)
        limits.tell(_allowed(taken, PUBLIC_READS_PER_MINUTE, message))

    def _take_reads(self, counted: Sequence[tuple[str, int]]) -> list[Taken]:
        """Reads of one key."""
        return self._limiter.take_several(*counted[0], len(counted))

    def _recalled(self, fingerprint: bytes) -> Caller | None:
        caller, until = self._remembered.get(fingerprint, (None, 0.0))
        return caller if time.monotonic() < until else None

    def _looked_up(self, key: str, fingerprint: bytes, sent_by: str) -> Caller:
        wrong = f"wrong:{sent_by}"
        room = self._limiter.look(wrong, WRONG_KEYS_PER_MINUTE)
        # Many may share an address: a key that was right a while ago is not shut out by a neighbour's mistakes.
        if not room.allowed and fingerprint not in self._remembered:
            message = "Too many wrong API keys from this address; wait a minute."
            raise RateLimited(message, retry_after=room.reset_seconds)
        try:
            return self._lookups.ask(fingerprint, (key, fingerprint))
        except Unauthenticated:
            self._remembered.pop(fingerprint, None)
            self._limiter.take(wrong, WRONG_KEYS_PER_MINUTE)
            raise

    def _look_up(self, sent: Sequence[tuple[str, bytes]]) -> list[Caller]:
        """The one key that all of these sent: thousands of held calls may come back at once."""
        key, fingerprint = sent[0]
        with self._database.session_scope() as session:
            caller = authenticate(session, key)
        if len(self._remembered) >= MOST_REMEMBERED:
            self._remembered.clear()
        self._remembered[fingerprint] = (caller, time.monotonic() + REMEMBERED_SECONDS)
        return [caller] * len(sent)


def _allowed(taken: Taken, limit: int, message: str) -> Taken:
    if not taken.allowed:
        limits.tell(taken)
        raise RateLimited(message.format(limit), retry_after=taken.reset_seconds)
    return taken


def sender(request: Request) -> str:
    """Who sent it, as limits count it: an address, or the network of one IPv6 customer."""
    found = address(request.remote_addr or "")
    if isinstance(found, IPv6Address):
        return str(ip_network((found, CUSTOMER_BITS), strict=False))
    return str(found or "unknown")


def _key(request: Request) -> str:
    if key := request.headers.get("X-API-Key", "").strip():
        return key
    scheme, _, rest = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() in SCHEMES and rest.strip():
        return rest.strip()
    raise Unauthenticated("Send an API key in the header X-API-Key, or in Authorization as `Bearer <key>`.")
