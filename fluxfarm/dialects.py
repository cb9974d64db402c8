"""How a door speaks of a model's fields: its own names, defaults and narrower bounds, as data beside the door.

The model's own bounds are the widest there are. Where a model insists on a default of its own, that goes before the
door's; and where the default in force lies outside what the door would allow, the model's own bounds hold.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from fluxfarm import inputs
from fluxfarm.catalog import Model
from fluxfarm.errors import InvalidInput
from fluxfarm.fields import Choice, Field, Kind, Number, RefusedError, Whole, whole_number
from fluxfarm.input_fields import fields_of
from fluxfarm.inputs import Order
from fluxfarm.kinds import SOURCES
from fluxfarm.refusals import invalid, no_object, unknown_fields, wrong_field

_SHAPE: Final = "aspect_ratio"


@dataclass(frozen=True, slots=True)
class Wording:
    """What a door says differently of one field; what is not said is as the model has it."""

    name: str | None = None
    default: Any = None
    suggestion: Any = None
    """Shown as the default of a field that must be sent all the same."""
    minimum: float | None = None
    maximum: float | None = None
    step: int | None = None
    choices: tuple[str, ...] | None = None
    words: Mapping[str, str] = field(default_factory=dict)
    """The door's words for the model's."""
    absent: tuple[Any, ...] = ()
    """Values that mean left out; the first is shown as the default."""
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Spoken:
    """One field as a door speaks of it: `field` has the model's name and what holds here, `said` is the door's name."""

    field: Field
    said: str
    wording: Wording
    narrowed: bool
    renewed: bool
    """Whether it has another name or default than the model's."""

    def meant(self, sent: Mapping[str, Any]) -> Any:
        """What was sent, in the model's words; None if it was left out."""
        value = sent.get(self.said)
        if value is None or self._left_out(value):
            return None
        return self.wording.words.get(value, value) if isinstance(value, str) else value

    def _left_out(self, value: Any) -> bool:
        """Numbers may come as text."""
        number = whole_number(value) if isinstance(value, str) else None
        return not isinstance(value, bool) and (value in self.wording.absent or number in self.wording.absent)

    def refusal(self, sent: Mapping[str, Any]) -> str | None:
        """Why the door does not take what was sent, though the model may."""
        if self.meant(sent) is None:
            return None
        try:
            if self.wording.words:
                Choice((*self.wording.words,)).read(sent[self.said])
            elif self.narrowed:
                self.field.kind.read(sent[self.said])
        except RefusedError as refusal:
            return str(refusal)
        return None

    def schema(self) -> dict[str, Any]:
        described = self.field.schema()
        ours = {theirs: word for word, theirs in self.wording.words.items()}
        if ours:
            described["enum"] = [ours[word] for word in described["enum"] if word in ours]
            described |= {"default": ours[described["default"]], "examples": [ours[described["default"]]]}
        if self.wording.absent and not self.field.required:
            described["default"] = self.wording.absent[0]
        if self.wording.suggestion is not None:
            described["default"] = self.wording.suggestion
        return described


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a door says of the fields of any model."""

    place: str = ""
    """The object in the body that holds the fields; empty: the body itself."""
    only: tuple[str, ...] | None = None
    """Fields that may be sent, by the model's names; None: all but `without`."""
    without: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Values of fields that may not be sent; the rest of those are as the model has them."""
    fields: Mapping[str, Wording] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a TOML file."""
        content: Any = _frozen(tomllib.loads(path.read_text()))
        wordings = {name: Wording(**entry) for name, entry in content.pop("fields", {}).items()}
        return cls(fields=wordings, **content)

    def order(self, model: Model, sent: object) -> Order:
        """Read the input of a request.

        Raises:
            InvalidInput: something is wrong; `details` name every wrong field as the door does.

        """
        if not isinstance(sent, dict):
            raise no_object(self.place, sent)
        spoken = self.spoken(model)
        meant = self._meant(model, spoken, sent)
        refused = {each.said: why for each in spoken if (why := each.refusal(sent))}
        order: Order | None = None
        try:
            order = inputs.parse(model, meant)
        except InvalidInput as refusal:
            said = {each.field.name: each.said for each in spoken}
            for detail in refusal.details:
                name = detail.field.removeprefix(f"{inputs.PLACE}.")
                refused.setdefault(said.get(name, name), detail.message)
        errors = [wrong_field(self.place, name, message, sent.get(name)) for name, message in refused.items()]
        errors += unknown_fields(self.place, sent, [each.said for each in spoken])
        if errors or order is None:
            raise invalid(errors)
        return order

    def schema(self, model: Model) -> dict[str, Any]:
        """JSON Schema of what `order` reads, in its canonical form."""
        whole = inputs.schema(model)
        spoken = self.spoken(model)
        described = {each.said: {**each.schema(), "x-order": place} for place, each in enumerate(spoken)}
        same = {each.said for each in spoken if not each.renewed}
        rules = [rule for rule in whole["allOf"] if _named(rule) <= same]
        rest = {name: each for name, each in whole.items() if name != "allOf"}
        required = [each.said for each in spoken if each.field.required]
        return {**rest, "properties": described, "required": required} | ({"allOf": rules} if rules else {})

    def told(self, shown_input: Mapping[str, Any]) -> dict[str, Any]:
        """An input as it was kept, in the names and words of the door."""
        found = {}
        for name, value in shown_input.items():
            wording = self.fields.get(name, Wording())
            ours = {theirs: word for word, theirs in wording.words.items()}
            if self._offers(name):
                found[wording.name or name] = ours.get(value, value) if isinstance(value, str) else value
        return found

    def called(self, name: str) -> str:
        """What a refusal calls a field of the model."""
        said = self.fields.get(name, Wording()).name or name
        return f"{self.place}.{said}" if self.place else said

    def spoken(self, model: Model) -> list[Spoken]:
        """The fields of a model that may be sent."""
        return [self._spoken(model, each) for each in fields_of(model) if self._offers(each.name)]

    def _offers(self, name: str) -> bool:
        return name in self.only if self.only is not None else name not in self.without

    def _spoken(self, model: Model, own: Field) -> Spoken:
        wording = self.fields.get(own.name, Wording())
        default = _default(model, own, wording)
        kind = _narrowed(own.kind, wording)
        if default is not None and not _takes(kind, default):
            kind = own.kind
        description = wording.description or own.description
        spoken = replace(own, kind=kind, default=default, description=description)
        said = wording.name or own.name
        renewed = said != own.name or default != own.default
        return Spoken(spoken, said, wording, narrowed=kind is not own.kind, renewed=renewed)

    def _meant(self, model: Model, spoken: Sequence[Spoken], sent: Mapping[str, Any]) -> dict[str, Any]:
        meant = {**self.fixed, **{each.field.name: each.meant(sent) for each in spoken}}
        # The door's shape is for pictures that are drawn from words alone: others follow the picture.
        pictured = meant.get(SOURCES[model.kind] or "") is not None
        for each in spoken:
            name = each.field.name
            if meant[name] is None and not (name == _SHAPE and pictured):
                meant[name] = each.field.default
        return meant


