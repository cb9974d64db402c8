"""What all kinds of FLUX.1 have in common: one picture per seed, each step told, the latents decoded.

Noise is drawn on the CPU whatever the device, so that a seed means the same noise on every machine.
"""

import time
from collections.abc import Callable, Generator
from functools import cached_property, partial
from typing import Any, Protocol

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

from fluxfarm.catalog import Model
from fluxfarm.errors import PredictionFailed, WorkerFault
from fluxfarm.status import Stage
from worker.pipelines import Pixels, Rendered, RenderOrder, Watch
from worker.pipelines.faults import device_faults
from worker.pipelines.flux_loras import worn
from worker.pipelines.flux_steps import Steps
from worker.pipelines.flux_weights import Loaded
from worker.pipelines.projection import Projection, fitted, levels
from worker.pipelines.quantising import told
from worker.pipelines.tiling import set_tiles, tile_side

PATCH = 2
"""Latents are packed into patches of 2 x 2."""
HALF = 128
"""From this level on, of 255, a mask counts as white."""

diffusers.utils.logging.disable_progress_bar()
transformers.utils.logging.disable_progress_bar()
# As warnings they quote the prompt that they cut, and prompts are not for logs.
diffusers.utils.logging.set_verbosity_error()

Arguments = dict[str, Any]
"""Of a diffusers pipeline."""


class Kind(Protocol):
    """How one kind of pipeline makes latents."""

    pipe: Any
    """The `FluxPipeline` whose parts are used."""

    def example(self, picture: Image.Image) -> Arguments:
        """What a render order needs beside words, made of any picture of its size."""

    def given(self, order: RenderOrder) -> Any:
        """What all pictures of an order share, beside the prompt; on the device."""

    def latents(self, given: Any, arguments: Arguments) -> torch.Tensor:
        """The latents of one picture, packed or not, by the arguments that diffusers' pipelines have in common."""


