"""Tenants: who pays or shares the farm."""

import uuid

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from fluxfarm.tables import Tenant


def ensure(session: Session, name: str) -> uuid.UUID:
    """The id of the tenant of that name; made with the defaults if it is not there."""
    session.execute(insert(Tenant).values(id=uuid.uuid4(), name=name).on_conflict_do_nothing())
    return session.scalars(select(Tenant.id).where(Tenant.name == name)).one()
