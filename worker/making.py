"""What the pictures of a model are made with, for whoever wants to make them again.

The hash of the weights is known once they are read through, on a thread of its own: for FLUX.1's that takes a minute.
"""

import hashlib
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from huggingface_hub import try_to_load_from_cache

from fluxfarm.catalog import Model, Weights
from worker.pipelines import Pipeline

log = logging.getLogger("fluxfarm")

LIBRARIES: Final = ("torch", "diffusers", "transformers")
PART: Final = 16 * 1024 * 1024


@dataclass(slots=True)
class Making:
    """Of one model on one device."""

    model: Model
    pipeline: Pipeline
    sha256: str | None = None
    """Of all its weights' files, once they are read through."""
    _libraries: Mapping[str, str] = field(default_factory=lambda: {name: metadata.version(name) for name in LIBRARIES})

    def told(self) -> dict[str, Any]:
        """As it is kept with a result: names, versions and hashes, no paths of this machine."""
        weights = self.model.weights
        revision = next((folder.name for folder in _folders(weights) if folder.parent.name == "snapshots"), None)
        return {
            "weights": {"name": _name(weights), "revision": revision or weights.revision, "sha256": self.sha256},
            **self.pipeline.made_with,
            "device": self.pipeline.device,
            "libraries": dict(self._libraries),
        }


def makings(models: Sequence[Model], loaded: Sequence[Pipeline]) -> dict[str, Making]:
    """By the models' names; starts to read their weights through."""
    found = {model.slug: Making(model, pipeline) for model, pipeline in zip(models, loaded, strict=True)}
    threading.Thread(target=_read_through, args=(found.values(),), name="weights' hash", daemon=True).start()
    return found


def _read_through(made: Iterable[Making]) -> None:
    known: dict[str, str | None] = {}
    for each in made:
        weights = each.model.weights
        if weights.whence not in known:
            known[weights.whence] = _hash(weights)
        each.sha256 = known[weights.whence]


def _hash(weights: Weights) -> str | None:
    """Over the names and contents of the safetensors files in `_folders`; None if there are none."""
    digest = hashlib.sha256()
    files = [(path.relative_to(folder), path) for folder in _folders(weights) for path in _files(folder)]
    try:
        for name, path in files:
            digest.update(f"{name}\n".encode())
            with path.open("rb") as content:
                while part := content.read(PART):
                    digest.update(part)
    except OSError as error:
        log.warning("weights cannot be hashed", extra={"fields": {"weights": weights.name, "reason": str(error)}})
        return None
    return digest.hexdigest() if files else None


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors")) if folder.is_dir() else [folder]


def _folders(weights: Weights) -> list[Path]:
    """Where the files lie: its own, its base's, and those of what finds the depth of pictures for them."""
    own = _folder(weights.source, "model_index.json", weights.revision)
    base = _folders(weights.base) if weights.base else []
    return own + base + (_folder(weights.depth_source, "config.json", "main") if weights.depth_source else [])


def _name(weights: Weights) -> str:
    """As the catalogue or the hub calls them; where the settings name a directory or a file, its last part."""
    there = Path(weights.name)
    return there.name if there.exists() else weights.name


def _folder(source: str, marked_by: str, revision: str) -> list[Path]:
    """A directory, a snapshot of the hub, or one file; none where that is not here."""
    if Path(source).exists():
        return [Path(source)]
    cached = try_to_load_from_cache(source, marked_by, revision=revision)
    return [Path(cached).parent] if isinstance(cached, str) else []
