"""FLUX.1 along the edges or the depth of a picture, which is found here unless it is given."""

from typing import Any

import torch
from diffusers import FluxControlPipeline
from PIL.Image import Image

from fluxfarm.catalog import Model
from fluxfarm.kinds import Control
from worker.pipelines import DeviceOptions, RenderOrder
from worker.pipelines.depth import DepthEstimator
from worker.pipelines.drawing import Arguments, Drawing
from worker.pipelines.edges import edges
from worker.pipelines.flux import over
from worker.pipelines.flux_weights import Loaded, load_base


def load(model: Model, options: DeviceOptions) -> Drawing:
    loaded = load_base(model, options)
    estimator = None
    if model.control is Control.DEPTH and model.weights.depth_source is not None:
        estimator = DepthEstimator.load(model.weights.depth_source, loaded.device)
    return Drawing(Along(loaded, estimator, model.weights.edge_width), loaded, model)


class Along:
    def __init__(self, loaded: Loaded, estimator: DepthEstimator | None, edge_width: int) -> None:
        self.pipe = loaded.pipe
        self._along = over(FluxControlPipeline, self.pipe)
        self._estimator = estimator
        self._edge_width = edge_width

    def example(self, picture: Image) -> Arguments:
        return {"control": picture}

    def given(self, order: RenderOrder) -> Image:
        """The map to follow."""
        assert order.control is not None
        if order.find is Control.DEPTH:
            if self._estimator is None:
                raise ValueError("a depth is to be found without a depth estimator")
            return self._estimator.depth(order.control)
        return edges(order.control, self._edge_width) if order.find is Control.CANNY else order.control

    def latents(self, given: Any, arguments: Arguments) -> torch.Tensor:
        drawn: torch.Tensor = self._along(**arguments, control_image=given).images
        return drawn
