"""The one door to torch: what a worker asks of a pipeline, and `load`, which imports the module that knows how.

Nothing here imports torch, so that the rest of the worker starts fast and is tested without it.
"""

import importlib
import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from fluxfarm import memory_plans
from fluxfarm.catalog import Model
from fluxfarm.errors import WorkerFault
from fluxfarm.kinds import Control
from fluxfarm.settings import Settings
from fluxfarm.status import Stage

Pixels = NDArray[np.uint8]
"""One picture: height x width x 3, sRGB."""


@dataclass(frozen=True, slots=True)
class DeviceOptions:
    """Where and how a pipeline runs; the words are those of the settings of the same names."""

    device: str = "auto"
    dtype: str = "auto"
    offload: str = "auto"
    compile: bool = False
    quantise: str = "none"
    text_encoders: str = "device"
    vae_tiling: str = "auto"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})

    @property
    def remedy(self) -> str:
        """What to do where the device's memory is too small."""
        return memory_plans.remedy(self.offload, self.quantise, self.vae_tiling, compiled=self.compile)


FOR_WORDS: Final = ("text_encoder", "lora_te")
"""How the names of tensors begin that a LoRA has for text encoders; they are not used."""


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """What a LoRA adds to the transformer while one order is drawn: a safetensors file, its header already read."""

    content: bytes
    scale: float
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class RenderOrder:
    """What to draw: one picture per seed; `image`, `mask` and `control`, if any, are already width x height."""

    prompt: str
    seeds: tuple[int, ...]
    width: int
    height: int
    steps: int
    guidance: float
    image: Image | None = None
    prompt_strength: float = 0.8
    mask: Image | None = None
    """What of `image` to draw anew is white."""
    control: Image | None = None
    find: Control | None = None
    """What of `control` to find and follow; None where it shows that already."""
    likeness: Image | None = None
    """Of any size."""
    before: Image | None = None
    """To change as the words say; of any size that could be drawn."""
    redux_strength: float = 1.0
    negative_prompt: str | None = None
    true_cfg_scale: float = 1.0
    loras: tuple[Lora, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    index: int
    seed: int
    pixels: Pixels
    seconds: float
    """Time on the device's thread; the first picture's includes the encoding of the prompt."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which of the blocking labels fits a picture best, how well, from where that counts, and whether it blocks it."""

    label: str
    score: float
    threshold: float
    blocked: bool


class Watch(Protocol):
    """Hears how a render advances, and may stop it by raising anything that is not a `RuntimeError` (torch's own)."""

    def stage(self, stage: Stage) -> None:
        """`stage` begins: ENCODE_PROMPT once, then STEP and DECODE for each picture."""

    def step(self, picture: int, step: int, steps: int) -> None:
        """Denoising step `step` of `steps`, from 1, of picture `picture`, from 0, is done."""

    def wants_preview(self) -> bool:
        """Whether somebody would see a preview of the step that is just done; answers at once."""

    def preview(self, draw: Callable[[], Pixels]) -> None:
        """The picture in small as it will be, as far as that step knows.

        `draw` is called on another thread, and waits there for the device.
        """


class Pipeline(Protocol):
    """Loaded weights on one device; driven by one thread at a time."""

    device: str
    made_with: Mapping[str, str]
    """What a picture depends on beside its order and the weights: the scheduler, and how memory is saved."""

    def warm(self) -> None:
        """Draw something small and forget it, so that the first caller doesn't wait for compilation and allocation."""

    def prompt_notice(self, prompt: str) -> str | None:
        """One sentence if the text encoders will not see all of the prompt."""

    def render(self, order: RenderOrder, watch: Watch) -> Generator[Rendered, None, None]:
        """Draw the pictures one after the other, each handed out as soon as it is done.

        A picture depends on its own seed alone, not on its place among the others. Whatever `watch` raises ends the
        render at once and leaves the pipeline usable.

        Raises:
            PredictionFailed: these weights cannot draw this size, or a LoRA is not for them.
            WorkerFault: the device or the weights failed.

        """


class Checker(Protocol):
    """A loaded safety checker; it runs on the CPU, and several threads may ask it."""

    name: str
    """Where it was loaded from, and a hash of its weights."""

    def check(self, pixels: Pixels) -> Verdict:
        """Judge one picture; raises `WorkerFault` if it cannot."""


def load(model: Model, options: DeviceOptions) -> Pipeline:
    """Load a model's weights onto its device.

    Raises:
        WorkerFault: the weights are missing or wrong, or the device is missing or too small.

    """
    loaded: Pipeline = _import(model.pipeline).load(model, options)
    return loaded


def load_safety_checkers(locations: Sequence[str], *, labels: tuple[str, ...], threshold: float) -> list[Checker]:
    """Load checkers from directories or the hub, of the kinds that `worker.pipelines.safety` knows.

    `labels` and `threshold` are for classifiers; from this score on, a label blocks a picture.

    Raises:
        WorkerFault: one is missing or wrong or does not work, or none knows one of the labels.

    """
    loaded: list[Checker] = _import("worker.pipelines.safety").load(locations, labels=labels, threshold=threshold)
    return loaded


def _import(name: str) -> Any:
    # They say on import which of their parts are missing, and the first two quote prompts when they cut them.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    for library in ("bitsandbytes", "torchao"):
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WorkerFault(f"The module {name} cannot be imported: {error}") from error
