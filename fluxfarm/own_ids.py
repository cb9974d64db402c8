"""Ids that clients choose: unique within a tenant, so that two tenants may choose the same and neither learns of it.

A row's own id is unique among all. That of a prediction which its client named is made from the tenant's id and the
name, so it is found by the same index as any other, and no row has to be asked for first.
"""

import uuid
from dataclasses import dataclass

NAMED_VERSION = 5
"""Of a UUID that is made from a name."""


def row_id(tenant_id: uuid.UUID, own_id: uuid.UUID) -> uuid.UUID:
    """The id of the row of the prediction that this tenant calls so."""
    return uuid.uuid5(tenant_id, own_id.hex)


def candidates(tenant_id: uuid.UUID, asked: uuid.UUID) -> list[uuid.UUID]:
    """The ids of the rows that a tenant may mean: one that it named so itself, else one that has this very id.

    It may have both, for it may have taken the id of one row as the name of another.
    """
    return [row_id(tenant_id, asked), asked]


def may_be_named(row: uuid.UUID) -> bool:
    """Whether a row's id may be one that `row_id` made; ours are random."""
    return row.version == NAMED_VERSION


@dataclass(frozen=True, slots=True)
class Named:
    """What has a row, and perhaps a name of its client's."""

    id: uuid.UUID
    own_id: uuid.UUID | None

    @property
    def shown_id(self) -> uuid.UUID:
        """What its client calls it."""
        return self.own_id or self.id