def _named(rule: Any) -> set[str]:
    """The fields that a rule of a JSON Schema speaks of."""
    if not isinstance(rule, dict):
        return set()
    return {*rule.get("properties", ())}.union(*map(_named, rule.values()))


def _default(model: Model, own: Field, wording: Wording) -> Any:
    if wording.default is None or _insists(model, own.name) or not _takes(own.kind, wording.default):
        return own.default
    return wording.default


def _insists(model: Model, name: str) -> bool:
    """Whether the model's own default goes before the door's; a picture that must be sent has a shape of its own."""
    if name == _SHAPE:
        return any(each.required for each in fields_of(model) if each.name == SOURCES[model.kind])
    bounds = {"guidance": model.guidance, "num_inference_steps": model.steps}.get(name)
    return bounds is not None and bounds.own


def _takes(kind: Kind, value: Any) -> bool:
    try:
        kind.read(value)
    except RefusedError:
        return False
    return True


def _narrowed(kind: Kind, wording: Wording) -> Kind:
    if isinstance(kind, Choice) and wording.choices is not None:
        return replace(kind, words=tuple(word for word in wording.choices if word in kind.words))
    if not isinstance(kind, Number | Whole) or (wording.minimum is None and wording.maximum is None):
        return kind
    least = kind.minimum if wording.minimum is None else max(kind.minimum, wording.minimum)
    most = kind.maximum if wording.maximum is None else min(kind.maximum, wording.maximum)
    if isinstance(kind, Number):
        return Number(least, most)
    return Whole(int(least), int(most), wording.step or kind.step)


def _frozen(value: Any) -> Any:
    """TOML's lists as tuples."""
    if isinstance(value, dict):
        return {name: _frozen(each) for name, each in value.items()}
    return tuple(value) if isinstance(value, list) else value
