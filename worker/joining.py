"""The maintenance process's part in letting a machine join: it says whether the farm sees what that machine stores."""

import hashlib
import uuid
from collections.abc import Sequence

from fluxfarm import store_probes
from fluxfarm.database import Database
from fluxfarm.errors import ObjectMissing, Unavailable
from fluxfarm.storage import ObjectStore
from fluxfarm.store_probes import StoreProbe

LONGEST_PROBE = 4096


def answer_store_probes(database: Database, store: ObjectStore) -> None:
    """Look for what was asked about, and tidy up after those who have gone. No transaction is held over the store."""
    with database.session_scope() as session:
        asked, over = store_probes.open_probes(session), store_probes.over(session)
    for probe in asked:
        found = _look(store, probe)
        with database.session_scope() as session:
            store_probes.note(session, probe.id, found)
    if over:
        _tidy(store, over)
        with database.session_scope() as session:
            store_probes.forget(session, over)


def _look(store: ObjectStore, probe: StoreProbe) -> str:
    try:
        written = b"".join(store.read(store_probes.asked_key(probe.id), 0, LONGEST_PROBE))
        if hashlib.sha256(written).hexdigest() != probe.sha256:
            return store_probes.DIFFERENT
        store.put(store_probes.answer_key(probe.id), written, "text/plain")
    except ObjectMissing:
        return store_probes.MISSING
    except Unavailable as error:
        return error.message
    return store_probes.READ


def _tidy(store: ObjectStore, over: Sequence[uuid.UUID]) -> None:
    try:
        store.delete(key(each) for each in over for key in (store_probes.asked_key, store_probes.answer_key))
    except Unavailable:
        return  # a few bytes stay behind; a store that is away must not keep rows here for ever
