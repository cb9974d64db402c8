"""Forgetting a prediction, with its pictures. No transaction is held over the store."""

import uuid

from api.services import services
from fluxfarm import forgetting
from fluxfarm.storage import prediction_prefix


def delete(prediction: uuid.UUID, tenant: uuid.UUID) -> None:
    """Returns once it is gone, raises as `forgetting.hide` does; where the store is away, maintenance goes on.

    Raises:
        Unavailable: the database or the store is away.

    """
    with services().database.session_scope() as session:
        hidden = forgetting.hide(session, prediction, tenant)
    if hidden is None:
        return
    services().seen.drop(prediction, tenant)
    left = prediction_prefix(tenant, hidden.id) if hidden.untidy else None
    services().objects.delete_all(hidden.object_keys, left)
    with services().database.session_scope() as session:
        forgetting.clear(session, hidden)
