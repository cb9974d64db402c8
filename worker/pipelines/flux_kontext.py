"""FLUX.1 that changes a picture as the words say."""

from typing import Any

import torch
from diffusers import FluxKontextPipeline
from PIL.Image import Image

from fluxfarm.catalog import Model
from worker.pipelines import DeviceOptions, RenderOrder
from worker.pipelines.drawing import Arguments, Drawing
from worker.pipelines.flux import over
from worker.pipelines.flux_weights import Loaded, load_base


def load(model: Model, options: DeviceOptions) -> Drawing:
    loaded = load_base(model, options)
    return Drawing(Change(loaded), loaded, model)


class Change:
    def __init__(self, loaded: Loaded) -> None:
        self.pipe = loaded.pipe
        self._change = over(FluxKontextPipeline, self.pipe)

    def example(self, picture: Image) -> Arguments:
        return {"before": picture}

    def given(self, order: RenderOrder) -> Any:
        assert order.before is not None
        # Left to itself it would bring picture and size to one of its own.
        return {"image": order.before, "_auto_resize": False, "max_area": order.width * order.height}

    def latents(self, given: Any, arguments: Arguments) -> torch.Tensor:
        drawn: torch.Tensor = self._change(**arguments, **given).images
        return drawn
