"""FLUX.1 where a mask leaves something out of a picture."""

from typing import Any

import torch
from diffusers import FluxFillPipeline
from PIL.Image import Image

from fluxfarm.catalog import Model
from worker.pipelines import DeviceOptions, RenderOrder
from worker.pipelines.drawing import Arguments, Drawing
from worker.pipelines.flux import over
from worker.pipelines.flux_weights import Loaded, load_base


def load(model: Model, options: DeviceOptions) -> Drawing:
    loaded = load_base(model, options)
    return Drawing(Fill(loaded), loaded, model)


class Fill:
    def __init__(self, loaded: Loaded) -> None:
        self.pipe = loaded.pipe
        self._fill = over(FluxFillPipeline, self.pipe)

    def example(self, picture: Image) -> Arguments:
        return {"image": picture, "mask": picture}

    def given(self, order: RenderOrder) -> Any:
        return {"image": order.image, "mask_image": order.mask}

    def latents(self, given: Any, arguments: Arguments) -> torch.Tensor:
        drawn: torch.Tensor = self._fill(**arguments, **given).images
        return drawn
