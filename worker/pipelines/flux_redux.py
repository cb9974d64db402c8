"""FLUX.1 from the likeness of a picture, which stands beside the words as words would.

Without a prompt CLIP's summary of it counts nothing, as in FluxPriorReduxPipeline with `pooled_prompt_embeds_scale` 0:
a summary of no words is one all the same, and small weights would heed that more than the picture.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ReduxImageEncoder
from PIL.Image import Image
from transformers import AutoImageProcessor, SiglipVisionModel

from fluxfarm.catalog import Model
from fluxfarm.errors import WorkerFault
from worker.pipelines import DeviceOptions, RenderOrder
from worker.pipelines.drawing import Arguments, Drawing
from worker.pipelines.faults import LOADING_ERRORS, first_line
from worker.pipelines.flux_weights import Loaded, hub_arguments, load_base, only_where, whole_encoder


def load(model: Model, options: DeviceOptions) -> Drawing:
    loaded = load_base(model, options)
    return Drawing(Remix(loaded, Likeness(model, loaded)), loaded, model)


class Likeness:
    """A SigLIP encoder, and what makes words of what it sees."""

    def __init__(self, model: Model, loaded: Loaded) -> None:
        location, arguments = model.weights.source, hub_arguments(model.weights, loaded.dtype)
        try:
            self._processor = AutoImageProcessor.from_pretrained(
                location, subfolder="feature_extractor", backend="pil", **only_where(arguments)
            )
            encoder = whole_encoder(SiglipVisionModel, location, "image_encoder", arguments)
            embedder = ReduxImageEncoder.from_pretrained(
                location, subfolder="image_embedder", torch_dtype=loaded.dtype, **_without_dtype(arguments)
            )
            self._encoder, self._embedder = encoder.eval().to(loaded.device), embedder.eval().to(loaded.device)
        except LOADING_ERRORS as error:
            message = f"The weights of {model.slug} cannot be loaded from {location}: {first_line(error)}"
            raise WorkerFault(message) from error

    def words(self, picture: Any) -> torch.Tensor:
        """1 x tokens x width of the words' embeddings."""
        seen = self._processor.preprocess(images=[picture], do_resize=True, return_tensors="pt", do_convert_rgb=True)
        pixels = seen["pixel_values"].to(self._encoder.device, self._encoder.dtype)
        found: torch.Tensor = self._embedder(self._encoder(pixels).last_hidden_state).image_embeds
        return found


@dataclass(frozen=True, slots=True)
class Told:
    likeness: torch.Tensor
    alone: bool
    """Whether there is no prompt beside it."""


class Remix:
    def __init__(self, loaded: Loaded, likeness: Likeness) -> None:
        self.pipe = loaded.pipe
        self._likeness = likeness

    def example(self, picture: Image) -> Arguments:
        return {"likeness": picture}

    def given(self, order: RenderOrder) -> Told:
        return Told(self._likeness.words(order.likeness) * order.redux_strength, alone=not order.prompt.strip())

    def latents(self, given: Any, arguments: Arguments) -> torch.Tensor:
        words, summary = arguments["prompt_embeds"], arguments["pooled_prompt_embeds"]
        told = {
            "prompt_embeds": torch.cat([words, given.likeness.to(words)], dim=1),
            "pooled_prompt_embeds": torch.zeros_like(summary) if given.alone else summary,
        }
        drawn: torch.Tensor = self.pipe(**{**arguments, **told}).images
        return drawn


def _without_dtype(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "dtype"}
