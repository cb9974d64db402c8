"""The models of this farm as data: what `catalog.toml` lists, an operator's own file adds and the settings choose."""

import dataclasses
import difflib
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluxfarm.errors import ModelNotFound, SettingsError
from fluxfarm.licences import FLUX_DEV
from fluxfarm.safety_policy import Policy
from fluxfarm.settings import Settings

BUILT_IN = Path(__file__).with_name("catalog.toml")


@dataclass(frozen=True, slots=True)
class Bounds:
    minimum: float
    maximum: float
    default: float


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a model's weights lie; `location` is a hub id or a directory: one beside the catalogue begins with `./`."""

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
    beside: Path = BUILT_IN.parent
    """The directory of the catalogue's file."""

    @property
    def source(self) -> str:
        """What to load: a hub id, or a directory's path on this machine."""
        return self._there(self.location)

    @property
    def checker_sources(self) -> tuple[str, ...]:
        """Its own checkers, as `source` says it."""
        return tuple(self._there(each) for each in self.checkers)

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
    """Module that loads it: has `load(model, options)`."""
    weights: Weights
    steps: Bounds
    guidance: Bounds
    max_sequence_length: int
    """Tokens of the prompt that the T5 encoder sees."""
    pixel_step_microseconds: float
    licence: str
    licence_url: str

    @property
    def safety(self) -> Policy | None:
        """The mildest policy that its weights allow; None if they say nothing."""
        by_licence = Policy.ENFORCED if self.weights.licence == FLUX_DEV else None
        return self.weights.safety or by_licence

    @property
    def version(self) -> str:
        """The release and a hash of where its weights come from; a prediction is pinned to it at admission."""
        source = f"{self.weights.location}@{self.weights.revision}"
        return f"{self.release}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class Catalog:
    models: Mapping[str, Model]

    def model(self, slug: str) -> Model:
        """Look up a served model; raises `ModelNotFound` that names the nearest one."""
        try:
            return self.models[slug]
        except KeyError:
            near = difflib.get_close_matches(slug, self.models, n=1) or sorted(self.models)
            raise ModelNotFound(f"There is no model {slug[:100]!r} here; did you mean {near[0]!r}?") from None


def load_catalog(settings: Settings) -> Catalog:
    """Read the built-in catalogue and the operator's, and keep the models that the settings serve.

    Raises:
        SettingsError: a file does not parse, or names a model or weights that are not there.

    """
    models, weights = _read(BUILT_IN)
    if settings.catalog is not None:
        more_models, more_weights = _read(settings.catalog)
        models, weights = {**models, **more_models}, {**weights, **more_weights}
    unknown = sorted({*settings.models, *dict(settings.weights)} - models.keys())
    if unknown:
        raise SettingsError(f"no model {unknown[0]!r} in the catalogue; it has {', '.join(sorted(models))}")
    chosen = {slug: _with_weights(slug, models[slug], weights, settings) for slug in settings.models}
    return Catalog(models=chosen)


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Weights]]:
    try:
        content = tomllib.loads(path.read_text())
        found = content.get("weights", {})
        weights = {
            name: Weights(name=name, beside=path.parent, **_read_weights(entry)) for name, entry in found.items()
        }
    except (OSError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise SettingsError(f"the catalogue {path} cannot be read: {error}") from error
    return content.get("models", {}), weights


def _read_weights(entry: dict[str, Any]) -> dict[str, Any]:
    safety = {"safety": Policy(entry["safety"])} if "safety" in entry else {}
    return {**entry, **safety, "checkers": tuple(entry.get("checkers", ()))}


def _with_weights(slug: str, entry: dict[str, Any], weights: Mapping[str, Weights], settings: Settings) -> Model:
    own = entry.get("weights", "")
    wanted = dict(settings.weights).get(slug, own)
    if wanted in weights:
        chosen = weights[wanted]
    elif own in weights:
        chosen = dataclasses.replace(weights[own], name=wanted, location=wanted, revision="main", beside=Path())
    else:
        raise SettingsError(f"model {slug!r} names the weights {own!r}, which the catalogue does not have")
    try:
        bounds = {name: Bounds(**entry[name]) for name in ("steps", "guidance")}
        length = min(entry["max_sequence_length"], chosen.max_sequence_length or entry["max_sequence_length"])
        return Model(slug=slug, **{**entry, **bounds, "max_sequence_length": length, "weights": chosen})
    except (KeyError, TypeError) as error:
        raise SettingsError(f"the catalogue's model {slug!r} is incomplete: {error}") from error