class Drawing:
    """A `Pipeline` of one kind."""

    def __init__(self, kind: Kind, loaded: Loaded, model: Model) -> None:
        device, options = loaded.device, loaded.options
        self.device = f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
        self.made_with = {
            "scheduler": type(kind.pipe.scheduler).__name__,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "quantised": told(options.quantise),
            "text_encoders": options.text_encoders,
            "vae_tiling": options.vae_tiling,
        }
        self._kind = kind
        self._loaded = loaded
        self._device = device
        self._faults = partial(device_faults, options.remedy)
        self._pipe = kind.pipe
        self._sequence_length = model.max_sequence_length
        self._native_side = model.weights.native_side

    def warm(self) -> None:
        side = self._native_side
        given = self._kind.example(Image.new("RGB", (side, side), "gray"))
        order = RenderOrder(prompt="warm", seeds=(0,), width=side, height=side, steps=2, guidance=3.5, **given)
        for _ in self.render(order, _Unwatched()):
            pass
        with self._faults():
            # Now rather than in the middle of the first render that somebody looks at.
            _ = self._projection
            self._pipe.maybe_free_model_hooks()

    def prompt_notice(self, prompt: str) -> str | None:
        tokens = len(self._pipe.tokenizer_2(_encodable(prompt), verbose=False).input_ids)
        if tokens <= self._sequence_length:
            return None
        return f"The text encoders see only the first {self._sequence_length} of the prompt's {tokens} tokens."

    def render(self, order: RenderOrder, watch: Watch) -> Generator[Rendered, None, None]:
        self._refuse_inexact(order)
        return self._pictures(order, watch)

    def _refuse_inexact(self, order: RenderOrder) -> None:
        unit = self._pipe.vae_scale_factor * PATCH
        size = (order.width, order.height)
        if min(size) < unit or any(side % unit for side in size):
            message = f"width and height must be multiples of {unit}, but are {order.width} x {order.height}."
            raise PredictionFailed("unsupported_size", message)
        for picture in (order.image, order.mask, order.control):
            if picture is not None and picture.size != size:
                raise ValueError(f"the picture is {picture.size}, not {size}")

    def _pictures(self, order: RenderOrder, watch: Watch) -> Generator[Rendered, None, None]:
        try:
            with worn(self._pipe, order.loras):
                yield from self._one_by_one(order, watch)
        finally:
            with self._faults():
                self._pipe.maybe_free_model_hooks()

    def _one_by_one(self, order: RenderOrder, watch: Watch) -> Generator[Rendered, None, None]:
        began = time.perf_counter()
        scale, tiling = self._pipe.vae_scale_factor, self._loaded.options.vae_tiling
        set_tiles(self._pipe.vae, scale, tile_side(tiling, order.width, order.height))
        watch.stage(Stage.ENCODE_PROMPT)
        words, given = self._words(order), self._given(order)
        for index, seed in enumerate(order.seeds):
            watch.stage(Stage.STEP)
            steps = {"callback_on_step_end": self._steps(order, watch, index)}
            latents = self._denoise(order, given, {**words, **steps}, seed)
            watch.stage(Stage.DECODE)
            pixels = _kept(self._decode(latents, order), order)
            yield Rendered(index, seed, pixels, time.perf_counter() - began)
            began = time.perf_counter()

    def _steps(self, order: RenderOrder, watch: Watch, index: int) -> Steps:
        return Steps(watch, index, self._device, lambda packed: self._projection(self._unpacked(packed, order)))

    @cached_property
    def _projection(self) -> Projection:
        return fitted(self._pipe.vae, self._device, self._pipe.vae_scale_factor)

    @torch.no_grad()
    def _words(self, order: RenderOrder) -> Arguments:
        with self._faults():
            prompt, pooled, _ = self._encode(order.prompt)
            words = {"prompt_embeds": prompt, "pooled_prompt_embeds": pooled}
            if order.negative_prompt is None or order.true_cfg_scale <= 1:
                return words
            away, pooled_away, _ = self._encode(order.negative_prompt)
            scale = {"true_cfg_scale": order.true_cfg_scale}
            return {**words, "negative_prompt_embeds": away, "negative_pooled_prompt_embeds": pooled_away, **scale}

    def _encode(self, prompt: str) -> Any:
        length = self._sequence_length
        where = self._loaded.words_device
        found = self._loaded.words.encode_prompt(_encodable(prompt), device=where, max_sequence_length=length)
        return [each.to(self._device) for each in found]

    @torch.no_grad()
    def _given(self, order: RenderOrder) -> Any:
        with self._faults():
            return self._kind.given(order)

    @torch.no_grad()
    def _denoise(self, order: RenderOrder, given: Any, words: Arguments, seed: int) -> torch.Tensor:
        arguments = {
            **words,
            "width": order.width,
            "height": order.height,
            "num_inference_steps": order.steps,
            "guidance_scale": order.guidance,
            "generator": torch.Generator("cpu").manual_seed(seed),
            "output_type": "latent",
            "callback_on_step_end_tensor_inputs": ["latents"],
        }
        with self._faults():
            latents = self._kind.latents(given, arguments)
            return latents if latents.ndim == len("nchw") else self._unpacked(latents, order)

    def _unpacked(self, packed: torch.Tensor, order: RenderOrder) -> torch.Tensor:
        unit = self._pipe.vae_scale_factor * PATCH
        rows, columns, channels = order.height // unit, order.width // unit, packed.shape[-1] // PATCH**2
        patches = packed.view(1, rows, columns, channels, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5)
        return patches.reshape(1, channels, rows * PATCH, columns * PATCH)

    @torch.no_grad()
    def _decode(self, latents: torch.Tensor, order: RenderOrder) -> Pixels:
        vae = self._pipe.vae
        with self._faults():
            drawn = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0][0]
            if order.loras and not torch.isfinite(drawn).all():
                raise PredictionFailed("lora_mismatch", "loras: with them the weights draw nothing that is a picture.")
            if not torch.isfinite(drawn).all():
                raise WorkerFault("The weights drew something that is not a number; try another dtype.")
            pixels: Pixels = levels(drawn.permute(1, 2, 0)).contiguous().cpu().numpy()
        if pixels.shape != (order.height, order.width, 3):
            raise WorkerFault(f"The weights drew {pixels.shape}, not {order.width} x {order.height} in colour.")
        return pixels


def _kept(drawn: Pixels, order: RenderOrder) -> Pixels:
    """What a mask keeps of a picture is that picture's, for the VAE would blur it."""
    if order.mask is None or order.image is None:
        return drawn
    anew = np.asarray(order.mask.convert("L"))[..., None] >= HALF
    return np.where(anew, drawn, np.asarray(order.image))


class _Unwatched:
    def stage(self, stage: Stage) -> None:
        pass

    def step(self, picture: int, step: int, steps: int) -> None:
        pass

    def wants_preview(self) -> bool:
        return False

    def preview(self, draw: Callable[[], Pixels]) -> None:
        pass


def _encodable(prompt: str) -> str:
    """The prompt without lone surrogates, which JSON can carry and tokenizers refuse."""
    return prompt.encode("utf-8", "replace").decode()
