"""Deleting a tenant with everything of its: rows, stored files and pictures. In many short transactions."""

from dataclasses import dataclass

from fluxfarm import retries, tenants, upkeep
from fluxfarm.database import Database
from fluxfarm.storage import ObjectStore
from fluxfarm.storage.keys import tenant_prefix

BATCH = 500


@dataclass(frozen=True, slots=True)
class Erased:
    """What went with a tenant."""

    predictions: int
    objects: int
    keys: int


def erase_tenant(database: Database, store: ObjectStore, name: str, *, by: str) -> Erased:
    """Delete a tenant for good. It is suspended first; what a worker still renders for it finds no row to write.

    Interrupted, it may simply be called again.

    Raises:
        NotFound: there is none of that name.
        Unavailable: the database or the store is away.

    """
    with database.session_scope() as session:
        tenant = tenants.suspend(session, name, by=by)
    predictions = 0
    while True:
        with database.session_scope() as session:
            gone = upkeep.erase_some(session, tenant.id, batch=BATCH)
        predictions += gone
        if not gone:
            break
    gone = 1
    while gone:
        with database.session_scope() as session:
            gone = retries.forget_tenant(session, tenant.id)
    objects = list(store.keys(tenant_prefix(tenant.id)))
    store.delete(objects)
    with database.session_scope() as session:
        keys = tenants.erase_rest(session, tenant, by=by)
    return Erased(predictions, len(objects), keys)
