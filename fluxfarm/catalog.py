"""The models of this farm as data: what `catalog.toml` lists, an operator's own file adds and the settings choose."""

import dataclasses
import difflib
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluxfarm.card import Card, read_card
from fluxfarm.errors import ModelNotFound, SettingsError
from fluxfarm.kinds import PIPELINES, Control, Kind
from fluxfarm.licences import under_flux_dev
from fluxfarm.loras import KINDS as KINDS_WITH_LORAS
from fluxfarm.loras import Allowed, NamedLora, Offered, named_loras
from fluxfarm.safety_policy import Policy
from fluxfarm.settings import Settings

BUILT_IN = Path(__file__).with_name("catalog.toml")
TOKEN_PIXELS = 256
"""A token of a picture is a patch of so many pixels."""

_MOST_NEAR = 3
_NEAR = 0.6


@dataclass(frozen=True, slots=True)
class Bounds:
    minimum: float
    maximum: float
    default: float
    own: bool = False
    """Whether the model insists on its default, whatever a door says of others."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's weights lie.

    `location` is a hub id, a directory, or the file of a transformer alone; one beside the catalogue begins with `./`.
    """

    name: str
    location: str
    native_side: int
    """Side in pixels of the square whose area these weights draw best."""
    licence: str
    """An id: `flux-1-dev` (see `fluxfarm.licences`), or what else it is called, such as `apache-2.0`."""
    revision: str = "main"
    stand_in: bool = False
    """Whether they are there to try the service out; they draw small, and may be told what outcome to bring about."""
    notice: str | None = None
    max_sequence_length: int | None = None
    """The most tokens of a prompt that these weights were trained with, if fewer than the model's."""
    checkers: tuple[str, ...] = ()
    """Where checkers lie that were made for them; they are used where the settings name none."""
    safety: Policy | None = None
    """The mildest policy that is allowed with them, where it is not the licence's."""
    edge_width: int = 1
    """Pixels that an outline was wide where these weights were taught to follow it."""
    depth_estimator: str | None = None
    """Where what finds the depth of a picture for them lies."""
    likeness_tokens: int = 0
    """What these weights make of the likeness of a picture, to stand beside the words."""
    base: "Weights | None" = None
    """Where the parts lie that are not there."""
    beside: Path = BUILT_IN.parent
    """The directory of the catalogue's file."""

    @property
    def whence(self) -> str:
        """All that says which weights these are."""
        over = f" over {self.base.whence}" if self.base else ""
        return f"{self.location}@{self.revision}{over}"

    @property
    def licences(self) -> frozenset[str]:
        """Those that hold for them, with those of what they lie over."""
        return frozenset({self.licence}) | (self.base.licences if self.base else frozenset())

    @property
    def source(self) -> str:
        """What to load: a hub id, or a directory's path on this machine."""
        return self._there(self.location)

    @property
    def checker_sources(self) -> tuple[str, ...]:
        """Its own checkers, as `source` says it."""
        return tuple(self._there(each) for each in self.checkers)

    @property
    def depth_source(self) -> str | None:
        """What to load the depth estimator from, if there is one."""
        return self._there(self.depth_estimator) if self.depth_estimator else None

    def _there(self, location: str) -> str:
        return str(self.beside / location) if location.startswith("./") else location


