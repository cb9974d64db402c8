"""Proof, before a machine takes work, that what it stores the farm can read, and the other way round."""

import hashlib
import secrets
import time
import uuid

from fluxfarm import store_probes
from fluxfarm.database import Database
from fluxfarm.errors import ObjectMissing, SettingsError, Unavailable
from fluxfarm.settings import Settings
from fluxfarm.storage import ObjectStore, open_store
from fluxfarm.store_probes import StoreProbe

PATIENCE = 12.0
"""Several rounds of the maintenance process."""
PAUSE = 0.1


def prove_store(settings: Settings, database: Database, theirs: str | None, host: str) -> None:
    """Write, have the farm read that and answer, and read the answer; `theirs` is the farm's directory on `host`.

    Raises:
        SettingsError: the two have no store in common; says what to mount.

    """
    store, written = open_store(settings), secrets.token_bytes(32).hex().encode()
    probe = StoreProbe(uuid.uuid4(), hashlib.sha256(written).hexdigest())
    place = _Place(settings, theirs, host)
    try:
        store.put(store_probes.asked_key(probe.id), written, "text/plain")
    except Unavailable as error:
        raise SettingsError(f"this machine cannot write to {place.here}: {error.message}") from None
    try:
        seen = _seen(database, probe)
        if seen != store_probes.READ:
            raise SettingsError(place.explain(seen))
        place.check_answer(store, probe)
    finally:
        _tidy(store, probe)


class _Place:
    """The store as this machine and the farm name it, and what is wrong when they do not mean the same."""

    def __init__(self, settings: Settings, theirs: str | None, host: str) -> None:
        self._host = host
        self._bucket = settings.s3_bucket
        self._theirs = theirs
        self.here = f"the bucket {self._bucket}" if self._bucket else str(settings.objects_directory)

    def explain(self, seen: str | None) -> str:
        if seen is None:
            return (
                f"nobody at the farm looked for what this machine wrote to {self.here} within {PATIENCE:g} s; "
                f"is the maintenance process on {self._host} running?"
            )
        if seen not in (store_probes.MISSING, store_probes.DIFFERENT):
            return f"the farm cannot read what this machine writes to {self.here} ({seen}); {self._same_user()}"
        if self._bucket:
            return f"the farm does not find what this machine writes to {self.here}; both must use the same S3 store"
        return (
            f"the farm does not find what this machine writes to {self.here}; mount the directory {self._theirs} "
            f"of {self._host} on this machine, and name the place where it is mounted with --store"
        )

    def check_answer(self, store: ObjectStore, probe: StoreProbe) -> None:
        try:
            found = b"".join(store.read(store_probes.answer_key(probe.id)))
        except (ObjectMissing, Unavailable) as error:
            raise SettingsError(
                f"this machine cannot read what the farm writes to {self.here} ({error.message}); {self._same_user()}"
            ) from None
        if hashlib.sha256(found).hexdigest() != probe.sha256:
            raise SettingsError(f"this machine finds something else in {self.here} than the farm wrote there")

    def _same_user(self) -> str:
        if self._bucket:
            return "give both the same rights in it"
        return f"run fluxfarm here as a user with the same number as on {self._host}"


def _seen(database: Database, probe: StoreProbe) -> str | None:
    with database.session_scope() as session:
        store_probes.ask(session, probe)
    deadline = time.monotonic() + PATIENCE
    while True:
        with database.session_scope() as session:
            seen = store_probes.seen(session, probe.id)
        if seen == store_probes.READ or time.monotonic() > deadline:
            return seen
        time.sleep(PAUSE)


def _tidy(store: ObjectStore, probe: StoreProbe) -> None:
    """What is left behind at the farm's side, its maintenance process removes."""
    try:
        store.delete([store_probes.asked_key(probe.id)])
    except Unavailable:
        return
