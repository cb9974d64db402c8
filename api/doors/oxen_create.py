"""How Oxen's door reads a create: one picture to wait for, or up to four to poll for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from api import asked
from api.asked import Asked
from api.doors.oxen_words import DIALECT
from api.services import services
from fluxfarm import routing
from fluxfarm.dialects import Dialect, Wording
from fluxfarm.errors import FieldError
from fluxfarm.fields import Choice, Field, RefusedError, Text, Whole
from fluxfarm.input_fields import fields_of
from fluxfarm.keys import Caller
from fluxfarm.picture_field import Picture
from fluxfarm.plans import SEED_SPACE
from fluxfarm.sent import shortened

MODEL: Final = Field("model", Text(200), "The model, by any of its names.", example="flux-1-dev", required=True)
NAMESPACE: Final = Field(
    "target_namespace", Text(200), "Told again in the answer; has no other meaning here.", example="ox"
)
FORM: Final = Field(
    "response_format",
    Choice(("url", "b64_json")),
    "How a call that waits answers; the queue gives URLs.",
    default="url",
)
COUNT: Final = Field(
    "num_generations",
    Whole(1, 4),
    "Generations that the queue makes, each with a seed one higher; a call that waits makes one.",
    default=1,
)
ALL: Final = (MODEL, NAMESPACE, FORM, COUNT)
"""What the schema of a model says beside its fields; each call takes all of them, by their defaults at least."""
SYNC: Final = (MODEL, NAMESPACE, FORM, replace(COUNT, kind=Whole(1, 1)))
QUEUED: Final = (MODEL, NAMESPACE, replace(FORM, kind=Choice(("url",))), COUNT)
INPUT_IMAGE: Final = "input_image"


@dataclass(frozen=True, slots=True)
class Own:
    """What a body says beside the model's fields."""

    values: Mapping[str, Any]
    rest: Mapping[str, Any]
    wrong: Sequence[FieldError]


def own(sent: Mapping[str, Any], fields: Sequence[Field]) -> Own:
    values, wrong = {}, []
    for field in fields:
        try:
            values[field.name] = field.read(sent.get(field.name))
        except RefusedError as refusal:
            wrong.append(FieldError(field.name, str(refusal), shortened(sent.get(field.name))))
    names = {field.name for field in fields}
    return Own(values, {name: value for name, value in sent.items() if name not in names}, wrong)


def count(sent: Mapping[str, Any]) -> int:
    """How many generations a body asks for; one, if it is not valid."""
    return int(own(sent, (COUNT,)).values.get(COUNT.name, 1))


def queued(caller: Caller, sent: Mapping[str, Any], found_wrong: Sequence[FieldError]) -> list[Asked]:
    """What a body for the queue asks for; raises as `asked.read` does."""
    said = own(sent, QUEUED)
    first = asked.read(caller, said.values.get("model"), said.rest, DIALECT, [*found_wrong, *said.wrong])
    return [_seeded(first, place) for place in range(said.values[COUNT.name])]


def drawn(caller: Caller, sent: Mapping[str, Any], found_wrong: Sequence[FieldError]) -> list[Asked]:
    """What a body to wait for asks for; raises as `asked.read` does."""
    said = own(sent, SYNC)
    return [asked.read(caller, said.values.get("model"), said.rest, DIALECT, [*found_wrong, *said.wrong])]


def edited(caller: Caller, sent: Mapping[str, Any], found_wrong: Sequence[FieldError]) -> list[Asked]:
    """As `drawn`, from a picture that is called `input_image`, whatever the model calls it."""
    said = own(sent, SYNC)
    name, rest, wrong = said.values.get("model"), dict(said.rest), [*found_wrong, *said.wrong]
    dialect = DIALECT
    if name is not None:
        source = _source(name)
        if INPUT_IMAGE not in rest and source in rest:
            rest[INPUT_IMAGE] = rest.pop(source)
        dialect = _calling_it(source)
    pictures = rest.get(INPUT_IMAGE)
    if isinstance(pictures, list):
        rest[INPUT_IMAGE] = pictures[0] if len(pictures) == 1 else None
    if rest.get(INPUT_IMAGE) is None:
        allowed = "is required: an http(s) URL or a data URI, or a list of one"
        wrong.append(FieldError(INPUT_IMAGE, allowed, shortened(pictures)))
    return [asked.read(caller, name, rest, dialect, wrong)]


def _source(name: str) -> str:
    """The first picture that the model of that name takes."""
    catalog = services().catalog
    model = catalog.model(routing.BASE if routing.means_it(catalog, name) else name)
    return next(field.name for field in fields_of(model) if isinstance(field.kind, Picture))


def _calling_it(source: str) -> Dialect:
    return replace(DIALECT, fields={**DIALECT.fields, source: Wording(name=INPUT_IMAGE)})


def _seeded(first: Asked, place: int) -> Asked:
    """Several with one seed would be the same picture."""
    order = first.order
    if order.seed is None or place == 0:
        return first
    seed = (order.seed + place) % SEED_SPACE
    return replace(first, order=replace(order, seed=seed, echo={**order.echo, "seed": seed}))