@dataclass(frozen=True, slots=True)
class Model:
    """One model that a caller may ask for."""

    slug: str
    title: str
    description: str
    release: str
    pipeline: str
    """Module that loads it, by its kind unless it names one: has `load(model, options)`."""
    weights: Weights
    steps: Bounds
    guidance: Bounds | None
    """None where the weights know no guidance."""
    max_sequence_length: int
    """Tokens of the prompt that the T5 encoder sees."""
    pixel_step_microseconds: float
    """Of the device, before the first measurement; `step_pixels` says what counts as a pixel."""
    licence: str
    licence_url: str
    kind: Kind = Kind.TEXT
    control: Control | None = None
    """What a model of the kind `control` draws along."""
    stand_in: str | None = None
    """Weights of our own to try it out with, by their name."""
    aliases: tuple[str, ...] = ()
    """Other names that it is asked for by."""
    card: Card | None = field(default=None, compare=False)
    """What to know of it; None where nothing is written."""
    loras: Offered = Offered()

    @property
    def finds_control(self) -> bool:
        """Whether it can find itself what it follows of a control picture."""
        return self.control is Control.CANNY or self.weights.depth_estimator is not None

    @property
    def changed_pixels(self) -> int:
        """Pixels of a picture that is changed, to each of its megapixels: each step goes over it, too."""
        return self.weights.native_side**2 if self.kind is Kind.KONTEXT else 0

    @property
    def word_pixels(self) -> int:
        """What the words, and what stands beside them, cost in each step, in pixels.

        A token of any kind is the same work to the transformer.
        """
        return TOKEN_PIXELS * (self.max_sequence_length + self.weights.likeness_tokens)

    def step_pixels(self, drawn: float, megapixels: float) -> float:
        """How much work a step is, in pixels, of which so many are drawn; `megapixels` are those of what is changed."""
        return drawn + self.changed_pixels * megapixels + self.word_pixels

    @property
    def drawn_with(self) -> Weights:
        """The weights whose transformer draws; models that have it in common may share it."""
        return self.weights.base or self.weights if self.kind is Kind.REDUX else self.weights

    @property
    def safety(self) -> Policy | None:
        """The mildest policy that its weights allow; None if they say nothing."""
        by_licence = Policy.ENFORCED if under_flux_dev(self.weights.licences) else None
        return self.weights.safety or by_licence

    @property
    def version(self) -> str:
        """The release and a hash of where its weights come from; a prediction is pinned to it at admission."""
        return f"{self.release}-{hashlib.sha256(self.weights.whence.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Catalog:
    models: Mapping[str, Model]

    def model(self, name: str) -> Model:
        """Look up a served model by its name or another one of its, in any case.

        Raises:
            ModelNotFound: there is none; names the nearest ones.

        """
        if (found := self.models.get(name)) is not None:
            return found
        named = {each.lower(): model for model in self.models.values() for each in (*model.aliases, model.slug)}
        if (found := named.get(name.lower())) is not None:
            return found
        near = difflib.get_close_matches(name.lower(), named, n=_MOST_NEAR, cutoff=_NEAR) or sorted(named)
        slugs = dict.fromkeys(named[each].slug for each in near)
        meant = " or ".join(repr(slug) for slug in [*slugs][:_MOST_NEAR])
        raise ModelNotFound(f"There is no model {name[:100]!r} here; did you mean {meant}?")


def load_catalog(settings: Settings) -> Catalog:
    """Read the built-in catalogue and the operator's, and keep the models that the settings serve.

    Raises:
        SettingsError: a file does not parse, or names a model or weights that are not there.

    """
    models, weights = _read_all(settings)
    loras = _named_loras(settings)
    unknown = sorted({*settings.models, *dict(settings.weights)} - models.keys())
    if unknown:
        raise SettingsError(f"no model {unknown[0]!r} in the catalogue; it has {', '.join(sorted(models))}")
    found = _with_bases({name: _weights(name, weights) for name in weights}, models, settings)
    served = settings.models or models
    chosen = {
        slug: _with_weights(slug, models[slug], found, _offered(slug, loras, settings), settings) for slug in served
    }
    return Catalog(models=chosen)


def stand_ins(settings: Settings) -> dict[str, str]:
    """The small weights to try each model out with, by their names; models that have none are left out."""
    models, _ = _read_all(settings)
    return {slug: entry["stand_in"] for slug, entry in models.items() if "stand_in" in entry}


def tried_out(settings: Settings) -> Settings:
    """With small weights for every model where no weights are named; whoever names some wants those and no others.

    The models of an operator's own catalogue are wanted either way.
    """
    known = stand_ins(settings)
    own = _read(settings.catalog)[0] if settings.catalog is not None else {}
    wanted = settings.models or tuple(dict.fromkeys((*(dict(settings.weights) or known), *own)))
    weights = settings.weights or tuple((slug, known[slug]) for slug in wanted if slug in known)
    return dataclasses.replace(settings, models=wanted, weights=weights)


def _read_all(settings: Settings) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    models, weights = _read(BUILT_IN)
    if settings.catalog is not None:
        more_models, more_weights = _read(settings.catalog)
        models, weights = {**models, **more_models}, {**weights, **more_weights}
    return models, weights


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    content = _content(path)
    weights = {name: {**entry, "beside": path.parent} for name, entry in content.get("weights", {}).items()}
    models = {
        slug: {**entry, "card": read_card(path.parent, slug)} for slug, entry in content.get("models", {}).items()
    }
    return models, weights


