"""FLUX.1 through diffusers: text to picture and picture to picture over the same weights.

Noise is drawn on the CPU whatever the device, so that a seed means the same noise on every machine.
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import diffusers
import torch
import transformers
from diffusers import FluxImg2ImgPipeline

from fluxfarm.catalog import Model
from fluxfarm.errors import PredictionFailed, WorkerFault
from fluxfarm.status import Stage
from worker.pipelines import DeviceOptions, Pixels, Rendered, RenderOrder, Watch
from worker.pipelines.faults import device_faults
from worker.pipelines.flux_steps import Steps
from worker.pipelines.flux_weights import choose_device, choose_dtype, place, read_weights
from worker.pipelines.projection import Projection, fitted, levels

PATCH = 2
"""Latents are packed into patches of 2 x 2."""

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
# As warnings they quote the prompt that they cut, and prompts are not for logs.
diffusers.utils.logging.set_verbosity_error()


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """What all pictures of an order share: the encoded prompt, and the encoded picture they start from, if any."""

    prompt: torch.Tensor
    pooled: torch.Tensor
    start: Any = None
    """A distribution over latents; each seed draws its own."""


def load(model: Model, options: DeviceOptions) -> "Flux":
    device = choose_device(options)
    pipe = read_weights(model, choose_dtype(options.dtype, device))
    with device_faults():
        place(pipe, device, options)
    return Flux(pipe, device, model)


class Flux:
    def __init__(self, pipe: Any, device: torch.device, model: Model) -> None:
        self.device = f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
        self._device = device
        self._text = pipe
        # A scheduler counts steps; two pipelines over one would count each other's.
        self._picture = FluxImg2ImgPipeline(**{**pipe.components, "scheduler": copy.deepcopy(pipe.scheduler)})
        self._picture.set_progress_bar_config(disable=True)
        self._sequence_length = model.max_sequence_length
        self._native_side = model.weights.native_side

    def warm(self) -> None:
        side = self._native_side
        order = RenderOrder(prompt="warm", seeds=(0,), width=side, height=side, steps=2, guidance=3.5)
        for _ in self.render(order, _Unwatched()):
            pass
        with device_faults():
            # Now rather than in the middle of the first render that somebody looks at.
            _ = self._projection
            self._text.maybe_free_model_hooks()

    def prompt_notice(self, prompt: str) -> str | None:
        tokens = len(self._text.tokenizer_2(_encodable(prompt), verbose=False).input_ids)
        if tokens <= self._sequence_length:
            return None
        return f"The text encoders see only the first {self._sequence_length} of the prompt's {tokens} tokens."

    def render(self, order: RenderOrder, watch: Watch) -> Iterator[Rendered]:
        self._refuse_inexact(order)
        return self._pictures(order, watch)

    def _refuse_inexact(self, order: RenderOrder) -> None:
        unit = self._text.vae_scale_factor * PATCH
        size = (order.width, order.height)
        if min(size) < unit or any(side % unit for side in size):
            message = f"width and height must be multiples of {unit}, but are {order.width} x {order.height}."
            raise PredictionFailed("unsupported_size", message)
        if order.image is not None and order.image.size != size:
            raise ValueError(f"the picture is {order.image.size}, not {size}")

    def _pictures(self, order: RenderOrder, watch: Watch) -> Iterator[Rendered]:
        began = time.perf_counter()
        try:
            watch.stage(Stage.ENCODE_PROMPT)
            conditions = self._encode(order)
            for index, seed in enumerate(order.seeds):
                watch.stage(Stage.STEP)
                latents = self._denoise(order, conditions, seed, self._steps(order, watch, index))
                watch.stage(Stage.DECODE)
                pixels = self._decode(latents, order)
                yield Rendered(index, seed, pixels, time.perf_counter() - began)
                began = time.perf_counter()
        finally:
            with device_faults():
                self._text.maybe_free_model_hooks()

    def _steps(self, order: RenderOrder, watch: Watch, index: int) -> Steps:
        return Steps(watch, index, self._device, lambda packed: self._projection(self._unpacked(packed, order)))

    @cached_property
    def _projection(self) -> Projection:
        return fitted(self._text.vae, self._device, self._text.vae_scale_factor)

    @torch.no_grad()
    def _encode(self, order: RenderOrder) -> Conditions:
        with device_faults():
            prompt, pooled, _ = self._text.encode_prompt(
                _encodable(order.prompt), device=self._device, max_sequence_length=self._sequence_length
            )
            if order.image is None or order.prompt_strength >= 1:
                return Conditions(prompt, pooled)
            pixels = self._picture.image_processor.preprocess(order.image)
            vae = self._picture.vae
            return Conditions(prompt, pooled, vae.encode(pixels.to(self._device, vae.dtype)).latent_dist)

    @torch.no_grad()
    def _denoise(self, order: RenderOrder, conditions: Conditions, seed: int, steps: Steps) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(seed)
        with device_faults():
            arguments = {
                "prompt_embeds": conditions.prompt,
                "pooled_prompt_embeds": conditions.pooled,
                "width": order.width,
                "height": order.height,
                "num_inference_steps": order.steps,
                "guidance_scale": order.guidance,
                "generator": generator,
                "output_type": "latent",
                "callback_on_step_end": steps,
                "callback_on_step_end_tensor_inputs": ["latents"],
            }
            if conditions.start is None:
                return self._unpacked(self._text(**arguments).images, order)
            config = self._picture.vae.config
            start: torch.Tensor = (conditions.start.sample(generator) - config.shift_factor) * config.scaling_factor
            if _img2img_steps(order) == 0:
                return start
            packed = self._picture(**arguments, image=start, strength=order.prompt_strength).images
            return self._unpacked(packed, order)

    def _unpacked(self, packed: torch.Tensor, order: RenderOrder) -> torch.Tensor:
        unit = self._text.vae_scale_factor * PATCH
        rows, columns, channels = order.height // unit, order.width // unit, packed.shape[-1] // PATCH**2
        patches = packed.view(1, rows, columns, channels, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
        return patches.reshape(1, channels, rows * PATCH, columns * PATCH)

    @torch.no_grad()
    def _decode(self, latents: torch.Tensor, order: RenderOrder) -> Pixels:
        vae = self._text.vae
        with device_faults():
            drawn = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0][0]
            if not torch.isfinite(drawn).all():
                raise WorkerFault("The weights drew something that is not a number; try another dtype.")
            pixels: Pixels = levels(drawn.permute(1, 2, 0)).contiguous().cpu().numpy()
        if pixels.shape != (order.height, order.width, 3):
            raise WorkerFault(f"The weights drew {pixels.shape}, not {order.width} x {order.height} in colour.")
        return pixels


class _Unwatched:
    def stage(self, stage: Stage) -> None:
        pass

    def step(self, picture: int, step: int, steps: int) -> None:
        pass

    def wants_preview(self) -> bool:
        return False

    def preview(self, draw: Callable[[], Pixels]) -> None:
        pass


def _img2img_steps(order: RenderOrder) -> int:
    """How many of the steps diffusers runs; none leaves the picture as the VAE sees it."""
    return order.steps - int(order.steps - min(order.steps * order.prompt_strength, order.steps))


def _encodable(prompt: str) -> str:
    """The prompt without lone surrogates, which JSON can carry and tokenizers refuse."""
    return prompt.encode("utf-8", "replace").decode()
