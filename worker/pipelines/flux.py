"""FLUX.1 from words, and from a picture, all of it or what a mask covers: three pipelines over the same weights."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline
from PIL.Image import Image

from fluxfarm.catalog import Model
from worker.pipelines import DeviceOptions, RenderOrder
from worker.pipelines.drawing import Arguments, Drawing
from worker.pipelines.flux_weights import Loaded, load_base

TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
"""May lie apart."""


def load(model: Model, options: DeviceOptions) -> Drawing:
    loaded = load_base(model, options)
    return Drawing(Text(loaded), loaded, model)


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What to start from."""

    order: RenderOrder
    encoded: Any
    """The picture as a distribution over latents, of which each seed draws its own; None where words alone count."""


class Text:
    def __init__(self, loaded: Loaded) -> None:
        self.pipe = loaded.pipe
        self._device = loaded.device
        self._picture = over(FluxImg2ImgPipeline, self.pipe)
        self._part = over(FluxInpaintPipeline, self.pipe)

    def example(self, picture: Image) -> Arguments:  # noqa: ARG002 (words are enough)
        return {}

    def given(self, order: RenderOrder) -> Start:
        if order.image is None or (order.mask is None and order.prompt_strength >= 1):
            return Start(order, None)
        pixels = self._picture.image_processor.preprocess(order.image)
        return Start(order, self.pipe.vae.encode(pixels.to(self._device, self.pipe.vae.dtype)).latent_dist)

    def latents(self, given: Start, arguments: Arguments) -> torch.Tensor:
        order = given.order
        drawn: torch.Tensor
        if given.encoded is None:
            drawn = self.pipe(**arguments).images
        elif _steps(order) == 0:
            drawn = self._start(given, arguments)
        elif order.mask is None:
            start = self._start(given, arguments)
            drawn = self._picture(**arguments, image=start, strength=order.prompt_strength).images
        else:
            pictures = {"image": order.image, "mask_image": order.mask, "strength": order.prompt_strength}
            drawn = self._part(**arguments, **pictures).images
        return drawn

    def _start(self, given: Start, arguments: Arguments) -> torch.Tensor:
        config = self.pipe.vae.config
        start: torch.Tensor = (
            given.encoded.sample(arguments["generator"]) - config.shift_factor
        ) * config.scaling_factor
        return start


def over(kind: Any, pipe: Any) -> Any:
    """Another kind of pipeline over the same weights."""
    # A scheduler counts steps; two pipelines over one would count each other's.
    parts = {name: part for name, part in pipe.components.items() if part is not None or name in TEXT_ENCODERS}
    made = kind(**{**parts, "scheduler": copy.deepcopy(pipe.scheduler)})
    made.set_progress_bar_config(disable=True)
    return made


def _steps(order: RenderOrder) -> int:
    """How many of the steps diffusers runs from a picture; none leaves it as the VAE sees it."""
    return order.steps - int(order.steps - min(order.steps * order.prompt_strength, order.steps))