def _content(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"the catalogue {path} cannot be read: {error}") from error


def _weights(name: str, entries: Mapping[str, dict[str, Any]]) -> Weights:
    entry = dict(entries[name])
    base = entry.pop("base", None)
    entry["checkers"] = tuple(entry.get("checkers", ()))
    if base is not None and (base not in entries or "base" in entries[base]):
        raise SettingsError(f"the weights {name!r} lie over {base!r}, which the catalogue does not have whole")
    try:
        if "safety" in entry:
            entry["safety"] = Policy(entry["safety"])
        return Weights(name=name, base=_weights(base, entries) if base else None, **entry)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"the catalogue's weights {name!r} cannot be read: {error}") from error


def _with_bases(
    found: Mapping[str, Weights], models: Mapping[str, Mapping[str, Any]], settings: Settings
) -> dict[str, Weights]:
    """The same, each over its base where the settings say that this lies."""
    chosen = {models[slug].get("weights", ""): location for slug, location in settings.weights if location not in found}
    moved = {name: _elsewhere(found[name], location, found) for name, location in chosen.items() if name in found}
    whole = {name: weights for name, weights in moved.items() if weights.base is None}
    return {
        name: dataclasses.replace(weights, base=whole.get(weights.base.name, weights.base)) if weights.base else weights
        for name, weights in found.items()
    }


def _named_loras(settings: Settings) -> tuple[NamedLora, ...]:
    if settings.catalog is None:
        return ()
    beside = settings.catalog.parent
    entries = _content(settings.catalog).get("loras", {})
    return named_loras({name: {**entry, "beside": beside} for name, entry in entries.items()})


def _offered(slug: str, loras: Sequence[NamedLora], settings: Settings) -> Offered:
    named = tuple(each for each in loras if not each.models or slug in each.models)
    return Offered(Allowed(settings.loras), named, settings.lora_dir)


def _with_weights(
    slug: str, entry: dict[str, Any], weights: Mapping[str, Weights], loras: Offered, settings: Settings
) -> Model:
    own = entry.get("weights", "")
    wanted = dict(settings.weights).get(slug, own)
    if wanted in weights:
        chosen = weights[wanted]
    elif own in weights:
        chosen = _elsewhere(weights[own], wanted, weights)
    else:
        raise SettingsError(f"model {slug!r} names the weights {own!r}, which the catalogue does not have")
    try:
        kind = Kind(entry.get("kind", Kind.TEXT))
        length = min(entry["max_sequence_length"], chosen.max_sequence_length or entry["max_sequence_length"])
        read = {
            "kind": kind,
            "control": Control(entry["control"]) if "control" in entry else None,
            "steps": Bounds(**entry["steps"]),
            "guidance": Bounds(**entry["guidance"]) if "guidance" in entry else None,
            "pipeline": entry.get("pipeline", PIPELINES[kind]),
            "max_sequence_length": length,
            "weights": chosen,
            "aliases": tuple(entry.get("aliases", ())),
            "loras": loras if kind in KINDS_WITH_LORAS else Offered(),
        }
        return Model(slug=slug, **{**entry, **read})
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"the catalogue's model {slug!r} is incomplete: {error}") from error


def _elsewhere(own: Weights, location: str, known: Mapping[str, Weights]) -> Weights:
    """The same, lying where an operator says; a file of a transformer alone lies over the model's own.

    What the catalogue knows to lie there keeps its licence, whatever name it is served under.
    """
    base = own.base or own if location.endswith(".safetensors") else own.base
    licence = next((each.licence for each in known.values() if _lies_at(each, location)), own.licence)
    kept = dataclasses.replace(own, depth_estimator=own.depth_source, checkers=own.checker_sources)
    return dataclasses.replace(
        kept, name=location, location=location, licence=licence, revision="main", beside=Path(), base=base
    )


def _lies_at(weights: Weights, location: str) -> bool:
    """Whether that is where they lie, in any case, as the hub takes it, or where the hub's own directory keeps them."""
    asked, own = location.lower(), weights.location.lower()
    return asked == own or f"models--{own.replace('/', '--')}" in Path(asked).parts
