"""A create as its caller meant it: what every door reads alike, from the model's fields and the headers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from flask import request

from api import body, safety, test_outcome
from api.services import services
from fluxfarm import routing
from fluxfarm.catalog import Model
from fluxfarm.dialects import Dialect
from fluxfarm.errors import FieldError, InvalidInput
from fluxfarm.inputs import Order
from fluxfarm.keys import Caller
from fluxfarm.routing import Chosen
from fluxfarm.safety_policy import Ruling

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A create, valid and allowed."""

    model: Model
    order: Order
    ruling: Ruling
    low_priority: bool
    retention_seconds: int | None
    cancel_after_seconds: int | None
    test_outcome: str | None
    dialect: Dialect


def read(
    caller: Caller,
    name: object,
    fields: Any,
    dialect: Dialect,
    found_wrong: Sequence[FieldError],
    *,
    low_priority: bool = False,
) -> Asked:
    """Read what is asked of the model of that name, by a caller who may ask for it.

    Raises:
        InvalidInput: with all that is wrong with it, and what was found wrong before.
        ModelNotFound: there is no such model here.
        SafetyCheckerRequired: the pictures may not go unchecked.

    """
    wrong = [*found_wrong]

    def tried(part: Callable[[], T]) -> T | None:
        try:
            return part()
        except InvalidInput as refusal:
            wrong.extend(refusal.details)
            return None

    chosen, wanted, order, outcome = None, None, None, None
    if isinstance(name, str) and name:
        chosen = tried(lambda: routing.choose(services().catalog, name, fields, dialect.place))
    if chosen is not None:
        wanted = model = chosen.model
        order = tried(lambda: _order(dialect, chosen))
        outcome = tried(lambda: test_outcome.wanted(request, model))
    kept = tried(lambda: body.retention_seconds(request))
    deadline = tried(lambda: body.cancel_after_seconds(request))
    if wrong or wanted is None or order is None:
        raise body.invalid(wrong)
    ruling = safety.ruling(caller, wanted, order, dialect.called("disable_safety_checker"))
    return Asked(wanted, order, ruling, low_priority, kept, deadline, outcome, dialect)


def _order(dialect: Dialect, chosen: Chosen) -> Order:
    order = dialect.order(chosen.model, chosen.input)
    return replace(order, notices=(chosen.notice, *order.notices)) if chosen.notice else order
